//! The network: two convolutions, the largest of each 2x2, and ten sums. It says how likely a picture shows each digit.

use bytemuck::{Pod, Zeroable};

use crate::digits::{Picture, SIDE};

/// Digits.
pub(crate) const CLASSES: usize = 10;
/// What the first convolution makes of a pixel, and the second.
pub(crate) const FIRST: usize = 8;
pub(crate) const SECOND: usize = 16;
/// Places of a picture, and of one with a border of zeros.
pub(crate) const PLACES: usize = SIDE * SIDE;
const BORDERED_SIDE: usize = SIDE + 2;
const BORDERED: usize = BORDERED_SIDE * BORDERED_SIDE;
/// Places that a convolution looks at for one of its own: 3x3.
pub(crate) const TAPS: usize = 9;
/// Places of the 4x4 that are left when of each 2x2 the largest is taken.
pub(crate) const POOLED: usize = PLACES / 4;

/// A convolution's weights: for each tap, of each channel to each.
pub(crate) type Kernel<const I: usize, const O: usize> = [[[f32; O]; I]; TAPS];

/// All that the network learns; a gradient has the same shape.
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct Parameters {
    pub(crate) first: Kernel<1, FIRST>,
    pub(crate) first_bias: [f32; FIRST],
    pub(crate) second: Kernel<FIRST, SECOND>,
    pub(crate) second_bias: [f32; SECOND],
    pub(crate) sums: [[[f32; CLASSES]; SECOND]; POOLED],
    pub(crate) sums_bias: [f32; CLASSES],
}

impl Parameters {
    /// How many there are.
    pub const COUNT: usize = size_of::<Self>() / size_of::<f32>();

    /// All zero.
    pub fn zero() -> Self {
        Self::zeroed()
    }

    /// Where learning begins: weights of chance with mean 0, as large as keeps what passes through them neither growing nor shrinking
    /// (He and others, arXiv:1502.01852), and no bias. `chance` gives numbers from 0 to 1.
    pub fn random(mut chance: impl FnMut() -> f32) -> Self {
        let mut parameters = Self::zeroed();
        // Uniform in a range whose variance is 2 over the number of terms.
        let mut fill = |weights: &mut [f32], terms: usize| {
            let range = (6.0 / terms as f32).sqrt();
            weights.iter_mut().for_each(|weight| *weight = (2.0 * chance() - 1.0) * range);
        };
        fill(bytemuck::cast_slice_mut(&mut parameters.first), TAPS);
        fill(bytemuck::cast_slice_mut(&mut parameters.second), TAPS * FIRST);
        fill(bytemuck::cast_slice_mut(&mut parameters.sums), POOLED * SECOND);
        parameters
    }

    /// The parameters one after the other: the first convolution's, the second's, the sums', of each first the weights.
    pub fn as_slice(&self) -> &[f32] {
        bytemuck::cast_slice(bytemuck::bytes_of(self))
    }

    /// The same, to be changed.
    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        bytemuck::cast_slice_mut(bytemuck::bytes_of_mut(self))
    }

    /// Parameters of as many numbers as there are parameters.
    pub fn from_slice(values: &[f32]) -> Option<Self> {
        bytemuck::try_pod_read_unaligned(bytemuck::cast_slice(values)).ok()
    }
}

/// What the network makes of one picture on the way to its scores.
#[derive(Debug, Clone)]
pub(crate) struct Pass {
    pub(crate) lights: [[f32; 1]; PLACES],
    pub(crate) first: [[f32; FIRST]; PLACES],
    pub(crate) second: [[f32; SECOND]; PLACES],
    pub(crate) pooled: [[f32; SECOND]; POOLED],
    pub(crate) scores: [f32; CLASSES],
}

