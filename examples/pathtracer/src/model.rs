use serde::{Deserialize, Serialize};

use crate::geometry::{Bounds, Triangle};
use crate::subject::SubjectError;
use crate::vec3::{Vec3, max, vec3};

/// The most triangles of a mesh: more than a tile's fuel builds a tree over.
pub const TRIANGLES_MAX: usize = 1 << 18;

/// The largest coordinate: squares of it and their products are still numbers.
const COORDINATE_MAX: f32 = 1e6;

/// Triangles between corners that they share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mesh {
    /// The place of each corner.
    pub positions: Vec<[f32; 3]>,
    /// For each corner the direction to the outside, of any length, by which its surroundings look round; or none at all.
    pub normals: Vec<[f32; 3]>,
    /// For each corner the place in the image, to the right and up, from 0 to 1 over it; or none at all.
    pub places: Vec<[f32; 2]>,
    /// The corners of each triangle, counter-clockwise from outside.
    pub triangles: Vec<[u32; 3]>,
}

/// What a triangle's corners say of its surface.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Corners {
    /// Where the surface looks round.
    pub(crate) normals: Option<[Vec3; 3]>,
    /// Places in an image.
    pub(crate) places: [(f32, f32); 3],
}

impl Mesh {
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn check(&self) -> Result<(), SubjectError> {
        let positions = self.positions.len();
        if !(1..=TRIANGLES_MAX).contains(&self.triangles.len()) {
            return Err(SubjectError::Triangles(self.triangles.len()));
        }
        for (what, count) in [("normals", self.normals.len()), ("texture coordinates", self.places.len())] {
            if count != 0 && count != positions {
                return Err(SubjectError::Uneven { positions, what, count });
            }
        }
        for (triangle, corners) in self.triangles.iter().enumerate() {
            if let Some(&corner) = corners.iter().find(|corner| **corner as usize >= positions) {
                return Err(SubjectError::Corner { triangle, corner, corners: positions });
            }
        }
        self.check_numbers()
    }

    fn check_numbers(&self) -> Result<(), SubjectError> {
        let is_small = |n: &f32| n.abs() <= COORDINATE_MAX;
        let all_small = self.positions.iter().chain(&self.normals).flatten().chain(self.places.iter().flatten()).all(is_small);
        if !all_small {
            return Err(SubjectError::Shape("a coordinate of the mesh is not a number from -1e6 to 1e6"));
        }
        let size = self.bounds().size();
        if max(max(size.x, size.y), size.z) < 1e-6 {
            return Err(SubjectError::Shape("all corners of the mesh are in one place"));
        }
        Ok(())
    }

    /// The triangles, turned about the upright axis by an angle of this sine and cosine, scaled so that they fit into a cylinder of that
    /// `radius` and `height`, and put on the ground at `foot`. The mesh must have been checked.
    pub(crate) fn standing(&self, foot: Vec3, (sine, cosine): (f32, f32), radius: f32, height: f32) -> Vec<(Triangle, Corners)> {
        let bounds = self.bounds();
        let (size, middle) = (bounds.size(), (bounds.low + bounds.high) * 0.5);
        let scale = 1.0 / max(max(size.x, size.z) * (0.5 / radius), size.y / height);
        let turned = |Vec3 { x, y, z }: Vec3| vec3(x * cosine + z * sine, y, z * cosine - x * sine);
        let on_ground = vec3(middle.x, bounds.low.y, middle.z);
        let position = |corner: u32| foot + turned((point(self.positions[corner as usize]) - on_ground) * scale);
        let corners = |triangle: &[u32; 3]| Corners {
            normals: self.normals_of(triangle).map(|normals| normals.map(turned)),
            places: triangle.map(|corner| self.places.get(corner as usize).map_or((0.0, 0.0), |[u, v]| (*u, *v))),
        };
        self.triangles.iter().map(|triangle| (Triangle::new(triangle.map(position)), corners(triangle))).collect()
    }

    /// The unit normals of a triangle's corners, where it has them and each has a direction.
    fn normals_of(&self, triangle: &[u32; 3]) -> Option<[Vec3; 3]> {
        let normal = |corner: u32| {
            let normal = point(*self.normals.get(corner as usize)?);
            (normal.length_squared() > 1e-12).then(|| normal.normalized())
        };
        let [a, b, c] = *triangle;
        Some([normal(a)?, normal(b)?, normal(c)?])
    }

    fn bounds(&self) -> Bounds {
        self.positions.iter().map(|position| point(*position)).fold(Bounds::EMPTY, Bounds::with_point)
    }
}

impl Corners {
    /// The place in the image where the corners count for so much.
    pub(crate) fn place(&self, weights: [f32; 3]) -> (f32, f32) {
        let mean = |[a, b, c]: [f32; 3]| a * weights[0] + b * weights[1] + c * weights[2];
        (mean(self.places.map(|(u, _)| u)), mean(self.places.map(|(_, v)| v)))
    }

