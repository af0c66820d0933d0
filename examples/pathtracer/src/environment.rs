use serde::{Deserialize, Serialize};

use crate::subject::SubjectError;
use crate::texture::straddle;
use crate::vec3::{Vec3, max, vec3};

/// The longest side of an environment's map.
pub const ENVIRONMENT_SIDE_MAX: u32 = 1024;

/// How much of the light's probability is spread evenly over the map, so that no direction with light in it is never drawn: what is
/// mixed of a dark texel and its bright neighbour would be one.
const EVEN_SHARE: f32 = 0.1;

/// The light from all around, as a photograph has it: the whole sphere of directions, unfolded into a square.
///
/// The sphere is first an octahedron and then, its four sides in the back turned outward, a square with straight ahead (z away) in the
/// middle, so that the horizon runs along a row of texels. Other unfoldings take sines and arc tangents to look up and to draw from;
/// this one takes a division.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// Columns, and rows.
    pub side: u32,
    /// Four bytes for each texel, by rows: three mantissas and an exponent (Ward 1991, "Real Pixels"), as in files of Radiance.
    #[serde(with = "serde_bytes")]
    pub rgbe: Vec<u8>,
}

impl Environment {
    /// The map of so many columns whose texels are `radiance` from their directions, given as x, y (up) and z.
    ///
    /// # Panics
    /// `side` is 0 or over [`ENVIRONMENT_SIDE_MAX`].
    pub fn from_fn(side: u32, mut radiance: impl FnMut([f32; 3]) -> [f32; 3]) -> Self {
        assert!((1..=ENVIRONMENT_SIDE_MAX).contains(&side), "a map has from 1 to {ENVIRONMENT_SIDE_MAX} columns");
        let mut rgbe = Vec::with_capacity(side as usize * side as usize * 4);
        for row in 0..side {
            for column in 0..side {
                let place = |n: u32| (n as f32 + 0.5) / side as f32;
                let Vec3 { x, y, z } = unfold((place(column), place(row))).normalized();
                rgbe.extend(to_rgbe(radiance([x, y, z])));
            }
        }
        Self { side, rgbe }
    }

    /// # Errors
    /// The side is 0 or too long, or the bytes are not four for each texel.
    pub(crate) fn check(&self) -> Result<(), SubjectError> {
        let Self { side, .. } = *self;
        if !(1..=ENVIRONMENT_SIDE_MAX).contains(&side) || self.rgbe.len() != side as usize * side as usize * 4 {
            return Err(SubjectError::Environment { side, bytes: self.rgbe.len() });
        }
        Ok(())
    }
}

/// The environment as light that can be looked up, and drawn from by how bright it is.
#[derive(Debug)]
pub(crate) struct EnvironmentLight {
    map: Map,
    side: usize,
    /// For each row, the probability of it and of all rows before it.
    rows: Vec<f32>,
    /// For each texel, the same within its row.
    columns: Vec<f32>,
    /// For each texel, how likely it is per area of the unit square.
    densities: Vec<f32>,
}

/// A direction that was drawn, and what comes from there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EnvironmentSample {
    pub(crate) direction: Vec3,
    pub(crate) radiance: Vec3,
    /// By solid angle.
    pub(crate) density: f32,
}

impl EnvironmentLight {
    /// A map that is all black, or so bright that its sum has no number, is drawn from evenly.
    pub(crate) fn new(environment: &Environment, strength: f32) -> Self {
        let side = environment.side as usize;
        let map = Map { side, texels: environment.rgbe.chunks_exact(4).map(|texel| from_rgbe(texel) * strength).collect() };
        let weights: Vec<f32> = (0..side * side).map(|texel| map.brightness_around(texel) * solid_angle(side, texel)).collect();
        let total: f32 = weights.iter().sum();
        let even = 1.0 / (side * side) as f32;
        let share = |weight: f32| {
            let of_light = weight / total;
            if total > 0.0 && total < f32::INFINITY { EVEN_SHARE * even + (1.0 - EVEN_SHARE) * of_light } else { even }
        };
        let shares: Vec<f32> = weights.into_iter().map(share).collect();
        let rows: Vec<f32> = shares.chunks_exact(side).map(|row| row.iter().sum()).collect();
        let columns = shares.chunks_exact(side).flat_map(running_shares).collect();
        let densities = densities(&shares, &rows, side);
        Self { map, side, rows: running_shares(&rows), columns, densities }
    }

    /// The light from a unit direction.
    pub(crate) fn radiance(&self, direction: Vec3) -> Vec3 {
        self.map.radiance(direction)
    }

