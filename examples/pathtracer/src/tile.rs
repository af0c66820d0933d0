use adit_guest::gpu;
use serde::{Deserialize, Serialize};

use crate::pixel::Estimate;
use crate::sampler::split_mix;
use crate::scene::Scene;
use crate::subject::{Subject, SubjectError};
use crate::vec3::Vec3;

/// The widest and the highest picture: places in it are `f32`, and this leaves them a thousandth of a pixel.
pub const PICTURE_SIDE_MAX: u32 = 16_384;

/// The most samples of one pixel.
pub const SAMPLES_MAX: u32 = 65_536;

/// The most noise that may stay in a pixel, in thousandths of its brightness.
pub const NOISE_MAX: u32 = 1000;

/// The most frames of a film: an hour and more.
pub const FRAMES_MAX: u32 = 100_000;

/// The most pixels of one tile: 12 MiB of output.
pub const TILE_PIXELS_MAX: u32 = 4 << 20;

/// How bright the picture is.
const EXPOSURE: f32 = 0.9;

/// A picture that is to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Picture {
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// Paths for each pixel; the most, where some noise may stay.
    pub samples: u32,
    /// What the random numbers are drawn from. A pixel's depend on it, the frame and the pixel's place.
    pub seed: u64,
    /// How much noise may stay in a pixel, in thousandths of its brightness: it takes paths until so little is left. With 0 each pixel
    /// takes all of its paths.
    pub noise: u32,
    /// Which picture of a film it is.
    pub frame: Frame,
}

/// A picture of a film that goes round: after the last comes the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// Which, from 0.
    pub number: u32,
    /// How many there are.
    pub count: u32,
}

/// A part of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tile {
    /// What it is a part of.
    pub picture: Picture,
    /// The first column.
    pub x: u32,
    /// The first row, from the top.
    pub y: u32,
    /// How many columns.
    pub w: u32,
    /// How many rows.
    pub h: u32,
}

/// The job's input: a tile, and what its picture is of. A program that submits many tiles borrows the subject.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Work<S = Subject> {
    /// What to render.
    pub tile: Tile,
    /// What is to be seen there.
    pub subject: S,
}

/// A rendered tile: the job's output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pixels {
    /// The tile that was asked for.
    pub tile: Tile,
    /// The paths that all of its pixels took.
    pub paths: u64,
    /// Three bytes for each pixel, by rows from the top.
    #[serde(with = "serde_bytes")]
    pub rgb: Vec<u8>,
}

