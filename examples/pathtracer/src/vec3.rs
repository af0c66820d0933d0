use std::ops::{Add, AddAssign, Div, Index, Mul, MulAssign, Neg, Sub};

/// Three numbers: a point, a direction or a linear colour.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(crate) struct Vec3 {
    pub(crate) x: f32,
    pub(crate) y: f32,
    pub(crate) z: f32,
}

pub(crate) const fn vec3(x: f32, y: f32, z: f32) -> Vec3 {
    Vec3 { x, y, z }
}

impl Vec3 {
    pub(crate) const ZERO: Self = Self::splat(0.0);
    pub(crate) const ONE: Self = Self::splat(1.0);

    pub(crate) const fn splat(n: f32) -> Self {
        vec3(n, n, n)
    }

    pub(crate) fn dot(self, other: Self) -> f32 {
        self.x * other.x + self.y * other.y + self.z * other.z
    }

    pub(crate) fn cross(self, other: Self) -> Self {
        vec3(self.y * other.z - self.z * other.y, self.z * other.x - self.x * other.z, self.x * other.y - self.y * other.x)
    }

    pub(crate) fn length_squared(self) -> f32 {
        self.dot(self)
    }

    pub(crate) fn length(self) -> f32 {
        self.length_squared().sqrt()
    }

    pub(crate) fn normalized(self) -> Self {
        self / self.length()
    }

    /// The greatest of the three.
    pub(crate) fn max_component(self) -> f32 {
        max(max(self.x, self.y), self.z)
    }

    pub(crate) fn min(self, other: Self) -> Self {
        vec3(min(self.x, other.x), min(self.y, other.y), min(self.z, other.z))
    }

    pub(crate) fn max(self, other: Self) -> Self {
        vec3(max(self.x, other.x), max(self.y, other.y), max(self.z, other.z))
    }

    /// The point at `t` on the way from here (0) to `other` (1).
    pub(crate) fn lerp(self, other: Self, t: f32) -> Self {
        self * (1.0 - t) + other * t
    }

    /// This direction, mirrored at a surface with `normal`.
    pub(crate) fn reflect(self, normal: Self) -> Self {
        self - normal * (2.0 * self.dot(normal))
    }

    /// This unit direction, broken at a surface whose unit `normal` it points against, where `ratio` is the index of refraction before
    /// the surface over the one behind it. `None` where all of the light is reflected (Snell's law has no solution).
    pub(crate) fn refract(self, normal: Self, ratio: f32) -> Option<Self> {
        let cosine = -self.dot(normal);
        let along = (self + normal * cosine) * ratio;
        let left = 1.0 - along.length_squared();
        (left > 0.0).then(|| along - normal * left.sqrt())
    }

    /// Two unit directions that are perpendicular to this unit direction and to each other (Duff et al. 2017, "Building an Orthonormal
    /// Basis, Revisited").
    pub(crate) fn tangents(self) -> (Self, Self) {
        let sign = 1f32.copysign(self.z);
        let a = -1.0 / (sign + self.z);
        let b = self.x * self.y * a;
        (vec3(1.0 + sign * self.x * self.x * a, sign * b, -sign * self.x), vec3(b, sign + self.y * self.y * a, -self.y))
    }
}

/// The smaller number; `b` where they do not compare. Unlike `f32::min` this is one select on every target.
pub(crate) fn min(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

/// The greater number; `b` where they do not compare.
pub(crate) fn max(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

impl Add for Vec3 {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        vec3(self.x + other.x, self.y + other.y, self.z + other.z)
    }
}

impl AddAssign for Vec3 {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Vec3 {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        vec3(self.x - other.x, self.y - other.y, self.z - other.z)
    }
}

impl Neg for Vec3 {
    type Output = Self;

    fn neg(self) -> Self {
        vec3(-self.x, -self.y, -self.z)
    }
}

/// Component by component, as light passes a coloured filter.
impl Mul for Vec3 {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        vec3(self.x * other.x, self.y * other.y, self.z * other.z)
    }
}

impl MulAssign for Vec3 {
    fn mul_assign(&mut self, other: Self) {
        *self = *self * other;
    }
}

impl Mul<f32> for Vec3 {
    type Output = Self;

    fn mul(self, n: f32) -> Self {
        vec3(self.x * n, self.y * n, self.z * n)
    }
}

impl Div<f32> for Vec3 {
    type Output = Self;

    fn div(self, n: f32) -> Self {
        self * (1.0 / n)
    }
}

impl Index<usize> for Vec3 {
    type Output = f32;

    fn index(&self, axis: usize) -> &f32 {
        match axis {
            0 => &self.x,
            1 => &self.y,
            _ => &self.z,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_near(a: Vec3, b: Vec3) {
        assert!((a - b).length() < 1e-5, "{a:?} is not {b:?}");
    }

    #[test]
    fn a_mirror_turns_only_the_normal_part() {
        assert_near(vec3(1.0, -1.0, 0.5).reflect(vec3(0.0, 1.0, 0.0)), vec3(1.0, 1.0, 0.5));
    }

    #[test]
    fn refraction_obeys_snell() {
        let normal = vec3(0.0, 1.0, 0.0);
        for ratio in [1.0 / 1.5, 1.0, 1.2] {
            let direction = vec3(0.6, -0.8, 0.0);
            let refracted = direction.refract(normal, ratio).unwrap();
            assert!((refracted.length() - 1.0).abs() < 1e-5);
            assert!((refracted.x - direction.x * ratio).abs() < 1e-5, "the sines are as the indices");
            assert!(refracted.y < 0.0, "it goes on through the surface");
        }
    }

    #[test]
    fn refraction_ends_at_the_critical_angle() {
        let normal = vec3(0.0, 1.0, 0.0);
        let leaving_glass = |sine: f32| vec3(sine, -(1.0 - sine * sine).sqrt(), 0.0).refract(normal, 1.5);
        assert!(leaving_glass(0.66).is_some());
        assert_eq!(leaving_glass(0.67), None);
    }

    #[test]
    fn tangents_are_perpendicular_units() {
        for n in
            [vec3(0.0, 0.0, 1.0), vec3(0.0, 0.0, -1.0), vec3(1.0, 2.0, -3.0).normalized(), vec3(-0.1, 0.9, 1e-9).normalized()]
        {
            let (a, b) = n.tangents();
            assert_near(a.cross(b), n);
            assert!((a.length() - 1.0).abs() < 1e-5 && (b.length() - 1.0).abs() < 1e-5);
        }
    }
}
