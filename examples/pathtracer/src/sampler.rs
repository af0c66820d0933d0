use crate::vec3::Vec3;

/// How many pairs of a path are stratified over the pixel's samples: the place in the pixel, the place on the lens, and those of the first
/// surfaces. What comes after them is blurred by the bounces before it, and plain random numbers do.
const STRATIFIED_PAIRS: u32 = 12;

/// The random numbers of one pixel. The samples of a pixel share it, so that each pair of numbers covers the unit square evenly over the
/// samples, and each alone the unit interval (Kensler 2013, "Correlated Multi-Jittered Sampling").
#[derive(Debug)]
pub(crate) struct Sampler {
    rng: Pcg32,
    pattern: u32,
    columns: u32,
    rows: u32,
    samples: u32,
    sample: u32,
    pairs: u32,
}

impl Sampler {
    /// The numbers for the pixel at `x`, `y`, which takes `samples` samples.
    pub(crate) fn new(seed: u64, x: u32, y: u32, samples: u32) -> Self {
        let mut rng = Pcg32::of_pixel(seed, x, y);
        let pattern = rng.next_u32();
        let (columns, rows) = strata(samples);
        Self { rng, pattern, columns, rows, samples, sample: 0, pairs: 0 }
    }

    /// Goes on to the pixel's sample number `sample`.
    pub(crate) fn start(&mut self, sample: u32) {
        self.sample = sample;
        self.pairs = 0;
    }

    /// Goes on to another set of as many samples, as evenly spread as the one before.
    pub(crate) fn next_set(&mut self) {
        self.pattern = self.rng.next_u32();
    }

    /// A number in [0, 1).
    pub(crate) fn number(&mut self) -> f32 {
        self.pair().0
    }

    /// A point in the unit square.
    pub(crate) fn pair(&mut self) -> (f32, f32) {
        let jitter = (self.rng.next_f32(), self.rng.next_f32());
        if self.pairs >= STRATIFIED_PAIRS {
            return jitter;
        }
        let pattern = self.pattern.wrapping_add(self.pairs.wrapping_mul(0x9e37_79b9));
        self.pairs += 1;
        self.stratum(pattern, jitter)
    }

    /// A point `jitter` within the cell that this sample has in the grid that `pattern` shuffles.
    fn stratum(&self, pattern: u32, jitter: (f32, f32)) -> (f32, f32) {
        let Self { columns, rows, .. } = *self;
        let cell = permute(self.sample, self.samples, pattern.wrapping_mul(0x51ee_f00d));
        let (column, row) = (cell % columns, cell / columns);
        let x = permute(column, columns, pattern.wrapping_mul(0x68bc_21eb)) as f32;
        let y = permute(row, rows, pattern.wrapping_mul(0x02e5_be93)) as f32;
        let u = (x + (y + jitter.0) / rows as f32) / columns as f32;
        let v = (y + (x + jitter.1) / columns as f32) / rows as f32;
        (below_one(u), below_one(v))
    }
}

/// The columns and rows of the grid in which a pixel's samples are spread.
pub(crate) fn strata(samples: u32) -> (u32, u32) {
    let columns = (samples as f32).sqrt() as u32;
    (columns, samples.div_ceil(columns))
}

/// A unit direction over a surface with `normal`, with a density that falls with the cosine to it.
pub(crate) fn cosine_hemisphere(normal: Vec3, pair: (f32, f32)) -> Vec3 {
    let (x, y) = disc(pair);
    let (a, b) = normal.tangents();
    let height_squared = 1.0 - x * x - y * y;
    a * x + b * y + normal * if height_squared > 0.0 { height_squared.sqrt() } else { 0.0 }
}

/// A point of the unit disc for a point of the unit square, areas and neighbourhoods kept (Shirley and Chiu 1997).
pub(crate) fn disc((u, v): (f32, f32)) -> (f32, f32) {
    let (a, b) = (2.0 * u - 1.0, 2.0 * v - 1.0);
    if a == 0.0 && b == 0.0 {
        (0.0, 0.0)
    } else if a.abs() > b.abs() {
        let (sine, cosine) = sine_cosine(EIGHTH_TURN * b / a);
        (a * cosine, a * sine)
    } else {
        let (sine, cosine) = sine_cosine(EIGHTH_TURN * a / b);
        (b * sine, b * cosine)
    }
}

