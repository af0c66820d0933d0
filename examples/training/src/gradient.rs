//! How the loss changes with each parameter.

use crate::digits::{Picture, SIDE};
use crate::network::{
    CLASSES, FIRST, Kernel, PLACES, POOLED, Parameters, Pass, SECOND, TAPS, add_scaled, bordered, convolve, corners, tap_place,
};

/// What a shard's pictures say: sums over them.
#[derive(Debug, Clone, PartialEq)]
pub struct Gradient {
    /// How the loss grows with each parameter.
    pub slopes: Parameters,
    /// How unlikely the network held the digits that the pictures show: of each the logarithm of the probability, negated.
    pub loss: f32,
    /// How many pictures it takes for what they show.
    pub right: u32,
}

impl Gradient {
    /// That of no pictures.
    pub fn zero() -> Self {
        Self { slopes: Parameters::zero(), loss: 0.0, right: 0 }
    }

    /// The sum over `pictures` at `parameters`.
    pub fn of<'a>(parameters: &Parameters, pictures: impl IntoIterator<Item = &'a Picture>) -> Self {
        let mirrored = mirrored(&parameters.second);
        let mut sum = Self::zero();
        pictures.into_iter().for_each(|picture| sum.add_picture(parameters, &mirrored, picture));
        sum
    }

    /// Adds another shard's.
    pub fn add(&mut self, other: &Self) {
        for (sum, slope) in self.slopes.as_mut_slice().iter_mut().zip(other.slopes.as_slice()) {
            *sum += slope;
        }
        self.loss += other.loss;
        self.right += other.right;
    }

    /// Adds a picture's, from the scores back to the pixels.
    fn add_picture(&mut self, parameters: &Parameters, mirrored: &Kernel<SECOND, FIRST>, picture: &Picture) {
        let pass = Pass::new(parameters, picture);
        let digit = usize::from(picture.digit);
        let mut scores = pass.probabilities();
        self.loss -= libm::logf(scores[digit].max(f32::MIN_POSITIVE));
        self.right += u32::from((0..CLASSES).all(|other| other == digit || scores[other] < scores[digit]));
        scores[digit] -= 1.0;

        let slopes = &mut self.slopes;
        add_scaled(&mut slopes.sums_bias, 1.0, &scores);
        let mut second = [[0.0; SECOND]; PLACES];
        for at in 0..POOLED {
            let channels = pass.pooled[at].iter().zip(&parameters.sums[at]).zip(&mut slopes.sums[at]).enumerate();
            for (channel, ((value, weights), slopes)) in channels {
                add_scaled(slopes, *value, &scores);
                // What is not positive was cut off before, and has no slope. Of equals the first is the largest.
                let largest = corners(at).into_iter().find(|place| *value > 0.0 && pass.second[*place][channel] == *value);
                if let Some(place) = largest {
                    second[place][channel] = weights.iter().zip(&scores).map(|(weight, score)| weight * score).sum();
                }
            }
        }
        add_kernel(&mut slopes.second, &mut slopes.second_bias, &pass.first, &second);

        let mut first = convolve::<SECOND, FIRST, 4>(&bordered(&second), mirrored, &[0.0; FIRST]);
        for (slopes, values) in first.iter_mut().zip(&pass.first) {
            slopes.iter_mut().zip(values).filter(|(_, value)| **value <= 0.0).for_each(|(slope, _)| *slope = 0.0);
        }
        add_kernel(&mut slopes.first, &mut slopes.first_bias, &pass.lights, &first);
    }
}

/// Adds how the loss changes with a convolution's weights, by what went into it and how the loss changes with what came out. Row by row, so
/// that a place is found without being computed anew.
#[inline(never)]
fn add_kernel<const I: usize, const O: usize>(
    kernel: &mut Kernel<I, O>,
    bias: &mut [f32; O],
    values: &[[f32; I]; PLACES],
    slopes: &[[f32; O]; PLACES],
) {
    let values = bordered(values);
    for (tap, weights) in kernel.iter_mut().enumerate() {
        let rows = || slopes.chunks_exact(SIDE).zip((0..).step_by(SIDE).map(|at| &values[tap_place(at, tap)..][..SIDE]));
        // Two channels at a time, so that each slope is read once for both.
        let (pairs, last) = weights.as_chunks_mut::<2>();
        for (pair, channel) in pairs.iter_mut().zip((0..).step_by(2)) {
            let mut sums = *pair;
            for (slopes, values) in rows() {
                for (slopes, values) in slopes.iter().zip(values) {
                    add_scaled(&mut sums[0], values[channel], slopes);
                    add_scaled(&mut sums[1], values[channel + 1], slopes);
                }
            }
            *pair = sums;
        }
        for weights in last {
            for (slopes, values) in rows() {
                slopes.iter().zip(values).for_each(|(slopes, values)| add_scaled(weights, values[I - 1], slopes));
            }
        }
    }
    slopes.iter().for_each(|slopes| add_scaled(bias, 1.0, slopes));
}

/// The kernel that leads back from a convolution's results to its values.
fn mirrored(kernel: &Kernel<FIRST, SECOND>) -> Kernel<SECOND, FIRST> {
    std::array::from_fn(|tap| {
        let opposite = &kernel[TAPS - 1 - tap];
        std::array::from_fn(|output| std::array::from_fn(|input| opposite[input][output]))
    })
}