impl Pass {
    pub(crate) fn new(parameters: &Parameters, picture: &Picture) -> Self {
        let lights = picture.lights();
        let first = positive(convolve::<1, FIRST, 4>(&bordered(&lights), &parameters.first, &parameters.first_bias));
        let second = positive(convolve::<FIRST, SECOND, 2>(&bordered(&first), &parameters.second, &parameters.second_bias));
        let pooled = std::array::from_fn(|at| corners(at).map(|place| second[place]).into_iter().fold([0.0; SECOND], larger));
        let mut scores = parameters.sums_bias;
        for (values, weights) in pooled.iter().zip(&parameters.sums) {
            for (value, weights) in values.iter().zip(weights) {
                add_scaled(&mut scores, *value, weights);
            }
        }
        Self { lights, first, second, pooled, scores }
    }

    /// How likely the picture shows each digit, and the sum that the probabilities were divided by.
    pub(crate) fn probabilities(&self) -> [f32; CLASSES] {
        let largest = self.scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weights = self.scores.map(|score| libm::expf(score - largest));
        let sum: f32 = weights.iter().sum();
        weights.map(|weight| weight / sum)
    }
}

/// The digit that the network takes a picture for.
pub fn guess(parameters: &Parameters, picture: &Picture) -> u8 {
    let scores = Pass::new(parameters, picture).scores;
    let best = (1..CLASSES).fold(0, |best, digit| if scores[digit] > scores[best] { digit } else { best });
    best as u8
}

/// The four places of which the largest value goes to place `at` of the 4x4.
pub(crate) fn corners(at: usize) -> [usize; 4] {
    let corner = at / (SIDE / 2) * 2 * SIDE + at % (SIDE / 2) * 2;
    [corner, corner + 1, corner + SIDE, corner + SIDE + 1]
}

/// Values with a border of zeros, so that all places have the same taps.
pub(crate) fn bordered<const C: usize>(values: &[[f32; C]; PLACES]) -> [[f32; C]; BORDERED] {
    let mut bordered = [[0.0; C]; BORDERED];
    for (row, values) in bordered.chunks_exact_mut(BORDERED_SIDE).skip(1).zip(values.chunks_exact(SIDE)) {
        row[1..=SIDE].copy_from_slice(values);
    }
    bordered
}

/// Where in a bordered picture tap `tap` of place `at` is.
pub(crate) fn tap_place(at: usize, tap: usize) -> usize {
    (at / SIDE + tap / 3) * BORDERED_SIDE + at % SIDE + tap % 3
}

/// A convolution, of `N` places of a row at a time: each weight is read once for all of them. `N` divides the side of a picture; as many
/// sums as are under way should fit into sixteen registers of four, with room for what is multiplied. A function of its own, in which a
/// compiler of wasm has the registers for them.
#[inline(never)]
pub(crate) fn convolve<const I: usize, const O: usize, const N: usize>(
    values: &[[f32; I]; BORDERED],
    kernel: &Kernel<I, O>,
    bias: &[f32; O],
) -> [[f32; O]; PLACES] {
    const { assert!(SIDE.is_multiple_of(N)) };
    let mut results = [[0.0; O]; PLACES];
    let (groups, _) = results.as_chunks_mut::<N>();
    for (group, at) in groups.iter_mut().zip((0..).step_by(N)) {
        let mut sums = [*bias; N];
        for (tap, weights) in kernel.iter().enumerate() {
            let place = tap_place(at, tap);
            let beside: [&[f32; I]; N] = std::array::from_fn(|n| &values[place + n]);
            for (channel, weights) in weights.iter().enumerate() {
                for (sums, values) in sums.iter_mut().zip(beside) {
                    add_scaled(sums, values[channel], weights);
                }
            }
        }
        *group = sums;
    }
    results
}

/// Number by number in one run, which compilers make vectors of, of wasm too.
fn positive<const C: usize>(mut values: [[f32; C]; PLACES]) -> [[f32; C]; PLACES] {
    for value in values.as_flattened_mut() {
        *value = if *value > 0.0 { *value } else { 0.0 };
    }
    values
}

fn larger(one: [f32; SECOND], other: [f32; SECOND]) -> [f32; SECOND] {
    std::array::from_fn(|n| if one[n] < other[n] { other[n] } else { one[n] })
}

#[inline(always)]
pub(crate) fn add_scaled<const C: usize>(sums: &mut [f32; C], scale: f32, values: &[f32; C]) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum += scale * value;
    }
}
