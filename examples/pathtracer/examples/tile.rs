//! The tile by which the guest is compared with native code: `tile write > tile.bin` writes the job's input, and
//! `tile render < tile.bin > pixels.bin` does natively what the guest does with it. Says on standard error how long it took.
#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::time::Instant;

use adit_example_pathtracer::{Frame, Picture, Subject, Work, render, tiles};
use adit_guest::{Decode, Encode};
use anyhow::{Context, Result, bail};

fn main() -> Result<()> {
    let output = match std::env::args().nth(1).as_deref() {
        Some("write") => work()?.encode()?,
        Some("render") => pixels()?,
        _ => bail!("usage: tile write > tile.bin, tile render < tile.bin > pixels.bin"),
    };
    Ok(io::stdout().write_all(&output)?)
}

/// From the middle of the teapot's picture, with so much to do that starting is nothing beside it.
fn work() -> Result<Work> {
    let picture = Picture { noise: 6, frame: Frame { number: 1, count: 12 }, ..Picture::still(640, 360, 64, 1) };
    let tile = tiles(picture, 120).nth(8).context("a picture has a middle")?;
    Ok(Work { tile, subject: Subject::teapot()? })
}

fn pixels() -> Result<Vec<u8>> {
    let mut input = Vec::new();
    io::stdin().read_to_end(&mut input)?;
    let start = Instant::now();
    let work = Work::decode(input)?;
    let output = render(&work.tile, &work.subject, |_, _| ())?.encode()?;
    eprintln!("{:.3?}", start.elapsed());
    Ok(output)
}
