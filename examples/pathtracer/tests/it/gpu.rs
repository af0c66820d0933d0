//! The picture of the GPU against that of the CPU.

use adit_example_pathtracer::{Frame, Picture, Pixels, RenderError, Subject, Tile, render, render_on, tiles};
use adit_guest::Decode;
use adit_guest::gpu::{self, Gpu, Limits};

use crate::{PICTURE, TILE, run, work};

fn gpu() -> Gpu {
    Gpu::open().expect("`cargo xtask setup` installs a software GPU where there is no other")
}

fn whole(picture: Picture) -> Tile {
    tiles(picture, picture.width).next().expect("a picture has a tile")
}

/// What README and [`render_on`] promise: the mean difference of a byte, and that which a thousandth of them may exceed.
const MEAN_MAX: f64 = 0.05;
const THOUSANDTH_MAX: u8 = 4;

#[test]
fn picture_is_that_of_the_cpu_within_the_tolerance() {
    for (seed, samples, number) in [(1, 1, 0), (2, 6, 0), (u64::MAX, 13, 2)] {
        let tile = whole(Picture { frame: Frame { number, count: 5 }, ..Picture::still(64, 36, samples, seed) });
        let by_gpu = render_on(&gpu(), &tile, &Subject::Adit, |_, _| ()).unwrap();
        assert_eq!(by_gpu.tile, tile);
        let by_cpu = render(&tile, &Subject::Adit, |_, _| ()).unwrap();
        let mut differences: Vec<u8> = by_gpu.rgb.iter().zip(&by_cpu.rgb).map(|(a, b)| a.abs_diff(*b)).collect();
        differences.sort_unstable();
        assert_eq!(differences.len(), 64 * 36 * 3);
        let mean = differences.iter().map(|n| f64::from(*n)).sum::<f64>() / differences.len() as f64;
        let thousandth = differences[differences.len() - 1 - differences.len() / 1000];
        assert!(mean <= MEAN_MAX && thousandth <= THOUSANDTH_MAX, "{samples} samples: {mean}, {thousandth}");
    }
}

/// A tile of more pixels than a dispatch has, beside one that is all in another dispatch's place.
#[test]
fn pixel_does_not_depend_on_its_tile() {
    let whole = whole(Picture::still(200, 100, 1, 9));
    let part = Tile { x: 13, y: 75, w: 150, h: 15, ..whole };
    let (all, part_rgb) = (
        render_on(&gpu(), &whole, &Subject::Adit, |_, _| ()).unwrap().rgb,
        render_on(&gpu(), &part, &Subject::Adit, |_, _| ()).unwrap().rgb,
    );
    for (row, expected) in part_rgb.chunks_exact(150 * 3).enumerate() {
        let first = ((75 + row) * 200 + 13) * 3;
        assert!(all[first..][..150 * 3] == *expected, "row {row}");
    }
}

#[test]
fn progress_counts_the_samples() {
    let mut reports = Vec::new();
    render_on(&gpu(), &Tile { picture: Picture { samples: 19, ..PICTURE }, ..TILE }, &Subject::Adit, |done, total| {
        reports.push((done, total))
    })
    .unwrap();
    assert_eq!(reports, [(8, 19), (16, 19), (19, 19)]);
}

#[test]
fn tile_that_the_gpu_has_no_room_for_is_refused() {
    let small = Gpu::open_with(Limits { memory: 1 << 16, ..Limits::default() }).unwrap();
    let error = render_on(&small, &TILE, &Subject::Adit, |_, _| ()).expect_err("its pixels and the scene are more");
    assert!(matches!(error, RenderError::Gpu(gpu::Error::Limit(_))), "{error}");
}

#[test]
fn what_the_shaders_cannot_do_is_refused_with_the_reason() {
    let error = render_on(&gpu(), &TILE, &Subject::teapot().unwrap(), |_, _| ()).expect_err("it is a model").to_string();
    assert_eq!(
        error,
        "the GPU's path tracer renders the scene that is built in, and no model; render this on a CPU, by `pathtracer`"
    );
    let tile = Tile { picture: Picture { noise: 30, ..PICTURE }, ..TILE };
    let error = render_on(&gpu(), &tile, &Subject::Adit, |_, _| ()).expect_err("it would stop early");
    assert!(matches!(error, RenderError::OnlyOnCpu(_)), "{error}");
}

#[test]
fn job_writes_what_the_function_returns() {
    let output = run(env!("CARGO_BIN_EXE_pathtracer-gpu"), &work(TILE, Subject::Adit));
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(Pixels::decode(output.stdout).unwrap(), render_on(&gpu(), &TILE, &Subject::Adit, |_, _| ()).unwrap());
}
