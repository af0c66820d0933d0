//! Renders a whole picture natively, without wasm and without a network, to see what the guests will make:
//! `cargo run --release -p adit-example-pathtracer --example picture -- FILE.png [SAMPLES [adit|gpu|NOISE [FRAME/FRAMES]]]`

use std::env;
use std::fs::File;
use std::io::BufWriter;
use std::time::Instant;

use adit_example_pathtracer::{Frame, Picture, Pixels, Subject, assemble, render, render_on, tiles};
use adit_guest::gpu::Gpu;
use anyhow::{Context, Result};

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let argument = |at: usize| arguments.get(at).map(String::as_str);
    let path = argument(0).context("which file? usage: picture FILE.png [SAMPLES [adit|gpu|NOISE [FRAME/FRAMES]]]")?;
    let samples = argument(1).map_or(Ok(24), str::parse).context("SAMPLES is a number")?;
    let picture = Picture { frame: frame(argument(3))?, ..Picture::still(640, 360, samples, 1) };
    let start = Instant::now();
    let (picture, parts) = match argument(2) {
        Some("gpu") => (picture, on_gpu(picture)?),
        Some("adit") => (picture, on_cpu(picture, &Subject::Adit)?),
        noise => {
            let noise = noise.map_or(Ok(0), str::parse).context("NOISE is in thousandths of a pixel's brightness")?;
            let picture = Picture { noise, ..picture };
            (picture, on_cpu(picture, &Subject::teapot()?)?)
        }
    };
    let paths: u64 = parts.iter().map(|part| part.paths).sum();
    println!("{:.1} paths for each pixel in {:.2} s", paths as f64 / (640.0 * 360.0), start.elapsed().as_secs_f64());
    write_png(path, picture, &assemble(picture, parts)?).with_context(|| format!("cannot write {path}"))
}

fn frame(argument: Option<&str>) -> Result<Frame> {
    let Some(text) = argument else { return Ok(Frame::STILL) };
    let (number, count) = text.split_once('/').context("a frame is FRAME/FRAMES, as in 3/24")?;
    Ok(Frame { number: number.parse()?, count: count.parse()? })
}

fn on_cpu(picture: Picture, subject: &Subject) -> Result<Vec<Pixels>> {
    Ok(tiles(picture, 64).map(|tile| render(&tile, subject, |_, _| ())).collect::<Result<_, _>>()?)
}

fn on_gpu(picture: Picture) -> Result<Vec<Pixels>> {
    let gpu = Gpu::open()?;
    Ok(tiles(picture, 640).map(|tile| render_on(&gpu, &tile, &Subject::Adit, |_, _| ())).collect::<Result<_, _>>()?)
}

fn write_png(path: &str, picture: Picture, rgb: &[u8]) -> Result<()> {
    let mut encoder = png::Encoder::new(BufWriter::new(File::create(path)?), picture.width, picture.height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.write_header()?.write_image_data(rgb)?;
    Ok(())
}
