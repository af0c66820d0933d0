use crate::geometry::Triangle;
use crate::sampler::split_mix;
use crate::vec3::{Vec3, vec3};

/// The corners of a regular hexagon.
const HEXAGON: [(f32, f32); 6] =
    [(1.0, 0.0), (0.5, 0.866_025_4), (-0.5, 0.866_025_4), (-1.0, 0.0), (-0.5, -0.866_025_4), (0.5, -0.866_025_4)];

/// The golden ratio, by which the corners of an icosahedron are placed.
const PHI: f32 = 1.618_034;

/// A flat parallelogram, seen from the side from which its edges run counter-clockwise.
pub(crate) fn parallelogram(corner: Vec3, edge_1: Vec3, edge_2: Vec3) -> [Triangle; 2] {
    let opposite = corner + edge_1 + edge_2;
    [Triangle::new([corner, corner + edge_1, opposite]), Triangle::new([corner, opposite, corner + edge_2])]
}

/// A block that stands along the axes, without its lower side.
pub(crate) fn block(low: Vec3, high: Vec3) -> Vec<Triangle> {
    let Vec3 { x, y, z } = high - low;
    let (x, y, z) = (vec3(x, 0.0, 0.0), vec3(0.0, y, 0.0), vec3(0.0, 0.0, z));
    let (front, right) = (low + z, low + x);
    let sides = [(front, x, y), (front + x, -z, y), (right, -x, y), (low, z, y), (front + y, x, -z)];
    sides.into_iter().flat_map(|(corner, edge_1, edge_2)| parallelogram(corner, edge_1, edge_2)).collect()
}

/// A six-sided crystal with a pointed end, closed at its base.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Crystal {
    pub(crate) base: Vec3,
    pub(crate) tip: Vec3,
    pub(crate) radius: f32,
    /// How far along it the sides end and the point begins.
    pub(crate) shoulder: f32,
}

impl Crystal {
    pub(crate) fn triangles(&self) -> Vec<Triangle> {
        let axis = self.tip - self.base;
        let (a, b) = axis.normalized().tangents();
        let ring = |along: f32, radius: f32| HEXAGON.map(|(x, y)| self.base + axis * along + (a * x + b * y) * radius);
        // Crystals widen a little as they grow.
        let (low, high) = (ring(0.0, self.radius * 0.86), ring(self.shoulder, self.radius));
        let mut triangles = Vec::new();
        for side in 0..6 {
            let next = (side + 1) % 6;
            triangles.extend([
                Triangle::new([low[side], low[next], high[next]]),
                Triangle::new([low[side], high[next], high[side]]),
                Triangle::new([high[side], high[next], self.tip]),
                Triangle::new([low[next], low[side], self.base]),
            ]);
        }
        triangles
    }
}

/// A stone: an icosahedron with each side cut in four, pushed out to a ball and dented by `seed`.
pub(crate) fn stone(centre: Vec3, radius: f32, seed: u64) -> Vec<Triangle> {
    let corner = |direction: Vec3| {
        let direction = direction.normalized();
        let dent = 1.0 - 0.28 * noise(direction, seed);
        // Stones lie on their broad side.
        centre + direction * vec3(1.0, 0.72, 1.0) * (radius * dent)
    };
    let mut triangles = Vec::new();
    for [a, b, c] in icosahedron() {
        let (ab, bc, ca) = (a + b, b + c, c + a);
        let corners = [[a, ab, ca], [b, bc, ab], [c, ca, bc], [ab, bc, ca]];
        triangles.extend(corners.map(|corners| Triangle::new(corners.map(corner))));
    }
    triangles
}

