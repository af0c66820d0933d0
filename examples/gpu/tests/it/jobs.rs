//! The jobs as processes, natively: bytes in, bytes out.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use adit_example_gpu::attention::Layer;
use adit_example_gpu::little_endian;
use adit_example_gpu::matmul::Product;
use adit_example_gpu::rules;
use adit_guest::Encode;

fn run(job: &str, input: &[u8]) -> Output {
    let mut job = Command::new(job)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it was built with this");
    job.stdin.take().expect("it was piped").write_all(input).expect("the job reads its input");
    job.wait_with_output().expect("the job ends")
}

#[track_caller]
fn check(job: &str, input: &[u8], expected: &[u8]) {
    let output = run(job, input);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.stdout, expected);
}

#[test]
fn each_job_reads_and_writes_what_its_readme_says() {
    check(env!("CARGO_BIN_EXE_scan"), &little_endian(&[1u32, 2, u32::MAX]), &little_endian(&[1u32, 3, 2]));
    check(env!("CARGO_BIN_EXE_histogram"), b"abba\n", b"0a 1\n61 2\n62 2\n");
    let product = Product { rows: 1, inner: 2, columns: 1, a: vec![2.0, 3.0], b: vec![5.0, 7.0] };
    check(env!("CARGO_BIN_EXE_matmul"), &product.encode().unwrap(), &little_endian(&[31f32]));
    let one = || vec![2.0];
    let layer = Layer { tokens: 1, width: 1, heads: 1, input: one(), query: one(), key: one(), value: one(), output: one() };
    check(env!("CARGO_BIN_EXE_attention"), &layer.encode().unwrap(), &little_endian(&[8f32]));
}

#[test]
fn bytes_that_are_no_numbers_are_the_jobs_error() {
    let output = run(env!("CARGO_BIN_EXE_scan"), b"12345");
    assert_eq!(output.status.code(), Some(1));
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(log.contains("[error] 5 bytes are no list of 32-bit numbers\n"), "{log}");
}

#[test]
fn rules_of_the_interface_hold_here() {
    let output = run(env!("CARGO_BIN_EXE_gpu-rules"), b"");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let rules = rules::check(&crate::gpu()).unwrap();
    assert_eq!(output.stdout, format!("{rules} rules hold\n").into_bytes());
}
