use crate::vec3::{Vec3, max, min};

/// A half-line. The direction is a unit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ray {
    pub(crate) origin: Vec3,
    pub(crate) direction: Vec3,
}

impl Ray {
    /// The point at `distance`.
    pub(crate) fn at(&self, distance: f32) -> Vec3 {
        self.origin + self.direction * distance
    }
}

/// How near to its origin a ray cannot hit: a bounced ray would else find the surface that it leaves, which rounding may have put before
/// it. It is far above the rounding error at the scene's size and far below anything one can see.
pub(crate) const DISTANCE_MIN: f32 = 1e-3;

/// A ball's surface.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sphere {
    pub(crate) centre: Vec3,
    pub(crate) radius: f32,
}

impl Sphere {
    /// Where `ray` meets it first, beyond [`DISTANCE_MIN`] and before `limit`. The discriminant is taken from the point of the ray that is
    /// nearest to the centre: the school formula loses all of its digits for a small ball far away (Haines et al. 2019, "Precision
    /// Improvements for Ray/Sphere Intersection").
    fn intersect(&self, ray: &Ray, limit: f32) -> Option<f32> {
        let to_centre = self.centre - ray.origin;
        let middle = to_centre.dot(ray.direction);
        let miss = to_centre - ray.direction * middle;
        let half_squared = self.radius * self.radius - miss.length_squared();
        if half_squared < 0.0 {
            return None;
        }
        let half = half_squared.sqrt();
        [middle - half, middle + half].into_iter().find(|distance| (DISTANCE_MIN..limit).contains(distance))
    }
}

/// A triangle, as one corner and the edges to the other two. Counter-clockwise from outside.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Triangle {
    pub(crate) corner: Vec3,
    pub(crate) edge_1: Vec3,
    pub(crate) edge_2: Vec3,
}

impl Triangle {
    pub(crate) fn new([a, b, c]: [Vec3; 3]) -> Self {
        Self { corner: a, edge_1: b - a, edge_2: c - a }
    }

    /// Where `ray` meets it, from either side (Möller and Trumbore 1997).
    fn intersect(&self, ray: &Ray, limit: f32) -> Option<f32> {
        let p = ray.direction.cross(self.edge_2);
        let determinant = self.edge_1.dot(p);
        if determinant == 0.0 {
            return None;
        }
        let scale = 1.0 / determinant;
        let from_corner = ray.origin - self.corner;
        let u = from_corner.dot(p) * scale;
        if !(0.0..=1.0).contains(&u) {
            return None;
        }
        let q = from_corner.cross(self.edge_1);
        let v = ray.direction.dot(q) * scale;
        if v < 0.0 || u + v > 1.0 {
            return None;
        }
        let distance = self.edge_2.dot(q) * scale;
        (DISTANCE_MIN..limit).contains(&distance).then_some(distance)
    }

    fn normal(&self) -> Vec3 {
        self.edge_1.cross(self.edge_2).normalized()
    }

    /// For how much each corner counts at a point of it.
    pub(crate) fn weights(&self, point: Vec3) -> [f32; 3] {
        let across = self.edge_1.cross(self.edge_2);
        let from_corner = point - self.corner;
        let scale = 1.0 / across.length_squared();
        let (b, c) = (from_corner.cross(self.edge_2).dot(across) * scale, self.edge_1.cross(from_corner).dot(across) * scale);
        [1.0 - b - c, b, c]
    }
}

/// A surface that a ray can meet.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    Sphere(Sphere),
    Triangle(Triangle),
}

impl Shape {
    /// How far away `ray` meets the surface, beyond [`DISTANCE_MIN`] and before `limit`.
    pub(crate) fn intersect(&self, ray: &Ray, limit: f32) -> Option<f32> {
        match self {
            Self::Sphere(sphere) => sphere.intersect(ray, limit),
            Self::Triangle(triangle) => triangle.intersect(ray, limit),
        }
    }

    /// The unit normal at `point`, to the outside.
    pub(crate) fn normal_at(&self, point: Vec3) -> Vec3 {
        match self {
            Self::Sphere(sphere) => (point - sphere.centre).normalized(),
            Self::Triangle(triangle) => triangle.normal(),
        }
    }

    /// The smallest box around it.
    pub(crate) fn bounds(&self) -> Bounds {
        match self {
            Self::Sphere(Sphere { centre, radius }) => {
                let half = Vec3::splat(*radius);
                Bounds { low: *centre - half, high: *centre + half }
            }
            Self::Triangle(Triangle { corner, edge_1, edge_2 }) => {
                [*corner, *corner + *edge_1, *corner + *edge_2].into_iter().fold(Bounds::EMPTY, Bounds::with_point)
            }
        }
    }
}

/// A box along the axes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) low: Vec3,
    pub(crate) high: Vec3,
}

impl Bounds {
    /// The box around nothing.
    pub(crate) const EMPTY: Self = Self { low: Vec3::splat(f32::INFINITY), high: Vec3::splat(f32::NEG_INFINITY) };

    pub(crate) fn with_point(self, point: Vec3) -> Self {
        Self { low: self.low.min(point), high: self.high.max(point) }
    }

    /// The box around both.
    pub(crate) fn union(self, other: Self) -> Self {
        Self { low: self.low.min(other.low), high: self.high.max(other.high) }
    }

    pub(crate) fn size(&self) -> Vec3 {
        self.high - self.low
    }

