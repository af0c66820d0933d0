//! Renders the whole picture natively, without wasm and without a network, to see what the guests will make:
//! `cargo run --release -p adit-example-pathtracer --example picture -- FILE.png [SAMPLES [gpu]]`

use std::env;
use std::fs::File;
use std::io::BufWriter;

use adit_example_pathtracer::{Picture, assemble, render, render_on, tiles};
use adit_guest::gpu::Gpu;
use anyhow::Context;

fn main() -> anyhow::Result<()> {
    let mut arguments = env::args().skip(1);
    let path = arguments.next().context("which file? usage: picture FILE.png [SAMPLES [gpu]]")?;
    let samples = arguments.next().map_or(Ok(24), |samples| samples.parse()).context("SAMPLES is a number")?;
    let picture = Picture { width: 640, height: 360, samples, seed: 1 };
    let pixels = match arguments.next().as_deref() {
        Some("gpu") => {
            let gpu = Gpu::open()?;
            tiles(picture, 640).map(|tile| render_on(&gpu, &tile, |_, _| ())).collect::<Result<Vec<_>, _>>()?
        }
        _ => tiles(picture, 64).map(|tile| render(&tile, |_, _| ())).collect::<Result<Vec<_>, _>>()?,
    };
    write_png(&path, picture, &assemble(picture, pixels)?).with_context(|| format!("cannot write {path}"))
}

fn write_png(path: &str, picture: Picture, rgb: &[u8]) -> anyhow::Result<()> {
    let mut encoder = png::Encoder::new(BufWriter::new(File::create(path)?), picture.width, picture.height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.write_header()?.write_image_data(rgb)?;
    Ok(())
}
