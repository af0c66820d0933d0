// The random numbers of a pixel, bit for bit those of `sampler.rs`. WGSL has no 64-bit integers: they are pairs of words, the low one
// first.

/// How many pairs of a path are stratified over the pixel's samples.
const STRATIFIED_PAIRS = 12u;
const EIGHTH_TURN = 0.785398163;
const BELOW_ONE = 0.99999994;

/// The numbers of the pixel and sample that an invocation is at.
struct Sampler {
    rng: vec2u,
    pattern: u32,
    columns: u32,
    rows: u32,
    samples: u32,
    sample: u32,
    pairs: u32,
}

var<private> numbers: Sampler;

/// A point in the unit square.
fn pair() -> vec2f {
    let u = number_of_rng();
    let jitter = vec2f(u, number_of_rng());
    if numbers.pairs >= STRATIFIED_PAIRS {
        return jitter;
    }
    let pattern = numbers.pattern + numbers.pairs * 0x9e3779b9u;
    numbers.pairs++;
    return stratum(pattern, jitter);
}

/// A number in [0, 1).
fn number() -> f32 {
    return pair().x;
}

fn stratum(pattern: u32, jitter: vec2f) -> vec2f {
    let cell = permute(numbers.sample, numbers.samples, pattern * 0x51eef00du);
    let columns = numbers.columns;
    let rows = numbers.rows;
    let x = f32(permute(cell % columns, columns, pattern * 0x68bc21ebu));
    let y = f32(permute(cell / columns, rows, pattern * 0x02e5be93u));
    let u = (x + (y + jitter.x) / f32(rows)) / f32(columns);
    let v = (y + (x + jitter.y) / f32(columns)) / f32(rows);
    return min(vec2f(u, v), vec2f(BELOW_ONE));
}

fn permute(start: u32, length: u32, p: u32) -> u32 {
    let mask = mask_for(length);
    var index = start;
    loop {
        index ^= p;
        index *= 0xe170893du;
        index ^= p >> 16u;
        index ^= (index & mask) >> 4u;
        index ^= p >> 8u;
        index *= 0x0929eb3fu;
        index ^= p >> 23u;
        index ^= (index & mask) >> 1u;
        index *= 1u | (p >> 27u);
        index *= 0x6935fa69u;
        index ^= (index & mask) >> 11u;
        index *= 0x74dcb303u;
        index ^= (index & mask) >> 2u;
        index *= 0x9e501cc3u;
        index ^= (index & mask) >> 2u;
        index *= 0xc860a3dfu;
        index &= mask;
        index ^= index >> 5u;
        if index < length {
            break;
        }
    }
    return (index + p) % length;
}

/// One less than the power of two that is at least `length`.
fn mask_for(length: u32) -> u32 {
    if length <= 1u {
        return 0u;
    }
    return 0xffffffffu >> countLeadingZeros(length - 1u);
}

/// The generator for a pixel: its state after the seed.
fn rng_of(seed: vec2u, place: vec2u) -> vec2u {
    return split_mix(seed ^ split_mix(place));
}

fn next_u32() -> u32 {
    let old = numbers.rng;
    numbers.rng = add_64(multiply_64(old, vec2u(0x4c957f2du, 0x5851f42du)), vec2u(0xf767814fu, 0x14057b7eu));
    let shifted = shift_right(shift_right(old, 18u) ^ old, 27u).x;
    let turn = old.y >> 27u;
    return (shifted >> turn) | (shifted << ((32u - turn) & 31u));
}

fn number_of_rng() -> f32 {
    return f32(next_u32() >> 8u) * (1.0 / 16777216.0);
}

fn split_mix(seed: vec2u) -> vec2u {
    var z = add_64(seed, vec2u(0x7f4a7c15u, 0x9e3779b9u));
    z = multiply_64(z ^ shift_right(z, 30u), vec2u(0x1ce4e5b9u, 0xbf58476du));
    z = multiply_64(z ^ shift_right(z, 27u), vec2u(0x133111ebu, 0x94d049bbu));
    return z ^ shift_right(z, 31u);
}

fn add_64(a: vec2u, b: vec2u) -> vec2u {
    let low = a.x + b.x;
    return vec2u(low, a.y + b.y + select(0u, 1u, low < a.x));
}

fn multiply_64(a: vec2u, b: vec2u) -> vec2u {
    return vec2u(a.x * b.x, multiply_high(a.x, b.x) + a.x * b.y + a.y * b.x);
}

/// The upper word of a product, by halves.
fn multiply_high(a: u32, b: u32) -> u32 {
    let low = (a & 0xffffu) * (b & 0xffffu);
    let cross = (a >> 16u) * (b & 0xffffu) + (low >> 16u);
    let other = (a & 0xffffu) * (b >> 16u) + (cross & 0xffffu);
    return (a >> 16u) * (b >> 16u) + (cross >> 16u) + (other >> 16u);
}

/// By 1 to 31 places.
fn shift_right(a: vec2u, places: u32) -> vec2u {
    return vec2u((a.x >> places) | (a.y << (32u - places)), a.y >> places);
}

/// A point of the unit disc for a point of the unit square.
fn disc(point: vec2f) -> vec2f {
    let a = 2.0 * point.x - 1.0;
    let b = 2.0 * point.y - 1.0;
    if a == 0.0 && b == 0.0 {
        return vec2f(0.0);
    }
    if abs(a) > abs(b) {
        return a * cosine_sine(EIGHTH_TURN * b / a);
    }
    return b * cosine_sine(EIGHTH_TURN * a / b).yx;
}

/// Cosine and sine of an angle of at most an eighth turn, by their series.
fn cosine_sine(angle: f32) -> vec2f {
    let s = angle * angle;
    let sine = angle * (1.0 - s / 6.0 * (1.0 - s / 20.0 * (1.0 - s / 42.0)));
    let cosine = 1.0 - s / 2.0 * (1.0 - s / 12.0 * (1.0 - s / 30.0 * (1.0 - s / 56.0)));
    return vec2f(cosine, sine);
}

/// A unit direction over a surface, with a density that falls with the cosine to its normal.
fn cosine_hemisphere(normal: vec3f, point: vec2f) -> vec3f {
    let p = disc(point);
    let basis = tangents(normal);
    return basis[0] * p.x + basis[1] * p.y + normal * sqrt(max(1.0 - p.x * p.x - p.y * p.y, 0.0));
}

/// Two unit directions that are perpendicular to this one and to each other.
fn tangents(n: vec3f) -> array<vec3f, 2> {
    let side = select(-1.0, 1.0, n.z >= 0.0);
    let a = -1.0 / (side + n.z);
    let b = n.x * n.y * a;
    return array(vec3f(1.0 + side * n.x * n.x * a, side * b, -side * n.x), vec3f(b, side + n.y * n.y * a, -n.y));
}