    /// The direction that a point of the unit square draws: the brighter the likelier.
    pub(crate) fn sample(&self, (u, v): (f32, f32)) -> EnvironmentSample {
        let (row, down) = draw(&self.rows, v);
        let (column, right) = draw(&self.columns[row * self.side..][..self.side], u);
        let place = |n: usize, jitter: f32| (n as f32 + jitter) / self.side as f32;
        let point = unfold((place(column, right), place(row, down)));
        let direction = point.normalized();
        let density = self.densities[row * self.side + column] * per_solid_angle(point);
        EnvironmentSample { direction, radiance: self.radiance(direction), density }
    }

    /// How likely [`Self::sample`] is to draw `direction`, by solid angle.
    pub(crate) fn density(&self, direction: Vec3) -> f32 {
        let place = |n: f32| ((n * self.side as f32) as usize).min(self.side - 1);
        let (u, v) = fold(direction);
        self.densities[place(v) * self.side + place(u)] * per_solid_angle(on_octahedron(direction))
    }
}

/// The texels of an environment.
#[derive(Debug)]
struct Map {
    side: usize,
    texels: Vec<Vec3>,
}

impl Map {
    /// The light from a unit direction, mixed of the four texels around it.
    fn radiance(&self, direction: Vec3) -> Vec3 {
        let (u, v) = fold(direction);
        let (left, right) = straddle(u * self.side as f32 - 0.5);
        let (top, down) = straddle(v * self.side as f32 - 0.5);
        let upper = self.texel(left, top).lerp(self.texel(left + 1, top), right);
        let lower = self.texel(left, top + 1).lerp(self.texel(left + 1, top + 1), right);
        upper.lerp(lower, down)
    }

    /// A texel, or the one that is its neighbour on the sphere where it is one beyond the square.
    fn texel(&self, column: i32, row: i32) -> Vec3 {
        let last = self.side as i32 - 1;
        let is_outside = |n: i32| n < 0 || n > last;
        let (column, row) = if is_outside(column) { (column.clamp(0, last), last - row) } else { (column, row) };
        let (column, row) = if is_outside(row) { (last - column, row.clamp(0, last)) } else { (column, row) };
        self.texels[row as usize * self.side + column as usize]
    }

    /// The mean brightness over a texel: what is mixed there of it and its neighbours.
    fn brightness_around(&self, texel: usize) -> f32 {
        const PARTS: [(i32, f32); 3] = [(-1, 0.125), (0, 0.75), (1, 0.125)];
        let (column, row) = ((texel % self.side) as i32, (texel / self.side) as i32);
        let mut sum = 0.0;
        for (down, part) in PARTS {
            for (right, other_part) in PARTS {
                sum += brightness(self.texel(column + right, row + down)) * (part * other_part);
            }
        }
        sum
    }
}

/// How likely each texel is per area of the unit square, as [`draw`] draws it: the last of a row, and the last row, take what rounding
/// left.
fn densities(shares: &[f32], rows: &[f32], side: usize) -> Vec<f32> {
    let area = (side * side) as f32;
    let chances_of = |shares: &[f32]| -> Vec<f32> {
        let running = running_shares(shares);
        (0..running.len()).map(|n| running[n] - if n == 0 { 0.0 } else { running[n - 1] }).collect()
    };
    let row_chances = chances_of(rows);
    let of_row = |(row, shares): (usize, &[f32])| {
        let row_chance = row_chances[row];
        chances_of(shares).into_iter().map(move |chance| chance * row_chance * area).collect::<Vec<f32>>()
    };
    shares.chunks_exact(side).enumerate().flat_map(of_row).collect()
}

/// Of each share of the whole, the sum with all before it; the last is 1.
fn running_shares(shares: &[f32]) -> Vec<f32> {
    let total: f32 = shares.iter().sum();
    let mut sum = 0.0;
    let mut running: Vec<f32> = shares
        .iter()
        .map(|share| {
            sum += share;
            sum / total
        })
        .collect();
    if let Some(last) = running.last_mut() {
        *last = 1.0;
    }
    running
}

/// Which of the running shares `number` falls to, and where in it, from 0 to 1.
fn draw(running: &[f32], number: f32) -> (usize, f32) {
    let index = running.partition_point(|sum| *sum <= number).min(running.len() - 1);
    let before = if index == 0 { 0.0 } else { running[index - 1] };
    let within = (number - before) / (running[index] - before);
    (index, if (0.0..1.0).contains(&within) { within } else { 0.5 })
}

