//! The job as a process, natively: the `main` that `#[adit_guest::job]` writes, and the bytes that every machine must agree on.

mod gpu;
mod wasm;

use std::io::Write;
use std::process::{Command, Output, Stdio};

use adit_example_pathtracer::{Frame, Picture, Pixels, Subject, Tile, Work, render, tiles};
use adit_guest::{Decode, Encode};

/// A part of the picture with glass, metal, shadow and sky in it.
const TILE: Tile = Tile { picture: PICTURE, x: 24, y: 8, w: 32, h: 24 };
const PICTURE: Picture = Picture { width: 64, height: 36, samples: 4, seed: 1, noise: 0, frame: Frame::STILL };

/// BLAKE3 of [`TILE`]'s pixels. A change that is meant to change the picture changes this; nothing else may, on no machine.
const TILE_DIGEST: &str = "fb26086540ce62c8fbce596ade200cfbf27fa13aacce54649636a5a430ffd68b";

/// Paths and BLAKE3 of a tile of the teapot.
const MODEL_PATHS: u64 = 18624;
const MODEL_DIGEST: &str = "6a0c066e99cd8167ac4ae0646f0444b1f2e006765449e906971554bef3c9e7c6";

/// A job's input.
fn work(tile: Tile, subject: Subject) -> Vec<u8> {
    Work { tile, subject }.encode().expect("a job has an encoding")
}

fn run_job(input: &[u8]) -> Output {
    run(env!("CARGO_BIN_EXE_pathtracer"), input)
}

fn run(job: &str, input: &[u8]) -> Output {
    let mut job = Command::new(job)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the job was built with this test");
    job.stdin.take().expect("it was piped").write_all(input).expect("the job reads its input");
    job.wait_with_output().expect("the job ends")
}

#[test]
fn a_tile_has_its_golden_pixels() {
    let pixels = render(&TILE, &Subject::Adit, |_, _| ()).unwrap();
    assert_eq!(blake3::hash(&pixels.rgb).to_hex().as_str(), TILE_DIGEST);
}

/// The same of a model with all that is new in it: mesh, textures, environment, a frame of a film, and pixels that stop early.
#[test]
fn a_tile_of_a_model_has_its_golden_pixels() {
    let picture = Picture { samples: 64, noise: 150, frame: Frame { number: 5, count: 24 }, ..PICTURE };
    let pixels = render(&Tile { picture, ..TILE }, &Subject::teapot().unwrap(), |_, _| ()).unwrap();
    assert_eq!((pixels.paths, blake3::hash(&pixels.rgb).to_hex().as_str()), (MODEL_PATHS, MODEL_DIGEST));
}

#[test]
fn the_job_writes_what_the_function_returns() {
    let output = run_job(&work(TILE, Subject::Adit));
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(Pixels::decode(output.stdout).unwrap(), render(&TILE, &Subject::Adit, |_, _| ()).unwrap());
}

#[test]
fn a_tile_that_cannot_be_rendered_is_exit_code_1() {
    let output = run_job(&work(Tile { x: 60, ..TILE }, Subject::Adit));
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(output.stdout, b"");
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(log, "[error] the tile of 32x24 pixels at 60, 8 is not inside the picture of 64x36\n");
}

#[test]
fn an_input_that_is_no_work_is_exit_code_2() {
    let output = run_job(b"\xff\xff");
    assert_eq!(output.status.code(), Some(2));
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(log.starts_with("[error] the input is not what this job reads: 2 bytes are not a `"), "{log}");
}

#[test]
fn the_picture_is_neither_dark_nor_washed_out() {
    let picture = Picture::still(32, 18, 4, 3);
    let tile = tiles(picture, 32).next().expect("a picture has a tile");
    let rgb = render(&tile, &Subject::Adit, |_, _| ()).unwrap().rgb;
    let mean = rgb.iter().map(|n| u64::from(*n)).sum::<u64>() / rgb.len() as u64;
    assert!((60..190).contains(&mean), "mean {mean}");
    assert!(rgb.iter().any(|n| *n < 40) && rgb.iter().any(|n| *n > 220));
}
