use crate::radiance::radiance;
use crate::sampler::Sampler;
use crate::scene::Scene;
use crate::tile::Picture;
use crate::vec3::Vec3;

/// Where noise may stay, paths come in sets of so many, each evenly spread.
const SET: u32 = 8;

/// No pixel stops before: fewer paths do not show how much they differ.
const PATHS_MIN: u32 = 16;

/// Noise in the dark counts as that of this brightness would: no eye sees it there.
const DARK: f32 = 0.05;

/// What is known of a pixel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Estimate {
    /// The light that reaches it.
    pub(crate) light: Vec3,
    /// How many paths say so.
    pub(crate) paths: u32,
}

impl Estimate {
    /// Asks the scene for the pixel at `x`, `y`. When it is enough is told by the pixel's own paths, so a pixel is the same in every tile.
    pub(crate) fn of(picture: &Picture, scene: &Scene, x: u32, y: u32) -> Self {
        let set = if picture.noise == 0 { picture.samples } else { SET };
        let mut sampler = Sampler::new(picture.frame_seed(), x, y, set);
        let mut sum = Sum::default();
        while sum.paths < picture.samples && !sum.is_enough(picture.noise) {
            if sum.paths > 0 {
                sampler.next_set();
            }
            for sample in 0..set.min(picture.samples - sum.paths) {
                sampler.start(sample);
                let (dx, dy) = sampler.pair();
                let place = picture.place(x as f32 + 0.5 + tent(dx), y as f32 + 0.5 + tent(dy));
                let ray = scene.camera.ray(place, sampler.pair());
                sum.add(radiance(scene, ray, &mut sampler));
            }
        }
        Self { light: sum.light / sum.paths as f32, paths: sum.paths }
    }
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

    /// Whether the mean is as certain as `noise` thousandths of it: whether its standard error is at most that, were the paths drawn
    /// apart from each other. They are spread evenly and so know better, which makes up for a pixel that stops because it is lucky.
    fn is_enough(&self, noise: u32) -> bool {
        if noise == 0 || self.paths < PATHS_MIN {
            return false;
        }
        let paths = self.paths as f32;
        let mean = self.brightness / paths;
        let variance = (self.brightness_squared / paths - mean * mean) / (paths - 1.0);
        let limit = (mean + DARK) * (noise as f32 / 1000.0);
        variance <= limit * limit
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
        Picture { width: 32, height: 18, samples: 512, seed: 3, noise: 60, frame: crate::tile::Frame::STILL }
    }

    /// Every third pixel of a picture, in every second row.
    fn estimates(picture: &Picture, scene: &Scene) -> Vec<Estimate> {
        let places = (0..picture.height).step_by(2).flat_map(|y| (0..picture.width).step_by(3).map(move |x| (x, y)));
        places.map(|(x, y)| Estimate::of(picture, scene, x, y)).collect()
    }

    fn error(estimates: &[Estimate], truth: &[Estimate]) -> f32 {
        let squared = estimates.iter().zip(truth).map(|(a, b)| (a.light - b.light).length_squared() / 3.0);
        (squared.sum::<f32>() / truth.len() as f32).sqrt()
    }

    #[test]
    fn stopping_where_little_noise_is_left_keeps_the_picture_and_saves_paths() {
        let scene = Scene::of(&Subject::teapot().unwrap(), FULL.frame);
        let truth = estimates(&Picture { seed: 99, ..FULL }, &scene);
        let full = estimates(&FULL, &scene);
        let stopped = estimates(&picture(), &scene);
        let paths = stopped.iter().map(|estimate| estimate.paths).sum::<u32>() as usize / stopped.len();
        assert!(paths < 256, "at least half are saved: {paths}");
        assert!(stopped.iter().any(|estimate| estimate.paths < 40) && stopped.iter().any(|estimate| estimate.paths > 256));
        // What 60 thousandths of the light are, and no more than that.
        let mean =
            |estimates: &[Estimate]| estimates.iter().map(|estimate| estimate.light.y).sum::<f32>() / estimates.len() as f32;
        assert!((mean(&stopped) - mean(&full)).abs() < 0.01 * mean(&full), "{} {}", mean(&stopped), mean(&full));
        assert!(error(&stopped, &truth) < 0.06 * mean(&full), "{}", error(&stopped, &truth));
    }

    #[test]
    fn pixel_stops_at_its_last_path_at_the_latest() {
        let scene = Scene::of(&Subject::Adit, FULL.frame);
        for samples in [1, 7, 16, 21] {
            let paths = |noise| Estimate::of(&Picture { samples, noise, ..FULL }, &scene, 16, 9).paths;
            assert_eq!(paths(0), samples);
            assert_eq!(paths(1), samples, "so little noise is never reached");
            assert_eq!(paths(1000), samples.min(PATHS_MIN));
        }
    }

    #[test]
    fn noise_is_the_standard_error_over_the_mean() {
        let mut sum = Sum::default();
        for n in 0..100 {
            sum.add(Vec3::splat(if n % 2 == 0 { 0.95 } else { 1.95 }));
        }
        // A mean of 1.45 and a deviation of 0.5: the error is 0.05025, of 1.5.
        assert!(!sum.is_enough(33) && sum.is_enough(34));
    }
}
