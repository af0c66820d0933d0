//! Renders a picture or a film on an Adit network, one job per tile, and checks the bill.
#![forbid(unsafe_code)]

mod files;
mod film;
mod preview;
mod scene;
mod tile_job;

use std::io::{IsTerminal, stdout};
use std::path::PathBuf;
use std::time::Duration;

use adit_client::Source;
use adit_example_network::{Invoice, Network, NetworkArgs, Progress};
use adit_example_pathtracer::{FRAMES_MAX, Frame, Picture};
use adit_protocol::{Fuel, VerifiedReceipt};
use anyhow::{Context, Result, bail};
use clap::Parser;
use futures_util::{StreamExt, stream};
use tokio::signal::unix::{SignalKind, signal};

use crate::film::{Film, Target};
use crate::preview::Preview;
use crate::scene::SceneArgs;
use crate::tile_job::{Budget, TileJobs};

/// Tiles under way at once: enough to keep some dozens of nodes busy, few enough to leave the gateway's queue to others.
const WINDOW: usize = 64;

/// Renders a picture or a film on an Adit network, one job per tile, and checks the bill.
#[derive(Debug, Parser)]
// Who writes an option again after a script's own means the last one.
#[command(version, args_override_self = true)]
struct Args {
    #[command(flatten)]
    network: NetworkArgs,
    /// The path tracer, compiled to wasm.
    #[arg(long, value_name = "FILE")]
    module: PathBuf,
    #[command(flatten)]
    scene: SceneArgs,
    /// Width and height of the picture in pixels.
    #[arg(long, default_value = "640x360", value_parser = parse_size)]
    size: (u32, u32),
    /// Side of a tile in pixels.
    #[arg(long, default_value_t = 80, value_parser = clap::value_parser!(u32).range(1..))]
    tile: u32,
    /// Light paths per pixel; the most, with --noise.
    #[arg(long, default_value_t = 16)]
    samples: u32,
    /// Let a pixel stop once its noise is below so many thousandths of its brightness; 0 lets none.
    #[arg(long, value_name = "THOUSANDTHS", default_value_t = 0)]
    noise: u32,
    /// The most fuel that one tile may use.
    #[arg(long, default_value = "10G")]
    fuel: Fuel,
    /// Render on GPUs, with at most so many seconds of GPU time for a tile. The module is `pathtracer-gpu.wasm`.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    gpu: Option<u32>,
    /// Where the picture goes.
    #[arg(long, value_name = "FILE", default_value = "picture.png", conflicts_with = "out_dir")]
    out: PathBuf,
    /// Render a film of so many frames that goes round once.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "out_dir", value_parser = clap::value_parser!(u32).range(1..=i64::from(FRAMES_MAX)))]
    frames: u32,
    /// Where a film goes: `frame-0001.png` and so on, each as soon as it is whole, and at last all of them in the animated `film.png`.
    #[arg(long, value_name = "FOLDER")]
    out_dir: Option<PathBuf>,
    /// How many frames of the film are shown in a second.
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u16).range(1..=240))]
    fps: u16,
    /// A PNG file that shows the tiles as they arrive.
    #[arg(long, value_name = "FILE")]
    preview: Option<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse();
    let mut film = Film::new(args.picture(), args.tile, args.frames, args.target())?;
    let module = Source::file(&args.module).with_context(|| format!("module {}", args.module.display()))?;
    let subject = args.scene.load(args.gpu.is_some())?;
    let network = Network::connect(&args.network).await?;
    let jobs = TileJobs { network: &network, module, subject, budget: args.budget() };
    let rendered = tokio::select! {
        rendered = render_all(&jobs, &args, &mut film) => rendered?,
        () = interrupted()? => {
            // Jobs that nobody waits for any more are cancelled.
            let (done, place) = (film.done(), args.target().place().display().to_string());
            network.close().await;
            bail!("interrupted; {done} of {} frames are whole, in {place}", args.frames);
        }
    };
    network.close().await;
    let result = film.finish()?;
    report(&args, &rendered, &result)
}

/// What came of all tiles.
#[derive(Debug, Default)]
struct Rendered {
    receipts: Vec<VerifiedReceipt>,
    paths: u64,
}

