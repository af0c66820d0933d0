//! What stopping early saves: how far pictures are from one with very many paths, by the paths that each takes.
//! `cargo run --release -p adit-example-pathtracer --example noise`

use adit_example_pathtracer::{Picture, Subject, assemble, render, tiles};
use anyhow::Result;

const SIZE: (u32, u32) = (128, 72);

fn main() -> Result<()> {
    let subject = Subject::teapot()?;
    let (truth, _) = picture(&subject, Picture { seed: 77, ..still(2048) })?;
    println!("{:<28} {:>8} {:>8}", "pixels", "paths", "error");
    for samples in [8, 16, 24, 32, 48, 64, 96, 128, 192] {
        show(&subject, &truth, &format!("all {samples}"), still(samples))?;
    }
    for noise in [200, 150, 100, 70, 50] {
        show(&subject, &truth, &format!("up to 512, to {noise}/1000"), Picture { noise, ..still(512) })?;
    }
    Ok(())
}

fn still(samples: u32) -> Picture {
    Picture::still(SIZE.0, SIZE.1, samples, 1)
}

fn show(subject: &Subject, truth: &[u8], name: &str, of: Picture) -> Result<()> {
    let (rgb, paths) = picture(subject, of)?;
    println!("{name:<28} {paths:>8.1} {:>8.2}", error(&rgb, truth));
    Ok(())
}

/// The picture's bytes, and how many paths a pixel took in the mean.
fn picture(subject: &Subject, picture: Picture) -> Result<(Vec<u8>, f64)> {
    let parts = tiles(picture, SIZE.0).map(|tile| render(&tile, subject, |_, _| ())).collect::<Result<Vec<_>, _>>()?;
    let paths: u64 = parts.iter().map(|part| part.paths).sum();
    Ok((assemble(picture, parts)?, paths as f64 / f64::from(SIZE.0 * SIZE.1)))
}

/// The root of the mean square of how far bytes are from each other.
fn error(a: &[u8], b: &[u8]) -> f64 {
    let squares = a.iter().zip(b).map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2));
    (squares.sum::<f64>() / a.len() as f64).sqrt()
}
