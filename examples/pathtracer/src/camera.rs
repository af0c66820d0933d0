use crate::geometry::Ray;
use crate::sampler::disc;
use crate::vec3::{Vec3, vec3};

/// A camera with a thin lens: what is nearer or farther than its focus is blurred.
#[derive(Debug)]
pub(crate) struct Camera {
    pub(crate) eye: Vec3,
    pub(crate) right: Vec3,
    pub(crate) up: Vec3,
    /// From the eye to the middle of the plane that is in focus.
    pub(crate) to_focus: Vec3,
    /// Half of that plane's height.
    pub(crate) half_height: f32,
    pub(crate) lens_radius: f32,
}

/// Where a camera stands and how it looks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View {
    pub(crate) eye: Vec3,
    pub(crate) target: Vec3,
    /// The point whose distance is in focus.
    pub(crate) focus: Vec3,
    /// The tangent of half the vertical angle of view.
    pub(crate) half_height: f32,
    pub(crate) lens_radius: f32,
}

impl Camera {
    pub(crate) fn new(view: View) -> Self {
        let forward = (view.target - view.eye).normalized();
        let right = forward.cross(vec3(0.0, 1.0, 0.0)).normalized();
        let focus_distance = (view.focus - view.eye).dot(forward);
        Self {
            eye: view.eye,
            right,
            up: right.cross(forward),
            to_focus: forward * focus_distance,
            half_height: view.half_height * focus_distance,
            lens_radius: view.lens_radius,
        }
    }

    /// The ray through a place of the picture and a place of the lens. Places of the picture run from -1 at the bottom to 1 at the top,
    /// with the same scale to the right.
    pub(crate) fn ray(&self, (right, up): (f32, f32), lens: (f32, f32)) -> Ray {
        let (x, y) = disc(lens);
        let on_lens = self.right * (x * self.lens_radius) + self.up * (y * self.lens_radius);
        let in_focus = self.to_focus + self.right * (right * self.half_height) + self.up * (up * self.half_height);
        Ray { origin: self.eye + on_lens, direction: (in_focus - on_lens).normalized() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn camera() -> Camera {
        Camera::new(View {
            eye: vec3(0.0, 1.0, 5.0),
            target: vec3(0.0, 1.0, 0.0),
            focus: vec3(2.0, 0.0, 1.0),
            half_height: 0.5,
            lens_radius: 0.25,
        })
    }

    #[test]
    fn the_middle_of_the_picture_is_the_target() {
        let ray = camera().ray((0.0, 0.0), (0.5, 0.5));
        assert_eq!(ray.origin, vec3(0.0, 1.0, 5.0));
        assert_eq!(ray.direction, vec3(0.0, 0.0, -1.0));
    }

    #[test]
    fn all_places_of_the_lens_agree_in_the_plane_of_focus() {
        let camera = camera();
        for lens in [(0.5, 0.5), (0.0, 0.3), (0.99, 0.99), (0.1, 0.9)] {
            let ray = camera.ray((0.5, -1.0), lens);
            let in_focus = ray.at((1.0 - ray.origin.z) / ray.direction.z);
            assert!((in_focus - vec3(1.0, -1.0, 1.0)).length() < 1e-5, "{lens:?}: {in_focus:?}");
        }
        assert_ne!(camera.ray((0.5, -1.0), (0.5, 0.5)).origin, camera.ray((0.5, -1.0), (0.0, 0.3)).origin);
    }
}