/// The point of the octahedron |x| + |y| + |z| = 1 in a direction.
fn on_octahedron(direction: Vec3) -> Vec3 {
    direction / (direction.x.abs() + direction.y.abs() + direction.z.abs())
}

/// The place in the unit square of a direction.
fn fold(direction: Vec3) -> (f32, f32) {
    let Vec3 { x, y, z } = on_octahedron(direction);
    let (a, b) = if z <= 0.0 { (x, y) } else { ((1.0 - y.abs()).copysign(x), (1.0 - x.abs()).copysign(y)) };
    (0.5 + 0.5 * a, 0.5 + 0.5 * b)
}

/// The point of the octahedron at a place in the unit square.
fn unfold((u, v): (f32, f32)) -> Vec3 {
    let (a, b) = (2.0 * u - 1.0, 2.0 * v - 1.0);
    let ahead = 1.0 - a.abs() - b.abs();
    if ahead >= 0.0 { vec3(a, b, -ahead) } else { vec3((1.0 - b.abs()).copysign(a), (1.0 - a.abs()).copysign(b), -ahead) }
}

/// By how much a density over the unit square is greater over solid angles, at a point of the octahedron. A side of it lies 1/sqrt 3 from
/// the middle and hides sqrt 3 of its shadow on the square, so what a patch of shadow fills of the sphere is its area over the cube of the
/// distance. The square from -1 to 1 is four times the unit square.
fn per_solid_angle(point: Vec3) -> f32 {
    let distance = point.length();
    0.25 * distance * distance * distance
}

/// The part of the sphere that a texel fills, nearly.
fn solid_angle(side: usize, texel: usize) -> f32 {
    let place = |n: usize| (n as f32 + 0.5) / side as f32;
    1.0 / (per_solid_angle(unfold((place(texel % side), place(texel / side)))) * (side * side) as f32)
}

fn brightness(Vec3 { x, y, z }: Vec3) -> f32 {
    0.2126 * x + 0.7152 * y + 0.0722 * z
}

/// The least exponent of a byte that is an `f32` with all of its digits.
const EXPONENT_BIAS: i32 = 136;

fn from_rgbe(texel: &[u8]) -> Vec3 {
    let scale = power_of_two(i32::from(texel[3]) - EXPONENT_BIAS);
    vec3(f32::from(texel[0]), f32::from(texel[1]), f32::from(texel[2])) * scale
}

fn to_rgbe(radiance: [f32; 3]) -> [u8; 4] {
    let [red, green, blue] = radiance.map(|light| if light > 0.0 { light } else { 0.0 });
    let brightest = max(max(red, green), blue);
    // The power of two above the brightest.
    let exponent = ((brightest.to_bits() >> 23) as i32 - 126).clamp(-100, 119);
    let byte = |light: f32| (light / power_of_two(exponent - 8)) as u8;
    [byte(red), byte(green), byte(blue), (exponent + 128) as u8]
}

/// Exact for exponents that an `f32` has, and the nearest that it has for others.
fn power_of_two(exponent: i32) -> f32 {
    f32::from_bits(((exponent + 127).clamp(1, 254) as u32) << 23)
}

#[cfg(test)]
mod tests {
    use std::f64::consts::PI;

    use super::*;
    use crate::sampler::{Sampler, sphere};

    /// A dark night with one small and very bright window, and a dim glow.
    fn night() -> Environment {
        let window = vec3(0.4, 0.5, -0.7).normalized();
        Environment::from_fn(32, |[x, y, z]| {
            if vec3(x, y, z).dot(window) > 0.985 { [60.0, 50.0, 40.0] } else { [0.02, 0.02 + 0.1 * max(y, 0.0), 0.1] }
        })
    }

    fn directions(count: u32) -> impl Iterator<Item = Vec3> {
        let mut sampler = Sampler::new(8, 0, 0, count);
        (0..count).map(move |sample| {
            sampler.start(sample);
            sphere(sampler.pair())
        })
    }

    fn close(a: f64, b: f64, share: f64) -> bool {
        (a - b).abs() <= share * b.abs()
    }

    #[test]
    fn square_and_sphere_are_one_to_one() {
        for direction in directions(5000) {
            assert!((unfold(fold(direction)).normalized() - direction).length() < 1e-5, "{direction:?}");
        }
        assert_eq!(fold(vec3(0.0, 0.0, -1.0)), (0.5, 0.5));
    }

