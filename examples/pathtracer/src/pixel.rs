use std::collections::BTreeMap;

use crate::radiance::radiance;
use crate::sampler::Sampler;
use crate::scene::Scene;
use crate::tile::{Picture, shown};
use crate::vec3::Vec3;

/// Where paths are shared out, squares of so many pixels on a side take as many paths as each other.
const BLOCK: u32 = 4;

/// A block's noise is measured by so many paths in each of its pixels. They count for nothing else: a number of paths that depended on
/// what they bring would be a bias, as a pixel that is lucky would stop.
const PILOT: u32 = 4;

/// The least paths of a pixel.
const PATHS_MIN: u32 = 8;

/// What the numbers of a measurement are drawn from, beside the picture's seed.
const PILOT_SEED: u64 = 0x7069_6c6f_7421;

/// What is known of a pixel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Estimate {
    /// The light that reaches it.
    pub(crate) light: Vec3,
    /// How many paths it took to know, with those that measured the noise.
    pub(crate) paths: u32,
}

/// A picture whose pixels are asked for, row by row.
#[derive(Debug)]
pub(crate) struct Pixels<'a> {
    picture: &'a Picture,
    scene: &'a Scene,
    /// Paths of the blocks that were measured last, by the place of the block.
    blocks: BTreeMap<(u32, u32), u32>,
}

impl<'a> Pixels<'a> {
    pub(crate) fn new(picture: &'a Picture, scene: &'a Scene) -> Self {
        Self { picture, scene, blocks: BTreeMap::new() }
    }

    /// Asks for the pixel at `x`, `y`. How many paths it takes depends on the picture's blocks, so a pixel is the same in every tile.
    pub(crate) fn estimate(&mut self, x: u32, y: u32) -> Estimate {
        let (picture, scene) = (self.picture, self.scene);
        if picture.noise == 0 {
            return Estimate {
                light: sum(picture, scene, picture.frame_seed(), (x, y), picture.samples).mean(),
                paths: picture.samples,
            };
        }
        let block = (x / BLOCK, y / BLOCK);
        // Blocks above are not asked for again.
        if self.blocks.keys().next().is_some_and(|(_, row)| *row != block.1) {
            self.blocks.clear();
        }
        let paths = *self.blocks.entry(block).or_insert_with(|| paths_of_block(picture, scene, block));
        Estimate { light: sum(picture, scene, picture.frame_seed(), (x, y), paths).mean(), paths: paths + PILOT }
    }
}

/// A path for every so many thousandths of white by which a block's paths differ on the screen. The error of a whole picture is least, for
/// the paths that it takes, where they are shared out by how much they differ (Neyman 1934), and not by the square of that.
fn paths_of_block(picture: &Picture, scene: &Scene, (column, row): (u32, u32)) -> u32 {
    let places = |block: u32, side: u32| block * BLOCK..(block * BLOCK + BLOCK).min(side);
    let (mut variance, mut brightness, mut pixels) = (0.0, 0.0, 0.0);
    for y in places(row, picture.height) {
        for x in places(column, picture.width) {
            let pilot = sum(picture, scene, picture.frame_seed() ^ PILOT_SEED, (x, y), PILOT);
            variance += pilot.variance();
            brightness += pilot.brightness / PILOT as f32;
            pixels += 1.0;
        }
    }
    let deviation = (variance / pixels).sqrt() * contrast(brightness / pixels);
    // The cast saturates.
    ((deviation * (1000.0 / picture.noise as f32)).ceil() as u32).max(PATHS_MIN).min(picture.samples)
}

/// How much more white the screen shows for a little more light, where there is so much.
fn contrast(light: f32) -> f32 {
    let step = 0.05 * light + 0.01;
    (shown(light + step) - shown(light)) / step
}

/// So many paths of a pixel, evenly spread.
fn sum(picture: &Picture, scene: &Scene, seed: u64, (x, y): (u32, u32), paths: u32) -> Sum {
    let mut sampler = Sampler::new(seed, x, y, paths);
    let mut sum = Sum::default();
    for sample in 0..paths {
        sampler.start(sample);
        let (dx, dy) = sampler.pair();
        let place = picture.place(x as f32 + 0.5 + tent(dx), y as f32 + 0.5 + tent(dy));
        let ray = scene.camera.ray(place, sampler.pair());
        sum.add(radiance(scene, ray, &mut sampler));
    }
    sum
}