/// Renders every tile, or fails with the first that cannot be.
async fn render_all(jobs: &TileJobs<'_>, args: &Args, film: &mut Film) -> Result<Rendered> {
    let total = film.tiles_count();
    let mut progress = Progress::new("tiles", total, args.network.json);
    let mut preview = Preview::new(args.size, args.preview.clone(), args.network.json);
    let mut rendered = Rendered::default();
    let mut tiles = stream::iter(film.tiles().map(|tile| jobs.render(tile))).buffer_unordered(WINDOW);
    while let Some(tile) = tiles.next().await {
        let (pixels, receipt) = tile?;
        rendered.receipts.push(receipt);
        rendered.paths += pixels.paths;
        progress.step();
        preview.add(&pixels, &progress)?;
        film.add(pixels)?;
        // A program that plays with the network reads how far it is.
        if !args.network.json && !stdout().is_terminal() {
            println!("progress {}/{total}", rendered.receipts.len());
        }
    }
    preview.draw(&progress)?;
    Ok(rendered)
}

/// Ends when the user asks to stop.
fn interrupted() -> Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen to signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen to signals")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => (),
            _ = interrupt.recv() => (),
        }
    })
}

/// Prints the bill.
fn report(args: &Args, rendered: &Rendered, result: &std::path::Path) -> Result<()> {
    let Rendered { receipts, paths } = rendered;
    let invoice = Invoice::new(receipts.iter().map(VerifiedReceipt::receipt))?;
    if args.network.json {
        println!("{}", invoice.to_json());
        return Ok(());
    }
    print!("{invoice}");
    let pixels = f64::from(args.size.0) * f64::from(args.size.1) * f64::from(args.frames);
    println!("{:.1} of {} paths for each pixel", *paths as f64 / pixels, args.samples);
    println!("{} {}", if args.frames > 1 { "film" } else { "picture" }, result.display());
    // Neither is optional: a tile only counts as rendered with both.
    println!("{0} receipts verified, {0} settlements verified", receipts.len());
    Ok(())
}

impl Args {
    fn budget(&self) -> Budget {
        Budget { fuel: self.fuel, gpu: self.gpu.map(|seconds| Duration::from_secs(seconds.into())) }
    }

    fn picture(&self) -> Picture {
        let (width, height) = self.size;
        Picture { width, height, samples: self.samples, seed: 0, noise: self.noise, frame: Frame::STILL }
    }

    fn target(&self) -> Target {
        match &self.out_dir {
            Some(folder) => Target::Film { folder: folder.clone(), frames_a_second: self.fps },
            None => Target::Still(self.out.clone()),
        }
    }
}

fn parse_size(text: &str) -> Result<(u32, u32), String> {
    let error = || format!("`{text}` is not a size; write WIDTHxHEIGHT in pixels, as in 640x360");
    let (width, height) = text.split_once('x').ok_or_else(error)?;
    let size = (width.parse().map_err(|_| error())?, height.parse().map_err(|_| error())?);
    let sides = 1..=adit_example_pathtracer::PICTURE_SIDE_MAX;
    if sides.contains(&size.0) && sides.contains(&size.1) { Ok(size) } else { Err(error()) }
}

#[cfg(test)]
mod tests {
    use clap::error::ErrorKind;

    use super::*;

    #[test]
    fn size_is_two_numbers_with_an_x() {
        assert_eq!(parse_size("640x360"), Ok((640, 360)));
        for text in ["", "640", "x360", "640x", "640X360", "-1x1", "1x2x3", "0x5", "5x0", "16385x1"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    fn parse(more: &[&str]) -> Result<Args, clap::Error> {
        let gateway = format!("127.0.0.1:7#{}", "a".repeat(64));
        Args::try_parse_from([&["adit-render", "--module", "m.wasm", "--gateway", &gateway], more].concat())
    }

    #[test]
    fn film_needs_a_folder_and_a_picture_none() {
        assert!(matches!(parse(&[]).unwrap().target(), Target::Still(_)));
        assert!(matches!(parse(&["--out-dir", "d", "--frames", "4"]).unwrap().target(), Target::Film { .. }));
        let kind = |more: &[&str]| parse(more).unwrap_err().kind();
        assert_eq!(kind(&["--frames", "4"]), ErrorKind::MissingRequiredArgument);
        assert_eq!(kind(&["--out", "a.png", "--out-dir", "d"]), ErrorKind::ArgumentConflict);
        assert_eq!(kind(&["--out-dir", "d", "--frames", "0"]), ErrorKind::ValueValidation);
    }
}
