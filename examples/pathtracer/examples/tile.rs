//! The tile by which the guest is compared with native code:
//! `cargo run --release -p adit-example-pathtracer --example tile -- write FILE` writes the job's input, and `-- render FILE` does what
//! the guest does with it, natively, and says how long that takes.

use std::env;
use std::fs;
use std::time::Instant;

use adit_example_pathtracer::{Frame, Picture, Subject, Work, render, tiles};
use adit_guest::{Decode, Encode};
use anyhow::{Context, Result, bail};

/// How often it is rendered; the fastest counts.
const ROUNDS: usize = 3;

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["write", file] => fs::write(file, input()?).with_context(|| format!("cannot write {file}")),
        ["render", file] => time(&fs::read(file).with_context(|| format!("cannot read {file}"))?),
        _ => bail!("usage: tile write FILE | tile render FILE"),
    }
}

/// The middle of the teapot's picture, with so much to do that starting is nothing beside it.
fn input() -> Result<Vec<u8>> {
    let picture = Picture { noise: 100, frame: Frame { number: 1, count: 12 }, ..Picture::still(640, 360, 64, 1) };
    let tile = tiles(picture, 160).nth(5).context("a picture has a middle")?;
    Ok(Work { tile, subject: Subject::teapot()? }.encode()?)
}

fn time(input: &[u8]) -> Result<()> {
    let mut least = f64::INFINITY;
    let mut output = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let work: Work = Decode::decode(input.to_vec())?;
        output = render(&work.tile, &work.subject, |_, _| ())?.encode()?;
        least = least.min(start.elapsed().as_secs_f64());
    }
    println!("{least:.3} s; {} bytes of output, BLAKE3 {}", output.len(), blake3::hash(&output).to_hex());
    Ok(())
}