impl Picture {
    /// Where `x`, `y` in pixels from the upper left is for the camera, for which the height runs from 1 to -1.
    fn place(&self, x: f32, y: f32) -> (f32, f32) {
        let (width, height) = (self.width as f32, self.height as f32);
        ((2.0 * x - width) / height, (height - 2.0 * y) / height)
    }
}

/// The paths of a pixel so far.
#[derive(Debug, Default)]
struct Sum {
    paths: u32,
    light: Vec3,
    brightness: f32,
    brightness_squared: f32,
}

impl Sum {
    fn add(&mut self, light: Vec3) {
        let brightness = (light.x + light.y + light.z) * (1.0 / 3.0);
        self.paths += 1;
        self.light += light;
        self.brightness += brightness;
        self.brightness_squared += brightness * brightness;
    }

    fn mean(&self) -> Vec3 {
        self.light / self.paths as f32
    }

    /// How much one path's brightness differs from another's: the mean square, of at least two paths.
    fn variance(&self) -> f32 {
        let paths = self.paths as f32;
        (self.brightness_squared - self.brightness * self.brightness / paths) / (paths - 1.0)
    }
}

/// A number in (-1, 1) for one in [0, 1), the more likely the nearer to 0: pixels overlap a little, so edges come out smooth.
fn tent(n: f32) -> f32 {
    if n < 0.5 { (2.0 * n).sqrt() - 1.0 } else { 1.0 - (2.0 - 2.0 * n).sqrt() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subject::Subject;

    const FULL: Picture = Picture { noise: 0, ..picture() };

    const fn picture() -> Picture {
        Picture { width: 32, height: 18, samples: 512, seed: 3, noise: 2, frame: crate::tile::Frame::STILL }
    }

    /// Every third pixel of a picture, in every second row.
    fn estimates(picture: &Picture, scene: &Scene) -> Vec<Estimate> {
        let places = (0..picture.height).step_by(2).flat_map(|y| (0..picture.width).step_by(3).map(move |x| (x, y)));
        let mut pixels = Pixels::new(picture, scene);
        places.map(|(x, y)| pixels.estimate(x, y)).collect()
    }

    fn error(estimates: &[Estimate], truth: &[Estimate]) -> f32 {
        let squared = estimates.iter().zip(truth).map(|(a, b)| (a.light - b.light).length_squared() / 3.0);
        (squared.sum::<f32>() / truth.len() as f32).sqrt()
    }

    #[test]
    fn paths_by_need_keep_the_picture_and_save_many() {
        let scene = Scene::of(&Subject::teapot().unwrap(), FULL.frame);
        let truth = estimates(&Picture { seed: 99, ..FULL }, &scene);
        let full = estimates(&FULL, &scene);
        let stopped = estimates(&picture(), &scene);
        let paths = stopped.iter().map(|estimate| estimate.paths).sum::<u32>() as usize / stopped.len();
        assert!(paths < 256, "at least half are saved: {paths}");
        assert!(stopped.iter().any(|estimate| estimate.paths < 40) && stopped.iter().any(|estimate| estimate.paths > 200));
        // Nothing is brighter or darker for it, and hardly anything noisier.
        let mean =
            |estimates: &[Estimate]| estimates.iter().map(|estimate| estimate.light.y).sum::<f32>() / estimates.len() as f32;
        assert!((mean(&stopped) - mean(&full)).abs() < 0.01 * mean(&full), "{} {}", mean(&stopped), mean(&full));
        assert!(error(&stopped, &truth) < 0.06 * mean(&full), "{}", error(&stopped, &truth));
    }

    #[test]
    fn pixel_takes_from_the_least_to_all_of_its_paths() {
        let scene = Scene::of(&Subject::Adit, FULL.frame);
        for samples in [1, 7, 16, 21] {
            let paths = |noise| Pixels::new(&Picture { samples, noise, ..FULL }, &scene).estimate(16, 9).paths;
            assert_eq!(paths(0), samples);
            assert_eq!(paths(1), samples + PILOT, "so little noise is never reached");
            assert_eq!(paths(1000), samples.min(PATHS_MIN) + PILOT);
        }
    }

    #[test]
    fn variance_is_that_of_single_paths() {
        let mut sum = Sum::default();
        for light in [1.0, 2.0, 3.0, 6.0] {
            sum.add(Vec3::splat(light));
        }
        assert!((sum.variance() - 14.0 / 3.0).abs() < 1e-5, "{}", sum.variance());
    }
}