    pub(crate) fn centre(&self) -> Vec3 {
        (self.low + self.high) * 0.5
    }

    /// Half of the surface's area; two boxes are met by random rays as their areas are.
    pub(crate) fn half_area(&self) -> f32 {
        let size = self.size();
        size.x * size.y + size.y * size.z + size.z * size.x
    }

    /// How far away a ray from `origin` enters the box, if it does so before `limit`. `inverse` is one over the ray's direction,
    /// component by component.
    pub(crate) fn enter(&self, origin: Vec3, inverse: Vec3, limit: f32) -> Option<f32> {
        let (a, b) = ((self.low - origin) * inverse, (self.high - origin) * inverse);
        let near = a.min(b).max_component();
        let far = a.max(b);
        let far = min(min(far.x, far.y), far.z);
        (near <= far && far >= 0.0 && near < limit).then(|| max(near, 0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vec3::vec3;

    fn ray(origin: Vec3, to: Vec3) -> Ray {
        Ray { origin, direction: (to - origin).normalized() }
    }

    fn assert_near(a: Option<f32>, b: f32) {
        assert!(a.is_some_and(|a| (a - b).abs() < 1e-4), "{a:?} is not {b}");
    }

    #[test]
    fn a_sphere_is_met_at_its_near_side_and_from_within_at_its_far_side() {
        let sphere = Shape::Sphere(Sphere { centre: vec3(0.0, 0.0, -5.0), radius: 2.0 });
        let ahead = vec3(0.0, 0.0, -9.0);
        assert_near(sphere.intersect(&ray(Vec3::ZERO, ahead), f32::INFINITY), 3.0);
        assert_near(sphere.intersect(&ray(vec3(0.0, 0.0, -5.0), ahead), f32::INFINITY), 2.0);
        assert_eq!(sphere.intersect(&ray(Vec3::ZERO, ahead), 2.9), None, "beyond the limit");
        assert_eq!(sphere.intersect(&ray(Vec3::ZERO, -ahead), f32::INFINITY), None, "behind the ray");
        assert_eq!(sphere.intersect(&ray(vec3(2.1, 0.0, 0.0), vec3(2.1, 0.0, -9.0)), f32::INFINITY), None, "beside it");
        assert_eq!(sphere.normal_at(vec3(0.0, 0.0, -3.0)), vec3(0.0, 0.0, 1.0));
    }

    #[test]
    fn a_small_sphere_far_away_is_still_met() {
        let sphere = Shape::Sphere(Sphere { centre: vec3(0.0, 0.0, -1000.0), radius: 0.01 });
        assert_near(sphere.intersect(&ray(Vec3::ZERO, vec3(0.0, 0.0, -1.0)), f32::INFINITY), 999.99);
    }

    #[test]
    fn a_ray_that_leaves_a_sphere_does_not_meet_it_where_it_stands() {
        let sphere = Shape::Sphere(Sphere { centre: Vec3::ZERO, radius: 1.0 });
        let start = vec3(0.6, 0.8, 0.0);
        assert_eq!(sphere.intersect(&ray(start, start * 2.0), f32::INFINITY), None);
        assert_near(sphere.intersect(&ray(start, -start), f32::INFINITY), 2.0);
    }

    #[test]
    fn a_triangle_is_met_inside_its_edges_and_from_both_sides() {
        let triangle = Shape::Triangle(Triangle::new([vec3(0.0, 0.0, 0.0), vec3(1.0, 0.0, 0.0), vec3(0.0, 1.0, 0.0)]));
        let straight = |x, y, z| triangle.intersect(&ray(vec3(x, y, z), vec3(x, y, 0.0)), f32::INFINITY);
        assert_near(straight(0.2, 0.2, 3.0), 3.0);
        assert_near(straight(0.2, 0.2, -3.0), 3.0);
        assert_eq!(straight(0.6, 0.6, 3.0), None);
        assert_eq!(straight(-0.1, 0.5, 3.0), None);
        assert_eq!(triangle.intersect(&ray(vec3(0.2, 0.2, 1.0), vec3(5.0, 0.2, 1.0)), f32::INFINITY), None, "parallel to it");
        assert_eq!(triangle.normal_at(Vec3::ZERO), vec3(0.0, 0.0, 1.0), "counter-clockwise is outside");
    }

    #[test]
    fn a_box_is_entered_only_on_the_way() {
        let bounds = Bounds { low: vec3(-1.0, -1.0, -1.0), high: vec3(1.0, 1.0, 1.0) };
        let enter = |origin: Vec3, to: Vec3, limit| {
            let Vec3 { x, y, z } = ray(origin, to).direction;
            bounds.enter(origin, vec3(1.0 / x, 1.0 / y, 1.0 / z), limit)
        };
        assert_near(enter(vec3(0.5, 0.5, 5.0), vec3(0.5, 0.5, 0.0), 9.0), 4.0);
        assert_near(enter(Vec3::ZERO, vec3(1.0, 2.0, 3.0), 9.0), 0.0);
        assert_eq!(enter(vec3(0.5, 0.5, 5.0), vec3(0.5, 0.5, 0.0), 3.0), None);
        assert_eq!(enter(vec3(0.5, 0.5, 5.0), vec3(0.5, 0.5, 9.0), 9.0), None);
        assert_eq!(enter(vec3(1.5, 0.0, 5.0), vec3(1.5, 0.0, 0.0), 9.0), None);
    }
}
