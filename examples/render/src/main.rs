//! Renders a picture on an Adit network, one job per tile, and checks the bill.
#![forbid(unsafe_code)]

mod tile_job;

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::time::Duration;

use adit_client::Source;
use adit_example_network::{Invoice, Network, NetworkArgs};
use adit_example_pathtracer::{Picture, Pixels, Tile, assemble, tiles};
use adit_protocol::{Fuel, VerifiedReceipt};
use anyhow::{Context, Result};
use clap::Parser;
use futures_util::{StreamExt, stream};

use crate::tile_job::{Budget, render};

/// Tiles under way at once: enough to keep some dozens of nodes busy, few enough to leave the gateway's queue to others.
const WINDOW: usize = 64;

/// Renders a picture on an Adit network, one job per tile, and checks the bill.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    #[command(flatten)]
    network: NetworkArgs,
    /// The path tracer, compiled to wasm.
    #[arg(long, value_name = "FILE")]
    module: PathBuf,
    /// Width and height of the picture in pixels.
    #[arg(long, default_value = "640x360", value_parser = parse_size)]
    size: (u32, u32),
    /// Side of a tile in pixels.
    #[arg(long, default_value_t = 80, value_parser = clap::value_parser!(u32).range(1..))]
    tile: u32,
    /// Light paths per pixel.
    #[arg(long, default_value_t = 16)]
    samples: u32,
    /// The most fuel that one tile may use.
    #[arg(long, default_value = "10G")]
    fuel: Fuel,
    /// Render on GPUs, with at most so many seconds of GPU time for a tile. The module is `pathtracer-gpu.wasm`.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    gpu: Option<u32>,
    /// Where the picture goes.
    #[arg(long, value_name = "FILE", default_value = "picture.png")]
    out: PathBuf,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse();
    let network = Network::connect(&args.network).await?;
    let (parts, receipts) = render_all(&network, &args).await?;
    network.close().await;

    let picture = args.picture();
    let invoice = Invoice::new(receipts.iter().map(VerifiedReceipt::receipt))?;
    write_png(&args.out, picture, &assemble(picture, parts)?)?;
    if args.network.json {
        println!("{}", invoice.to_json());
    } else {
        print!("{invoice}");
        println!("picture {}", args.out.display());
        // Neither is optional: a tile only counts as rendered with both.
        println!("{0} receipts verified, {0} settlements verified", receipts.len());
    }
    Ok(())
}

/// Renders every tile of the picture, or fails with the first that cannot be.
async fn render_all(network: &Network, args: &Args) -> Result<(Vec<Pixels>, Vec<VerifiedReceipt>)> {
    let module = Source::file(&args.module).with_context(|| format!("module {}", args.module.display()))?;
    let tiles: Vec<Tile> = tiles(args.picture(), args.tile).collect();
    let total = tiles.len();
    let jobs = tiles.into_iter().map(|tile| render(network, &module, args.budget(), tile));
    let mut rendered = stream::iter(jobs).buffer_unordered(WINDOW);
    let (mut parts, mut receipts) = (Vec::with_capacity(total), Vec::with_capacity(total));
    while let Some(tile) = rendered.next().await {
        let (pixels, receipt) = tile?;
        parts.push(pixels);
        receipts.push(receipt);
        if !args.network.json {
            println!("progress {}/{total}", receipts.len());
        }
    }
    Ok((parts, receipts))
}

impl Args {
    fn budget(&self) -> Budget {
        Budget { fuel: self.fuel, gpu: self.gpu.map(|seconds| Duration::from_secs(seconds.into())) }
    }

    fn picture(&self) -> Picture {
        let (width, height) = self.size;
        Picture { width, height, samples: self.samples, seed: 0 }
    }
}

fn parse_size(text: &str) -> Result<(u32, u32), String> {
    let error = || format!("`{text}` is not a size; write WIDTHxHEIGHT in pixels, as in 640x360");
    let (width, height) = text.split_once('x').ok_or_else(error)?;
    Ok((width.parse().map_err(|_| error())?, height.parse().map_err(|_| error())?))
}

fn write_png(path: &Path, picture: Picture, rgb: &[u8]) -> Result<()> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut encoder = png::Encoder::new(BufWriter::new(file), picture.width, picture.height);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(rgb)?;
    writer.finish().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_is_two_numbers_with_an_x() {
        assert_eq!(parse_size("640x360"), Ok((640, 360)));
        for text in ["", "640", "x360", "640x", "640X360", "-1x1", "1x2x3"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn written_picture_is_read_again() {
        let path = std::env::temp_dir().join(format!("adit-render-{}.png", std::process::id()));
        let picture = Picture { width: 2, height: 1, samples: 1, seed: 0 };
        write_png(&path, picture, &[1, 2, 3, 4, 5, 6]).unwrap();
        let file = std::io::BufReader::new(File::open(&path).unwrap());
        let mut reader = png::Decoder::new(file).read_info().unwrap();
        let mut rgb = vec![0; 6];
        reader.next_frame(&mut rgb).unwrap();
        assert_eq!(rgb, [1, 2, 3, 4, 5, 6]);
        std::fs::remove_file(&path).unwrap();
    }
}