    #[test]
    fn lookup_is_smooth_across_every_border_of_the_square() {
        let light = EnvironmentLight::new(&Environment::from_fn(64, |[x, y, z]| [1.0 + x, 1.0 + y, 1.0 + z]), 1.0);
        for direction in directions(5000) {
            let expected = direction + Vec3::ONE;
            assert!((light.radiance(direction) - expected).length() < 0.06, "{direction:?}: {:?}", light.radiance(direction));
        }
    }

    #[test]
    fn texels_fill_the_sphere() {
        for side in [16, 64] {
            let sum: f64 = (0..side * side).map(|texel| f64::from(solid_angle(side, texel))).sum();
            assert!(close(sum, 4.0 * PI, 0.01), "{side}: {sum}");
        }
    }

    #[test]
    fn drawn_directions_have_the_density_that_is_said() {
        let light = EnvironmentLight::new(&night(), 1.0);
        let mut sampler = Sampler::new(3, 0, 0, 4096);
        let mut sphere = 0.0;
        for sample in 0..4096 {
            sampler.start(sample);
            let drawn = light.sample(sampler.pair());
            let said = light.density(drawn.direction);
            assert!(close(said.into(), drawn.density.into(), 1e-3), "{said} {}", drawn.density);
            // One over the density, in the mean, is the sphere.
            sphere += 1.0 / f64::from(drawn.density) / 4096.0;
        }
        assert!(close(sphere, 4.0 * PI, 0.03), "{sphere}");
        let mean = directions(1 << 16).map(|direction| f64::from(light.density(direction))).sum::<f64>() / 65536.0;
        assert!(close(mean * 4.0 * PI, 1.0, 0.02), "the densities' integral is {}", mean * 4.0 * PI);
    }

    /// The light on a slanted wall, by drawing from the map and by drawing evenly.
    #[test]
    fn drawing_by_brightness_gives_the_integral_of_drawing_evenly_with_a_hundredth_of_its_noise() {
        let light = EnvironmentLight::new(&night(), 1.0);
        let normal = vec3(0.6, 0.8, 0.0);
        let count = 1 << 16;
        let even: Vec<f64> = directions(count)
            .map(|direction| f64::from(light.radiance(direction).y * max(direction.dot(normal), 0.0)) * 4.0 * PI)
            .collect();
        let mut sampler = Sampler::new(5, 0, 0, count);
        let drawn: Vec<f64> = (0..count)
            .map(|sample| {
                sampler.start(sample);
                let drawn = light.sample(sampler.pair());
                f64::from(drawn.radiance.y * max(drawn.direction.dot(normal), 0.0)) / f64::from(drawn.density)
            })
            .collect();
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let variance = |values: &[f64]| {
            let mean = mean(values);
            values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64
        };
        assert!(close(mean(&drawn), mean(&even), 0.02), "{} {}", mean(&drawn), mean(&even));
        assert!(variance(&drawn) * 100.0 < variance(&even), "{} {}", variance(&drawn), variance(&even));
    }

    #[test]
    fn black_and_blinding_maps_are_drawn_from_evenly() {
        for rgbe in [[0, 0, 0, 0], [255, 255, 255, 255]] {
            let environment = Environment { side: 4, rgbe: rgbe.repeat(16) };
            assert_eq!(environment.check(), Ok(()));
            let drawn = EnvironmentLight::new(&environment, 1.0).sample((0.3, 0.6));
            assert!(drawn.density > 0.0 && drawn.density.is_finite(), "{drawn:?}");
        }
    }

    #[test]
    fn light_survives_its_four_bytes_within_a_hundredth() {
        for light in [[1.0, 0.5, 0.25], [1e-6, 2e-6, 1.9e-6], [3e4, 1.0, 0.0], [0.999, 0.998, 0.997]] {
            let [red, green, blue] = light;
            let kept = from_rgbe(&to_rgbe(light));
            assert!((kept - vec3(red, green, blue)).max_component() <= 0.0, "{light:?} {kept:?}");
            assert!((vec3(red, green, blue) - kept).max_component() <= 0.01 * max(max(red, green), blue), "{light:?} {kept:?}");
        }
        assert_eq!(from_rgbe(&to_rgbe([0.0, -1.0, f32::NAN])), Vec3::ZERO);
    }

    #[test]
    fn map_whose_bytes_are_not_its_texels_is_refused() {
        for (side, bytes) in [(0, 0), (2, 15), (2, 17), (u32::MAX, 4), (ENVIRONMENT_SIDE_MAX + 1, 4)] {
            let error = Environment { side, rgbe: vec![1; bytes] }.check();
            assert_eq!(error, Err(SubjectError::Environment { side, bytes }));
        }
    }
}
