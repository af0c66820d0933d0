use serde::{Deserialize, Serialize};

use crate::subject::SubjectError;
use crate::vec3::{Vec3, vec3};

/// The longest side of an image.
pub const IMAGE_SIDE_MAX: u32 = 4096;

/// A picture that is put on a surface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// In texels.
    pub width: u32,
    /// In texels.
    pub height: u32,
    /// Three bytes for each texel, by rows from the top. A byte is the square root of its light, as in the pictures that
    /// [`render`](crate::render) makes.
    #[serde(with = "serde_bytes")]
    pub rgb: Vec<u8>,
}

impl Image {
    /// # Errors
    /// A side is 0 or too long, or the bytes are not three for each texel.
    pub(crate) fn check(&self) -> Result<(), SubjectError> {
        let Self { width, height, .. } = *self;
        let sides = 1..=IMAGE_SIDE_MAX;
        if !sides.contains(&width) || !sides.contains(&height) || self.rgb.len() != width as usize * height as usize * 3 {
            return Err(SubjectError::Image { width, height, bytes: self.rgb.len() });
        }
        Ok(())
    }
}

/// An image as surfaces look things up in it. Beyond its borders it goes on as in a mirror, so that no seam shows.
#[derive(Debug)]
pub(crate) struct Texture {
    width: i32,
    height: i32,
    texels: Vec<[u8; 3]>,
    /// The light of each byte.
    light: [f32; 256],
}

impl Texture {
    pub(crate) fn new(image: &Image) -> Self {
        let texels = image.rgb.chunks_exact(3).map(|texel| [texel[0], texel[1], texel[2]]).collect();
        let light = std::array::from_fn(|byte| (byte as f32 / 255.0) * (byte as f32 / 255.0));
        Self { width: image.width as i32, height: image.height as i32, texels, light }
    }

    /// The colour at `u` to the right and `v` up, both from 0 to 1 over the image; between the middles of four texels it is mixed of them.
    pub(crate) fn at(&self, (u, v): (f32, f32)) -> Vec3 {
        let (left, right) = straddle(u * self.width as f32 - 0.5);
        let (top, down) = straddle((1.0 - v) * self.height as f32 - 0.5);
        let upper = self.texel(left, top).lerp(self.texel(left + 1, top), right);
        let lower = self.texel(left, top + 1).lerp(self.texel(left + 1, top + 1), right);
        upper.lerp(lower, down)
    }

    fn texel(&self, column: i32, row: i32) -> Vec3 {
        let (column, row) = (mirrored(column, self.width), mirrored(row, self.height));
        let [red, green, blue] = self.texels[(row * self.width + column) as usize];
        let light = |byte: u8| self.light[usize::from(byte)];
        vec3(light(red), light(green), light(blue))
    }
}

/// The whole number below a place, and how far the place is from it. The cast saturates: a place beyond all texels is still one.
pub(crate) fn straddle(place: f32) -> (i32, f32) {
    const FARTHEST: f32 = 1e9;
    let place = if place.abs() < FARTHEST { place } else { 0.0 };
    let below = place.floor();
    (below as i32, place - below)
}

/// Where `index` is in a row of `length` that goes back and forth.
fn mirrored(index: i32, length: i32) -> i32 {
    let turn = index.rem_euclid(2 * length);
    turn.min(2 * length - 1 - turn)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> Image {
        let rgb = vec![0, 51, 255, 102, 0, 0, 204, 255, 51, 255, 255, 255, 30, 60, 90, 10, 20, 30];
        Image { width: 3, height: 2, rgb }
    }

    /// The four texels around a place, mixed by the school's formula in `f64`.
    fn reference(image: &Image, u: f64, v: f64) -> [f64; 3] {
        let back_and_forth = |index: i64, length: i64| {
            let walk: Vec<i64> = (0..length).chain((0..length).rev()).collect();
            walk[index.rem_euclid(2 * length) as usize]
        };
        let light = |column: i64, row: i64, channel: usize| {
            let (width, height) = (i64::from(image.width), i64::from(image.height));
            let at = back_and_forth(row, height) * width + back_and_forth(column, width);
            (f64::from(image.rgb[at as usize * 3 + channel]) / 255.0).powi(2)
        };
        let (x, y) = (u * f64::from(image.width) - 0.5, (1.0 - v) * f64::from(image.height) - 0.5);
        let (column, row) = (x.floor(), y.floor());
        std::array::from_fn(|channel| {
            let mut sum = 0.0;
            for (across, down) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
                let part = |offset: i64, fraction: f64| if offset == 1 { fraction } else { 1.0 - fraction };
                let weight = part(across, x - column) * part(down, y - row);
                sum += weight * light(column as i64 + across, row as i64 + down, channel);
            }
            sum
        })
    }

    #[test]
    fn lookup_is_the_mean_of_four_texels_weighed_by_how_near_they_are() {
        let (image, texture) = (image(), Texture::new(&image()));
        for step in 0..2000 {
            let (u, v) = (step as f32 * 0.0137 - 5.0, step as f32 * 0.0071 - 4.0);
            let Vec3 { x, y, z } = texture.at((u, v));
            for (got, expected) in [x, y, z].into_iter().zip(reference(&image, f64::from(u), f64::from(v))) {
                assert!((f64::from(got) - expected).abs() < 1e-4, "{u} {v}: {got} is not {expected}");
            }
        }
    }

    #[test]
    fn middle_of_a_texel_has_its_colour_and_rows_come_from_the_top() {
        let texture = Texture::new(&image());
        let upper_left = texture.at((0.5 / 3.0, 0.75));
        assert!((upper_left - vec3(0.0, 0.04, 1.0)).length() < 1e-5, "{upper_left:?}");
        let lower_right = texture.at((2.5 / 3.0, 0.25));
        assert!((lower_right.x * 255.0 * 255.0 - 100.0).abs() < 0.01, "{lower_right:?}");
    }

    #[test]
    fn place_that_is_no_number_or_beyond_all_numbers_has_a_colour() {
        let texture = Texture::new(&image());
        for place in [f32::NAN, f32::INFINITY, -f32::INFINITY, f32::MAX, -1e30] {
            assert!(texture.at((place, place)).x >= 0.0, "{place}");
        }
    }

    #[test]
    fn image_whose_bytes_are_not_its_texels_is_refused() {
        assert_eq!(image().check(), Ok(()));
        for (width, height) in [(0, 0), (2, 2), (6, 2), (u32::MAX, u32::MAX), (IMAGE_SIDE_MAX + 1, 1)] {
            let error = Image { width, height, ..image() }.check();
            assert_eq!(error, Err(SubjectError::Image { width, height, bytes: 18 }));
        }
    }
}
