use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use adit_tlog::{HttpRequest, HttpResponse, HttpServer, HttpSource, Source, SourceError, fsck};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::fixture::{Log, gateway, leaves};

fn serve(answer: impl Fn(HttpRequest) -> HttpResponse + Send + Sync + 'static) -> (HttpServer, HttpSource) {
    let server = HttpServer::spawn("log", TcpListener::bind("127.0.0.1:0").unwrap(), answer).unwrap();
    let source = HttpSource::new(&format!("http://{}/log", server.address())).unwrap();
    (server, source)
}

fn found(body: Vec<u8>, is_gzip: bool) -> HttpResponse {
    HttpResponse { is_gzip, body: body.into(), ..HttpResponse::text(200, "") }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The log, but for one path.
fn answer(log: &Log, request: &HttpRequest, path: &str, other: impl Fn() -> HttpResponse) -> HttpResponse {
    let asked = request.path.strip_prefix("/log/").unwrap();
    match log.get(asked) {
        _ if asked == path => other(),
        Some(bytes) => found(gzip(&bytes), true),
        None => HttpResponse::text(404, "not here\n"),
    }
}

fn faults(source: &dyn Source) -> Vec<String> {
    let report = fsck(source, &gateway().public(), |_, _| {}).unwrap();
    assert!(report.unread.is_none(), "{report:?}");
    report.faults.iter().map(ToString::to_string).collect()
}

#[test]
fn bytes_that_cannot_be_right_are_faults_of_the_log() {
    const BUNDLE: &str = "tile/entries/000.p/20";
    // 64 MiB of zeros in 64 KiB.
    let bomb = gzip(&vec![0; 64 << 20]);
    let cut = |bytes: &[u8]| bytes[..bytes.len() / 2].to_vec();
    let rows: Vec<(&str, HttpResponse, &str)> = vec![
        ("a gzip bomb", found(bomb.clone(), true), "tile/entries/000.p/20 has more than 1049088 bytes"),
        ("too much", found(vec![0; 2 << 20], false), "tile/entries/000.p/20 has more than 1049088 bytes"),
        (
            "no gzip",
            found(b"no gzip at all, but long enough for a head".to_vec(), true),
            "tile/entries/000.p/20 does not decompress",
        ),
        ("a changed gzip", found([&cut(&bomb)[..100], &[0xff; 400]].concat(), true), "tile/entries/000.p/20 does not decompress"),
        ("gone", HttpResponse::text(410, ""), "tile/entries/000.p/20 is missing"),
    ];
    for (what, response, want) in rows {
        let log = Log::of(&leaves(20, 64));
        let (_server, source) = serve(move |request| answer(&log, &request, BUNDLE, || response.clone()));
        let faults = faults(&source);
        assert!(faults.len() == 1 && faults[0].starts_with(want), "{what}: {faults:?}");
    }
}

#[test]
fn server_that_is_not_well_is_asked_again_and_is_no_fault_of_the_log() {
    for status in [500, 503, 429] {
        let (log, asked) = (Log::of(&leaves(20, 64)), AtomicUsize::new(0));
        let (_server, source) = serve(move |request| {
            let is_ill = request.path.ends_with("/tile/0/000.p/20") && asked.fetch_add(1, Ordering::Relaxed) < 3;
            if is_ill { HttpResponse::text(status, "") } else { answer(&log, &request, "", || unreachable!()) }
        });
        assert_eq!(faults(&source), Vec::<String>::new(), "{status}");
    }
    let log = Log::of(&leaves(20, 64));
    let (_server, source) = serve(move |request| answer(&log, &request, "tile/0/000.p/20", || HttpResponse::text(403, "")));
    let report = fsck(&source, &gateway().public(), |_, _| {}).unwrap();
    assert_eq!(report.unread.unwrap().to_string(), "the server answers 403 for tile/0/000.p/20");
    assert!(report.faults.is_empty());
}

#[test]
fn server_that_is_not_there_is_no_fault_of_the_log() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = HttpSource::new(&format!("http://{closed}")).unwrap().checkpoint().unwrap_err();
    assert!(matches!(error, SourceError::Transport { .. }) && !error.is_fault(), "{error}");
}

/// A log may drop a partial tile when the full one is there.
#[test]
fn partial_tile_is_cut_from_the_full_one() {
    let all = leaves(300, 64);
    let log = Log::of(&all);
    let small = Log::of(&all[..100]);
    for path in ["tile/0/000", "tile/entries/000"] {
        assert_eq!(log.get(&format!("{path}.p/100")), None);
    }
    log.put("checkpoint", small.checkpoint().unwrap());
    let (_server, source) = serve({
        let log = log.clone();
        move |request| answer(&log, &request, "", || unreachable!())
    });
    assert_eq!(source.tile(0, 0, 100).unwrap(), small.tile(0, 0, 100).unwrap());
    assert_eq!(source.bundle(0, 100).unwrap(), small.bundle(0, 100).unwrap());
    assert_eq!(faults(&source), Vec::<String>::new());
    // What does not reach so far is cut short, and the check says where.
    log.change("tile/entries/000", |bytes| bytes.truncate(1_000));
    assert!(faults(&source)[0].contains("is cut short within its leaf"));
}

/// A server of HTTPS could send whoever reads a log on to one of HTTP, or to a service within.
#[test]
fn nobody_is_sent_on_elsewhere() {
    let (elsewhere, asked) = (TcpListener::bind("127.0.0.1:0").unwrap(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&asked);
    let log = Log::of(&leaves(20, 64));
    let elsewhere = HttpServer::spawn("elsewhere", elsewhere, move |request| {
        count.fetch_add(1, Ordering::Relaxed);
        answer(&log, &request, "", || unreachable!())
    })
    .unwrap();
    for status in [301, 302, 303, 307, 308] {
        let here = TcpListener::bind("127.0.0.1:0").unwrap();
        let (url, to) =
            (format!("http://{}/log", here.local_addr().unwrap()), format!("http://{}/log/checkpoint", elsewhere.address()));
        let location = to.clone();
        let server = thread::spawn(move || {
            let (mut stream, _) = here.accept().unwrap();
            let _ = stream.read(&mut [0; 4_096]).unwrap();
            let head =
                format!("HTTP/1.1 {status} Moved\r\nLocation: {location}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            stream.write_all(head.as_bytes()).unwrap();
        });
        let error = HttpSource::new(&url).unwrap().checkpoint().unwrap_err();
        assert!(
            matches!(&error, SourceError::Redirect { status: of, location, .. } if *of == status && *location == to),
            "{error}"
        );
        assert!(!error.is_fault() && error.to_string().ends_with("give the URL that the log is at"), "{error}");
        server.join().unwrap();
    }
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}
