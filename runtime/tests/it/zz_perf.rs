use crate::support::*;
use std::time::Instant;
#[tokio::test]
async fn perf() {
    let host = Host::new(1);
    for (name, job) in [("noop", Job::body("")), ("echo64", echo().input(&[7; 64]))] {
        let mut t = vec![];
        let mut r = vec![];
        host.compile(&job.wasm).await.unwrap();
        for _ in 0..3000 {
            let s = Instant::now();
            let mut run = host.runtime.start(job.clone().request()).await.unwrap();
            loop {
                if let adit_runtime::RunEvent::Ended(rep) = run.next().await.unwrap() {
                    r.push(rep.run_us);
                    break;
                }
            }
            t.push(s.elapsed().as_nanos() as u64 / 100);
        }
        t.sort();
        r.sort();
        println!("{name}: total p50 {} p99 {} us, in worker p50 {} us", t[1500] as f64 / 10., t[2970] as f64 / 10., r[1500]);
    }
    let s = Instant::now();
    let job = Job::body(
        "(loop $more
            (call $write (i32.const 1) (i32.const 65536) (i32.const 65536))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $more (i32.lt_u (local.get $i) (i32.const 2048))))",
    );
    let mut run = host.start(job.with(|s| s.limits.output = adit_protocol::ByteCount(1 << 30))).await.unwrap();
    let mut b = 0;
    loop {
        match run.next().await.unwrap() {
            adit_runtime::RunEvent::Ended(_) => break,
            adit_runtime::RunEvent::Output(o) => b += o.len(),
            _ => {}
        }
    }
    println!("128 MiB out: {} MB/s", b as f64 / 1e6 / s.elapsed().as_secs_f64());
}
