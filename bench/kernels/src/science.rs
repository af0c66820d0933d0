//! Float loops as simulations have them.

use crate::random::{bits64, mix};

/// Lines of the Mandelbrot set, 400 points each of at most 200 iterations; a size counts lines.
pub(crate) fn mandelbrot(size: u32) -> u64 {
    const POINTS: u32 = 400;
    const ITERATIONS_MAX: u32 = 200;
    let mut sum = 0;
    for line in 0..size {
        let cy = f64::from(line % 200) / 100.0 - 1.0;
        for point in 0..POINTS {
            let cx = f64::from(point) / 160.0 - 2.0;
            let (mut x, mut y, mut n) = (0.0f64, 0.0f64, 0);
            while n < ITERATIONS_MAX && x * x + y * y <= 4.0 {
                (x, y) = (x * x - y * y + cx, 2.0 * x * y + cy);
                n += 1;
            }
            sum = mix(sum ^ u64::from(n));
        }
    }
    sum
}

/// A body: place, speed and mass.
#[derive(Debug, Clone, Copy)]
struct Body {
    place: [f64; 3],
    speed: [f64; 3],
    mass: f64,
}

/// Five bodies that attract each other (the problem of the Computer Language Benchmarks Game); a size counts 1,000 steps.
pub(crate) fn nbody(size: u32) -> u64 {
    let mut bodies = solar_system();
    for _ in 0..size * 1_000 {
        step(&mut bodies, 0.01);
    }
    bodies.iter().flat_map(|body| body.place).fold(0, |sum, value| mix(sum ^ bits64(value)))
}

/// The sun and its four large planets, in astronomical units, years and solar masses times 4 pi squared, to some digits.
fn solar_system() -> [Body; 5] {
    const SUN: f64 = 39.478_417_604;
    let body = |place, speed, mass| Body { place, speed, mass: mass * SUN };
    [
        body([0.0; 3], [-0.000_387, -0.003_275, 0.000_023_9], 1.0),
        body([4.841_431_4, -1.160_320_0, -0.103_622_0], [0.606_326_4, 2.811_986_8, -0.025_218_3], 9.547_919e-4),
        body([8.343_366_7, 4.124_798_6, -0.403_523_4], [-1.010_774_3, 1.825_662_4, 0.008_415_8], 2.858_859_8e-4),
        body([12.894_369_6, -15.111_151_4, -0.223_307_6], [1.082_791_0, 0.868_713_0, -0.010_832_6], 4.366_244e-5),
        body([15.379_697_1, -25.919_314_6, 0.179_258_8], [0.979_090_7, 0.594_698_9, -0.034_755_96], 5.151_389e-5),
    ]
}

fn step(bodies: &mut [Body; 5], dt: f64) {
    for n in 0..bodies.len() {
        let (first, rest) = bodies[n..].split_at_mut(1);
        let body = &mut first[0];
        for other in rest {
            let d = [0, 1, 2].map(|axis| body.place[axis] - other.place[axis]);
            let square = d[0] * d[0] + d[1] * d[1] + d[2] * d[2];
            let pull = dt / (square * square.sqrt());
            for (axis, distance) in d.into_iter().enumerate() {
                body.speed[axis] -= distance * other.mass * pull;
                other.speed[axis] += distance * body.mass * pull;
            }
        }
    }
    for body in bodies {
        for axis in 0..3 {
            body.place[axis] += dt * body.speed[axis];
        }
    }
}