/// A unit direction drawn evenly from all of them, for tests that look from everywhere.
#[cfg(test)]
pub(crate) fn sphere((u, v): (f32, f32)) -> Vec3 {
    let upper = u < 0.5;
    let (x, y) = disc((if upper { 2.0 * u } else { 2.0 * u - 1.0 }, v));
    let radius_squared = x * x + y * y;
    let scale = (2.0 - radius_squared).sqrt();
    let height = 1.0 - radius_squared;
    crate::vec3::vec3(x * scale, y * scale, if upper { height } else { -height })
}

const EIGHTH_TURN: f32 = std::f32::consts::FRAC_PI_4;

/// Sine and cosine of an angle of at most an eighth turn, by their series: the error is below 4e-7, and the bits are the same everywhere.
fn sine_cosine(angle: f32) -> (f32, f32) {
    let s = angle * angle;
    let sine = angle * (1.0 - s / 6.0 * (1.0 - s / 20.0 * (1.0 - s / 42.0)));
    let cosine = 1.0 - s / 2.0 * (1.0 - s / 12.0 * (1.0 - s / 30.0 * (1.0 - s / 56.0)));
    (sine, cosine)
}

/// Sine and cosine of so many parts of a whole turn.
pub(crate) fn sine_cosine_of_turn(part: u32, parts: u32) -> (f32, f32) {
    let eighths = 8 * u64::from(part % parts);
    let (eighth, rest) = (eighths / u64::from(parts), (eighths % u64::from(parts)) as f32 / parts as f32);
    let (sine, cosine) = if eighth.is_multiple_of(2) {
        sine_cosine(EIGHTH_TURN * rest)
    } else {
        let (sine, cosine) = sine_cosine(EIGHTH_TURN * (1.0 - rest));
        (cosine, sine)
    };
    match eighth / 2 {
        0 => (sine, cosine),
        1 => (cosine, -sine),
        2 => (-sine, -cosine),
        _ => (-cosine, sine),
    }
}

/// PCG-XSH-RR 64/32 (O'Neill 2014).
#[derive(Debug)]
pub(crate) struct Pcg32(u64);

impl Pcg32 {
    /// The generator for the pixel at `x`, `y`.
    pub(crate) fn of_pixel(seed: u64, x: u32, y: u32) -> Self {
        let place = u64::from(y) << 32 | u64::from(x);
        Self::new(seed ^ split_mix(place))
    }

    fn new(seed: u64) -> Self {
        Self(split_mix(seed))
    }

    pub(crate) fn next_u32(&mut self) -> u32 {
        let old = self.0;
        self.0 = old.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let shifted = (((old >> 18) ^ old) >> 27) as u32;
        shifted.rotate_right((old >> 59) as u32)
    }

    /// The top 24 bits, which an `f32` holds exactly.
    fn next_f32(&mut self) -> f32 {
        (self.next_u32() >> 8) as f32 * (1.0 / 16_777_216.0)
    }
}

/// One step of SplitMix64 (Steele et al. 2014): neighbouring seeds become unlike ones.
pub(crate) fn split_mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Where `index` comes in the permutation number `pattern` of `0..length` (Kensler 2013, listing 2). It mixes within the next power of two
/// and walks on until it is inside.
pub(crate) fn permute(mut index: u32, length: u32, pattern: u32) -> u32 {
    let mask = length.next_power_of_two() - 1;
    let p = pattern;
    loop {
        index ^= p;
        index = index.wrapping_mul(0xe170_893d);
        index ^= p >> 16;
        index ^= (index & mask) >> 4;
        index ^= p >> 8;
        index = index.wrapping_mul(0x0929_eb3f);
        index ^= p >> 23;
        index ^= (index & mask) >> 1;
        index = index.wrapping_mul(1 | p >> 27);
        index = index.wrapping_mul(0x6935_fa69);
        index ^= (index & mask) >> 11;
        index = index.wrapping_mul(0x74dc_b303);
        index ^= (index & mask) >> 2;
        index = index.wrapping_mul(0x9e50_1cc3);
        index ^= (index & mask) >> 2;
        index = index.wrapping_mul(0xc860_a3df);
        index &= mask;
        index ^= index >> 5;
        if index < length {
            return index.wrapping_add(p) % length;
        }
    }
}

