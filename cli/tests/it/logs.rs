//! A guest's log and progress, while it runs and after.

use adit_client::{Job, Source, Update};
use rustix::process::Signal;

use crate::guest;
use crate::network::Network;

#[test]
fn followed_log_comes_while_the_job_runs() {
    let network = Network::with_slots(&[1]);
    // It never ends by itself, so whatever is seen of it is seen while it runs.
    let job = network.adit(["submit"]).args([network.module(&guest::hold())]).args(["--fuel", "100T"]).run().ok();
    let follower = network.adit(["logs", "-f", job.text()]).start();
    follower.stdout.wait_for_text(guest::READY);
    // The same once more, for one who comes late and by a part of the name.
    let late = network.adit(["logs", &job.text()[..12]]).run().ok();
    assert_eq!(late.text(), format!("[info] {}", guest::READY));
    assert_eq!(network.adit(["status", job.text(), "--json"]).run().ok().json()["state"], "running");

    network.adit(["cancel", job.text()]).run().ok();
    assert_eq!(follower.wait().ok().text(), format!("[info] {}", guest::READY));
    // And for one who comes after the end.
    assert_eq!(network.adit(["logs", "-f", job.text()]).run().ok().text(), format!("[info] {}", guest::READY));
}

#[test]
fn run_shows_the_log_as_it_is_written() {
    let network = Network::with_slots(&[1]);
    let run = network.run(&guest::hold()).args(["--fuel", "100T"]).start();
    run.stderr.wait_for_text(guest::READY);
    run.signal(Signal::INT);
    run.wait().code(14);
}

#[test]
fn log_is_whole_and_in_order_and_no_longer_than_allowed() {
    let network = Network::with_slots(&[1]);
    let module = network.module(&guest::tick(4));
    let submit = |flags: &[&str]| network.adit(["submit"]).args([&module]).args(flags).run().ok().text().to_owned();
    let whole = submit(&[]);
    let cut = submit(&["--log-max", "12B"]);
    for (job, want) in [(whole, "tick\n".repeat(4)), (cut, "tick\ntick\nti".to_owned())] {
        assert_eq!(String::from_utf8(network.adit(["logs", "-f", &job]).run().ok().stdout).unwrap(), want);
        assert_eq!(network.adit(["output", &job, "--json"]).run().ok().json()["outcome"], "finished");
    }
}

#[tokio::test]
async fn progress_comes_in_order_while_the_job_runs() {
    let network = Network::with_slots(&[1]);
    let client = network.client().await;
    let mut handle = client.submit(Job::new(Source::bytes(guest::tick(20)), Source::bytes(b"".as_slice())));
    let mut seen = Vec::new();
    loop {
        match handle.next().await.unwrap().expect("the end comes before the handle's") {
            Update::Progress { done, total } => {
                assert_eq!(total, 20);
                seen.push(done);
            }
            Update::Ended(_) => break,
            _ => {}
        }
    }
    assert!(seen.len() >= 2 && seen.is_sorted(), "{seen:?}");
}

#[test]
fn terminal_is_shown_all_escapes_and_obeys_none() {
    let network = Network::with_slots(&[1]);
    let module = network.module(&guest::escapes());
    let line = guest::ESCAPES.repeat(200_000);
    let shown = line.replace('\x1b', "\\x1b").replace('\x07', "\\x07");
    let run = network.adit(["run", "--json", "--output", "/dev/null"]).args([&module]).run().ok();
    assert!(run.stderr.contains(&line));
    let job = run.json()["job"].as_str().unwrap().to_owned();
    let run = ["run", module.to_str().unwrap()];
    for (command, streams) in [(["logs", &job], 1), (["output", &job], 1), (run, 2)] {
        let piped = network.adit(command).run().ok().stdout;
        assert!(piped == line.as_bytes(), "{command:?} wrote {} bytes", piped.len());
        let terminal = network.adit(command).run_on_terminal().ok();
        let seen = terminal.text();
        assert!(!seen.contains("\x1b[2J") && !seen.contains('\x07'), "{command:?}");
        assert!(seen.contains(&shown), "{command:?}");
        // Where log and output are shown, a progress bar may stand between two pieces of the log.
        assert_eq!(seen.matches('J').count(), streams * 200_000, "{command:?}");
    }
}