/// Why a tile cannot be rendered.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RenderError {
    /// A side is 0 or too long.
    #[error("a picture of {width}x{height} pixels; each side must be from 1 to {PICTURE_SIDE_MAX}")]
    PictureSize {
        /// What was asked for.
        width: u32,
        /// What was asked for.
        height: u32,
    },
    /// A side is 0, or there are too many pixels.
    #[error("a tile of {w}x{h} pixels; it must have from 1 to {TILE_PIXELS_MAX}")]
    TileSize {
        /// What was asked for.
        w: u32,
        /// What was asked for.
        h: u32,
    },
    /// Part of the tile is not in the picture.
    #[error("the tile of {}x{} pixels at {}, {} is not inside the picture of {}x{}", .0.w, .0.h, .0.x, .0.y, .0.picture.width, .0.picture.height)]
    Outside(Tile),
    /// None, or too many.
    #[error("{0} samples; there must be from 1 to {SAMPLES_MAX}")]
    Samples(u32),
    /// So much that the picture would be nothing else.
    #[error("noise of {0} thousandths; there may be at most {NOISE_MAX}")]
    Noise(u32),
    /// There is no such frame in the film.
    #[error("frame {} of {}; a film has from 1 to {FRAMES_MAX}, and its first is 0", .0.number, .0.count)]
    Frame(Frame),
    /// The subject cannot be.
    #[error(transparent)]
    Subject(#[from] SubjectError),
    /// What is asked for, the shaders cannot do.
    #[error("the GPU's path tracer renders {0}; render this on a CPU, by `pathtracer`")]
    OnlyOnCpu(&'static str),
    /// The GPU refused.
    #[error(transparent)]
    Gpu(#[from] gpu::Error),
}

/// Why tiles do not make a picture.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AssembleError {
    /// There is no such picture.
    #[error(transparent)]
    Picture(#[from] RenderError),
    /// A tile is of another picture, or cannot be of any.
    #[error("the tile at {}, {} is not of this picture", .0.x, .0.y)]
    Foreign(Tile),
    /// A tile's bytes are not three for each of its pixels.
    #[error("the tile at {}, {} has {bytes} bytes for its {}x{} pixels", .tile.x, .tile.y, .tile.w, .tile.h)]
    Bytes {
        /// The tile.
        tile: Tile,
        /// How many bytes it has.
        bytes: usize,
    },
    /// A tile covers pixels that another one covers.
    #[error("the tile at {}, {} overlaps another", .0.x, .0.y)]
    Overlap(Tile),
    /// Some pixels are of no tile.
    #[error("{0} pixels are missing")]
    Missing(usize),
}

/// Cuts a picture into squares of `side` pixels, by rows from the top; those at the right and at the bottom are what is left.
///
/// # Panics
/// `side` is 0.
pub fn tiles(picture: Picture, side: u32) -> impl Iterator<Item = Tile> {
    assert!(side > 0, "a tile has at least one pixel");
    let Picture { width, height, .. } = picture;
    let columns = move || (0..width).step_by(side as usize);
    (0..height)
        .step_by(side as usize)
        .flat_map(move |y| columns().map(move |x| Tile { picture, x, y, w: side.min(width - x), h: side.min(height - y) }))
}

/// Renders a tile, and calls `progress` with the finished and all rows after each.
///
/// # Errors
/// The tile is none of a picture, or larger than the limits above; or the subject cannot be.
pub fn render(tile: &Tile, subject: &Subject, mut progress: impl FnMut(u64, u64)) -> Result<Pixels, RenderError> {
    tile.check()?;
    subject.check()?;
    let scene = Scene::of(subject, tile.picture.frame);
    let mut pixels = Pixels { tile: *tile, paths: 0, rgb: Vec::with_capacity(tile.bytes()) };
    for row in 0..tile.h {
        for column in 0..tile.w {
            let Estimate { light, paths } = Estimate::of(&tile.picture, &scene, tile.x + column, tile.y + row);
            pixels.rgb.extend(encode(light));
            pixels.paths += u64::from(paths);
        }
        progress(u64::from(row) + 1, u64::from(tile.h));
    }
    Ok(pixels)
}

/// Puts tiles together to the picture that they were cut from: three bytes for each pixel, by rows from the top.
///
/// # Errors
/// The tiles are not of the picture, overlap, or do not cover it.
pub fn assemble(picture: Picture, tiles: impl IntoIterator<Item = Pixels>) -> Result<Vec<u8>, AssembleError> {
    picture.check()?;
    let width = picture.width as usize;
    let mut picture_rgb = vec![0; width * picture.height as usize * 3];
    let mut covered = vec![false; width * picture.height as usize];
    for Pixels { tile, rgb, .. } in tiles {
        check_part(picture, &tile, &rgb)?;
        for (row, row_rgb) in rgb.chunks_exact(tile.w as usize * 3).enumerate() {
            let first = (tile.y as usize + row) * width + tile.x as usize;
            let row_covered = &mut covered[first..first + tile.w as usize];
            if row_covered.contains(&true) {
                return Err(AssembleError::Overlap(tile));
            }
            row_covered.fill(true);
            picture_rgb[first * 3..][..row_rgb.len()].copy_from_slice(row_rgb);
        }
    }
    match covered.iter().filter(|covered| !**covered).count() {
        0 => Ok(picture_rgb),
        missing => Err(AssembleError::Missing(missing)),
    }
}

fn check_part(picture: Picture, tile: &Tile, rgb: &[u8]) -> Result<(), AssembleError> {
    if tile.picture != picture || tile.check().is_err() {
        return Err(AssembleError::Foreign(*tile));
    }
    if rgb.len() != tile.bytes() {
        return Err(AssembleError::Bytes { tile: *tile, bytes: rgb.len() });
    }
    Ok(())
}

impl Picture {
    /// A picture with all of its samples in each pixel, that is no film.
    pub fn still(width: u32, height: u32, samples: u32, seed: u64) -> Self {
        Self { width, height, samples, seed, noise: 0, frame: Frame::STILL }
    }

    /// What this frame's random numbers are drawn from: noise that stood still in a film would look like dirt on the lens.
    pub(crate) fn frame_seed(&self) -> u64 {
        match self.frame.number {
            0 => self.seed,
            number => self.seed ^ split_mix(u64::from(number)),
        }
    }

    fn check(&self) -> Result<(), RenderError> {
        let Self { width, height, samples, noise, frame, .. } = *self;
        let sides = 1..=PICTURE_SIDE_MAX;
        if !sides.contains(&width) || !sides.contains(&height) {
            return Err(RenderError::PictureSize { width, height });
        }
        if !(1..=SAMPLES_MAX).contains(&samples) {
            return Err(RenderError::Samples(samples));
        }
        if noise > NOISE_MAX {
            return Err(RenderError::Noise(noise));
        }
        if frame.number >= frame.count || frame.count > FRAMES_MAX {
            return Err(RenderError::Frame(frame));
        }
        Ok(())
    }
}

impl Frame {
    /// The only picture there is.
    pub const STILL: Self = Self { number: 0, count: 1 };
}

impl Tile {
    fn bytes(&self) -> usize {
        self.w as usize * self.h as usize * 3
    }

    pub(crate) fn check(&self) -> Result<(), RenderError> {
        let Self { picture: Picture { width, height, .. }, x, y, w, h } = *self;
        self.picture.check()?;
        if !(1..=u64::from(TILE_PIXELS_MAX)).contains(&(u64::from(w) * u64::from(h))) {
            return Err(RenderError::TileSize { w, h });
        }
        let is_inside = |first: u32, count: u32, all: u32| first.checked_add(count).is_some_and(|end| end <= all);
        if !is_inside(x, w, width) || !is_inside(y, h, height) {
            return Err(RenderError::Outside(*self));
        }
        Ok(())
    }
}

/// A colour's three bytes: bright light is bent into what a screen can show as film does (Narkowicz 2015, "ACES Filmic Tone Mapping Curve"),
/// and the square root stands in for a screen's gamma of 2.2.
pub(crate) fn encode(Vec3 { x, y, z }: Vec3) -> [u8; 3] {
    [x, y, z].map(|light| {
        let n = light * EXPOSURE;
        let shown = (n * (2.51 * n + 0.03)) / (n * (2.43 * n + 0.59) + 0.14);
        // The cast saturates.
        (shown.sqrt() * 255.0 + 0.5) as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PICTURE: Picture = Picture { width: 20, height: 12, samples: 2, seed: 5, noise: 0, frame: Frame::STILL };

    fn whole() -> Tile {
        tiles(PICTURE, 20).next().expect("a picture has a tile")
    }

    fn grey(tile: Tile) -> Pixels {
        Pixels { tile, paths: 0, rgb: vec![128; tile.bytes()] }
    }

    #[test]
    fn tiles_are_squares_and_what_is_left() {
        let cut: Vec<_> = tiles(PICTURE, 8).map(|tile| (tile.x, tile.y, tile.w, tile.h)).collect();
        assert_eq!(cut, [(0, 0, 8, 8), (8, 0, 8, 8), (16, 0, 4, 8), (0, 8, 8, 4), (8, 8, 8, 4), (16, 8, 4, 4)]);
    }

    #[test]
    fn tiles_of_any_picture_are_valid_and_cover_it() {
        for (width, height, side) in [(1, 1, 1), (640, 360, 64), (7, 5, 3), (5, 7, 100), (16_384, 1, 1000)] {
            let picture = Picture { width, height, ..PICTURE };
            let parts = tiles(picture, side).inspect(|tile| assert_eq!(tile.check(), Ok(()))).map(grey);
            assert_eq!(assemble(picture, parts).map(|rgb| rgb.len()), Ok((width * height * 3) as usize));
        }
    }

    #[test]
    fn tiles_that_cannot_be_rendered_are_refused() {
        let check = |change: fn(&mut Tile), expected: fn(&RenderError) -> bool| {
            let mut tile = whole();
            change(&mut tile);
            let error = render(&tile, &Subject::Adit, |_, _| panic!("rendered")).expect_err("the tile is invalid");
            assert!(expected(&error), "{error}");
        };
        check(|tile| tile.picture.width = 0, |error| matches!(error, RenderError::PictureSize { width: 0, .. }));
        check(|tile| tile.picture.height = PICTURE_SIDE_MAX + 1, |error| matches!(error, RenderError::PictureSize { .. }));
        check(|tile| tile.w = 0, |error| matches!(error, RenderError::TileSize { w: 0, .. }));
        check(|tile| tile.h = 0, |error| matches!(error, RenderError::TileSize { h: 0, .. }));
        check(|tile| (tile.w, tile.h) = (u32::MAX, u32::MAX), |error| matches!(error, RenderError::TileSize { .. }));
        check(|tile| tile.x = 1, |error| matches!(error, RenderError::Outside(_)));
        check(|tile| tile.y = u32::MAX, |error| matches!(error, RenderError::Outside(_)));
        check(|tile| tile.picture.samples = 0, |error| matches!(error, RenderError::Samples(0)));
        check(|tile| tile.picture.samples = SAMPLES_MAX + 1, |error| matches!(error, RenderError::Samples(_)));
        check(|tile| tile.picture.noise = NOISE_MAX + 1, |error| matches!(error, RenderError::Noise(_)));
        check(|tile| tile.picture.frame = Frame { number: 0, count: 0 }, |error| matches!(error, RenderError::Frame(_)));
        check(|tile| tile.picture.frame = Frame { number: 3, count: 3 }, |error| matches!(error, RenderError::Frame(_)));
        check(|tile| tile.picture.frame.count = FRAMES_MAX + 1, |error| matches!(error, RenderError::Frame(_)));
    }

    #[test]
    fn subject_that_cannot_be_is_refused() {
        let Subject::Model(mut model) = Subject::teapot().unwrap() else { panic!("it is a model") };
        model.mesh.triangles[17][2] = 1_000_000;
        let error = render(&whole(), &Subject::Model(model), |_, _| panic!("rendered")).expect_err("there is no such corner");
        assert!(matches!(error, RenderError::Subject(SubjectError::Corner { triangle: 17, .. })), "{error}");
    }

    #[test]
    fn parts_that_make_no_picture_are_refused() {
        let check = |change: fn(&mut Vec<Pixels>), expected: fn(&AssembleError) -> bool| {
            let mut parts: Vec<_> = tiles(PICTURE, 8).map(grey).collect();
            change(&mut parts);
            let error = assemble(PICTURE, parts).expect_err("these are not the picture's tiles");
            assert!(expected(&error), "{error}");
        };
        check(|parts| parts[1].tile.picture.seed += 1, |error| matches!(error, AssembleError::Foreign(_)));
        check(|parts| parts[1].tile.x = u32::MAX, |error| matches!(error, AssembleError::Foreign(_)));
        check(|parts| parts[2].rgb.truncate(9), |error| matches!(error, AssembleError::Bytes { bytes: 9, .. }));
        check(|parts| parts.push(parts[3].clone()), |error| matches!(error, AssembleError::Overlap(_)));
        check(|parts| drop(parts.pop()), |error| *error == AssembleError::Missing(16));
    }

    #[test]
    fn a_picture_that_cannot_be_is_not_assembled() {
        let picture = Picture { width: u32::MAX, height: u32::MAX, ..PICTURE };
        assert!(matches!(assemble(picture, []), Err(AssembleError::Picture(RenderError::PictureSize { .. }))));
    }

    #[test]
    fn parts_land_where_they_belong() {
        let parts =
            tiles(PICTURE, 8).enumerate().map(|(index, tile)| Pixels { tile, paths: 0, rgb: vec![index as u8; tile.bytes()] });
        let rgb = assemble(PICTURE, parts).unwrap();
        let at = |x: usize, y: usize| rgb[(y * 20 + x) * 3];
        assert_eq!([at(0, 0), at(7, 7), at(8, 7), at(19, 0), at(0, 8), at(15, 11), at(16, 11)], [0, 0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn a_pixel_does_not_depend_on_its_tile() {
        let film = Picture { frame: Frame { number: 2, count: 7 }, samples: 40, noise: 200, ..PICTURE };
        for (picture, subject, sides) in [(PICTURE, Subject::Adit, &[1, 7, 8][..]), (film, Subject::teapot().unwrap(), &[7, 13])]
        {
            let all = |tile: Tile| render(&tile, &subject, |_, _| ()).unwrap();
            let whole = tiles(picture, 20).map(all).next().expect("a picture has a tile");
            for side in sides {
                let parts: Vec<_> = tiles(picture, *side).map(all).collect();
                assert_eq!(parts.iter().map(|part| part.paths).sum::<u64>(), whole.paths, "tiles of {side}");
                assert!(assemble(picture, parts).unwrap() == whole.rgb, "tiles of {side}");
            }
        }
    }

    /// Frames are rendered on many machines and in any order, and a film goes round.
    #[test]
    fn frame_is_the_same_alone_and_another_than_its_neighbours() {
        let subject = Subject::teapot().unwrap();
        let frame = |number, count| {
            let tile = Tile { picture: Picture { frame: Frame { number, count }, ..PICTURE }, ..whole() };
            render(&tile, &subject, |_, _| ()).unwrap().rgb
        };
        assert_eq!(frame(1, 4), frame(1, 4));
        assert_ne!(frame(1, 4), frame(2, 4));
        assert_eq!(frame(0, 4), frame(0, 1), "the first frame is the still picture");
    }

    #[test]
    fn another_seed_is_another_picture() {
        let other = Tile { picture: Picture { seed: 6, ..PICTURE }, ..whole() };
        let rgb = |tile| render(&tile, &Subject::Adit, |_, _| ()).unwrap().rgb;
        assert_ne!(rgb(whole()), rgb(other));
    }

    #[test]
    fn progress_counts_the_rows() {
        let mut reports = Vec::new();
        render(&Tile { w: 2, h: 3, ..whole() }, &Subject::Adit, |done, total| reports.push((done, total))).unwrap();
        assert_eq!(reports, [(1, 3), (2, 3), (3, 3)]);
    }

    #[test]
    fn colours_run_from_black_to_white_and_brighter_is_never_darker() {
        assert_eq!(encode(Vec3::ZERO), [0; 3]);
        assert_eq!(encode(Vec3::splat(1000.0)), [255; 3]);
        let shown: Vec<_> = (0..1000).map(|step| encode(Vec3::splat(step as f32 / 100.0))[0]).collect();
        assert!(shown.is_sorted());
    }
}