/// Rounding can lift a number just below 1 to it, which is outside of the square.
fn below_one(n: f32) -> f32 {
    const BELOW_ONE: f32 = 1.0 - f32::EPSILON / 2.0;
    if n < 1.0 { n } else { BELOW_ONE }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vec3::vec3;

    /// The generator's output for its own seed, from the reference implementation's demo (`pcg32_srandom(42, 54)`).
    #[test]
    fn pcg_gives_the_published_numbers() {
        let increment = 54u64 << 1 | 1;
        let mut state = 0u64;
        let step = |old: u64| old.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(increment);
        state = step(state);
        state = step(state.wrapping_add(42));
        let mut rng = Pcg32(state);
        // Only the output function is shared with this stream: the first number depends on the state alone.
        assert_eq!(rng.next_u32(), 0xa15c_02b7);
    }

    #[test]
    fn permutations_are_permutations() {
        for length in 1..40 {
            for pattern in [0, 1, 0xdead_beef] {
                let mut seen: Vec<_> = (0..length).map(|index| permute(index, length, pattern)).collect();
                seen.sort_unstable();
                assert_eq!(seen, (0..length).collect::<Vec<_>>(), "length {length}, pattern {pattern}");
            }
        }
    }

    #[test]
    fn samples_cover_every_cell_of_the_square() {
        let samples = 16;
        let mut sampler = Sampler::new(1, 2, 3, samples);
        let mut cells = vec![0; 16];
        for sample in 0..samples {
            sampler.start(sample);
            let (u, v) = sampler.pair();
            cells[(v * 4.0) as usize * 4 + (u * 4.0) as usize] += 1;
        }
        assert_eq!(cells, [1; 16]);
    }

    #[test]
    fn sample_counts_that_are_no_square_stay_inside_it() {
        for samples in 1..50 {
            let mut sampler = Sampler::new(9, 0, 0, samples);
            for sample in 0..samples {
                sampler.start(sample);
                for _ in 0..2 * STRATIFIED_PAIRS {
                    let (u, v) = sampler.pair();
                    assert!((0.0..1.0).contains(&u) && (0.0..1.0).contains(&v), "{samples}: {u} {v}");
                }
            }
        }
    }

    #[test]
    fn sine_and_cosine_agree_with_the_library() {
        for step in -100..=100 {
            let angle = EIGHTH_TURN * step as f32 / 100.0;
            let (sine, cosine) = sine_cosine(angle);
            assert!((f64::from(sine) - f64::from(angle).sin()).abs() < 4e-7, "sine of {angle}");
            assert!((f64::from(cosine) - f64::from(angle).cos()).abs() < 4e-7, "cosine of {angle}");
        }
    }

    #[test]
    fn parts_of_a_turn_go_around() {
        for parts in [1, 3, 8, 24, 100_000] {
            for part in (0..parts + 2).step_by(1 + parts as usize / 50) {
                let (sine, cosine) = sine_cosine_of_turn(part, parts);
                let angle = f64::from(part) / f64::from(parts) * std::f64::consts::TAU;
                assert!((f64::from(sine) - angle.sin()).abs() < 1e-6, "sine of {part}/{parts}: {sine}");
                assert!((f64::from(cosine) - angle.cos()).abs() < 1e-6, "cosine of {part}/{parts}: {cosine}");
            }
        }
    }

    #[test]
    fn every_set_of_samples_covers_every_cell() {
        let mut sampler = Sampler::new(1, 2, 3, 16);
        let mut cells = vec![0; 16];
        for _ in 0..3 {
            for sample in 0..16 {
                sampler.start(sample);
                let (u, v) = sampler.pair();
                cells[(v * 4.0) as usize * 4 + (u * 4.0) as usize] += 1;
            }
            sampler.next_set();
        }
        assert_eq!(cells, [3; 16]);
    }

    #[test]
    fn directions_are_units_and_centred_where_they_should_be() {
        let normal = vec3(1.0, -2.0, 0.5).normalized();
        let mut sampler = Sampler::new(5, 0, 0, 1024);
        let (mut over, mut around) = (Vec3::ZERO, Vec3::ZERO);
        for sample in 0..1024 {
            sampler.start(sample);
            let direction = cosine_hemisphere(normal, sampler.pair());
            assert!((direction.length() - 1.0).abs() < 1e-5);
            assert!(direction.dot(normal) >= 0.0);
            over += direction / 1024.0;
            let direction = sphere(sampler.pair());
            assert!((direction.length() - 1.0).abs() < 1e-5);
            around += direction / 1024.0;
        }
        // The mean of a cosine-weighted hemisphere lies two thirds up its normal.
        assert!((over - normal * (2.0 / 3.0)).length() < 0.01, "{over:?}");
        assert!(around.length() < 0.01, "{around:?}");
    }
}