    /// The unit normal of the round surface there. `None` where the triangle is flat, or its corners look away from each other.
    pub(crate) fn normal(&self, weights: [f32; 3]) -> Option<Vec3> {
        let [a, b, c] = self.normals?;
        let mean = a * weights[0] + b * weights[1] + c * weights[2];
        (mean.length_squared() > 1e-6).then(|| mean.normalized())
    }
}

fn point([x, y, z]: [f32; 3]) -> Vec3 {
    vec3(x, y, z)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::sampler::sine_cosine_of_turn;

    /// A pyramid with four sides and no ground.
    pub(crate) fn pyramid() -> Mesh {
        Mesh {
            positions: vec![[1.0, 5.0, 1.0], [3.0, 5.0, 1.0], [3.0, 5.0, 3.0], [1.0, 5.0, 3.0], [2.0, 9.0, 2.0]],
            normals: vec![[-1.0, 0.5, -1.0], [1.0, 0.5, -1.0], [1.0, 0.5, 1.0], [-1.0, 0.5, 1.0], [0.0, 2.0, 0.0]],
            places: vec![[0.0, 0.0], [0.25, 0.0], [0.5, 0.0], [0.75, 0.0], [0.5, 1.0]],
            triangles: vec![[1, 0, 4], [2, 1, 4], [3, 2, 4], [0, 3, 4]],
        }
    }

    #[test]
    fn mesh_stands_on_its_foot_and_fits() {
        let foot = vec3(10.0, 0.0, -4.0);
        for (radius, height, expected) in [(1.0, 100.0, 1.0), (100.0, 2.0, 0.5)] {
            let triangles = pyramid().standing(foot, (0.0, 1.0), radius, height);
            let tip = triangles[0].0.corner + triangles[0].0.edge_2;
            assert!((tip - (foot + vec3(0.0, 4.0 * expected, 0.0))).length() < 1e-5, "{tip:?}");
            let lowest = triangles.iter().map(|(triangle, _)| triangle.corner.y).fold(f32::INFINITY, f32::min);
            assert_eq!(lowest, 0.0);
        }
    }

    #[test]
    fn quarter_turn_takes_x_to_minus_z_and_normals_with_it() {
        let quarter = sine_cosine_of_turn(1, 4);
        let still = pyramid().standing(Vec3::ZERO, (0.0, 1.0), 1.0, 4.0);
        let turned = pyramid().standing(Vec3::ZERO, quarter, 1.0, 4.0);
        let expected = |Vec3 { x, y, z }: Vec3| vec3(z, y, -x);
        assert!((turned[0].0.corner - expected(still[0].0.corner)).length() < 1e-5);
        let normal = |(_, corners): &(Triangle, Corners)| corners.normals.expect("it has normals")[0];
        assert!((normal(&turned[0]) - expected(normal(&still[0]))).length() < 1e-5);
    }

    #[test]
    fn corners_are_mixed_by_their_weights() {
        let (_, corners) = pyramid().standing(Vec3::ZERO, (0.0, 1.0), 1.0, 4.0)[0];
        assert_eq!(corners.place([1.0, 0.0, 0.0]), (0.25, 0.0));
        assert_eq!(corners.place([0.25, 0.25, 0.5]), (0.3125, 0.5));
        assert_eq!(corners.normal([0.0, 0.0, 1.0]), Some(vec3(0.0, 1.0, 0.0)));
        let flat = Mesh { normals: Vec::new(), ..pyramid() };
        assert_eq!(flat.standing(Vec3::ZERO, (0.0, 1.0), 1.0, 4.0)[0].1.normal([1.0, 0.0, 0.0]), None);
    }

    #[test]
    fn mesh_that_cannot_be_is_refused_with_the_reason() {
        let check = |change: fn(&mut Mesh), expected: &str| {
            let mut mesh = pyramid();
            change(&mut mesh);
            assert_eq!(mesh.check().expect_err("it cannot be").to_string(), expected);
        };
        assert_eq!(pyramid().check(), Ok(()));
        check(|mesh| mesh.triangles.clear(), "a mesh of 0 triangles; it must have from 1 to 262144");
        check(|mesh| mesh.triangles[2][1] = 5, "triangle 2 of the mesh has the corner 5, but there are only 5 (from 0)");
        check(|mesh| mesh.normals.truncate(4), "the mesh has 5 corners, but 4 normals");
        check(|mesh| mesh.places.push([0.0; 2]), "the mesh has 5 corners, but 6 texture coordinates");
        let number = "a coordinate of the mesh is not a number from -1e6 to 1e6";
        check(|mesh| mesh.positions[1][2] = f32::NAN, number);
        check(|mesh| mesh.normals[1][2] = f32::INFINITY, number);
        check(|mesh| mesh.places[1][0] = 2e6, number);
        check(|mesh| mesh.positions = vec![[7.0; 3]; 5], "all corners of the mesh are in one place");
    }
}