/// The sides of an icosahedron of edge 2, counter-clockwise from outside.
pub(crate) fn icosahedron() -> [[Vec3; 3]; 20] {
    let (o, n, p) = (0.0, 1.0, PHI);
    let corners = [
        vec3(-n, p, o),
        vec3(n, p, o),
        vec3(-n, -p, o),
        vec3(n, -p, o),
        vec3(o, -n, p),
        vec3(o, n, p),
        vec3(o, -n, -p),
        vec3(o, n, -p),
        vec3(p, o, -n),
        vec3(p, o, n),
        vec3(-p, o, -n),
        vec3(-p, o, n),
    ];
    [
        [0, 11, 5],
        [0, 5, 1],
        [0, 1, 7],
        [0, 7, 10],
        [0, 10, 11],
        [1, 5, 9],
        [5, 11, 4],
        [11, 10, 2],
        [10, 7, 6],
        [7, 1, 8],
        [3, 9, 4],
        [3, 4, 2],
        [3, 2, 6],
        [3, 6, 8],
        [3, 8, 9],
        [4, 9, 5],
        [2, 4, 11],
        [6, 2, 10],
        [8, 6, 7],
        [9, 8, 1],
    ]
    .map(|side| side.map(|corner: usize| corners[corner]))
}

/// A number in [0, 1) that depends on nothing but `seed` and the direction, so that triangles that share a corner agree about it.
fn noise(direction: Vec3, seed: u64) -> f32 {
    // Rounded first: two ways to the same corner may differ in the last bits.
    let cell = |n: f32| ((n * 512.0).round() as i64).rem_euclid(1 << 16) as u64;
    let place = cell(direction.x) << 32 | cell(direction.y) << 16 | cell(direction.z);
    (split_mix(place ^ split_mix(seed)) >> 40) as f32 / (1 << 24) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::{Ray, Shape};
    use crate::sampler::{Sampler, sphere};

    /// A closed surface that faces outward is met an even number of times from outside: in, then out.
    fn assert_closed(triangles: &[Triangle], centre: Vec3) {
        let mut sampler = Sampler::new(2, 0, 0, 1);
        for _ in 0..200 {
            let origin = centre + sphere(sampler.pair()) * 50.0;
            let to = centre + sphere(sampler.pair()) * 0.1;
            let ray = Ray { origin, direction: (to - origin).normalized() };
            let mut hits: Vec<_> = triangles
                .iter()
                .map(|triangle| Shape::Triangle(*triangle))
                .filter_map(|shape| {
                    Some((shape.intersect(&ray, f32::INFINITY)?, shape.normal_at(origin).dot(ray.direction) < 0.0))
                })
                .collect();
            hits.sort_by(|a, b| a.0.total_cmp(&b.0));
            let enters: Vec<_> = hits.iter().map(|(_, enters)| *enters).collect();
            assert_eq!(enters, [true, false], "one way in, one way out");
        }
    }

    #[test]
    fn an_icosahedron_is_closed() {
        let triangles: Vec<_> = icosahedron().into_iter().map(Triangle::new).collect();
        assert_closed(&triangles, Vec3::ZERO);
    }

    #[test]
    fn a_block_is_closed_but_for_its_lower_side() {
        let (low, high) = (vec3(-1.0, 0.0, -2.0), vec3(1.0, 0.5, 2.0));
        let lower = parallelogram(low, vec3(2.0, 0.0, 0.0), vec3(0.0, 0.0, 4.0));
        let all: Vec<_> = block(low, high).into_iter().chain(lower).collect();
        assert_closed(&all, vec3(0.0, 0.25, 0.0));
    }

    #[test]
    fn a_stone_is_closed() {
        assert_closed(&stone(vec3(1.0, 2.0, 3.0), 1.0, 7), vec3(1.0, 2.0, 3.0));
    }

    #[test]
    fn a_crystal_is_closed() {
        let crystal = Crystal { base: vec3(0.0, -1.0, 0.0), tip: vec3(0.3, 1.0, 0.2), radius: 0.4, shoulder: 0.7 };
        assert_closed(&crystal.triangles(), vec3(0.15, 0.0, 0.1));
    }
}
