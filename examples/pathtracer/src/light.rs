use crate::geometry::Triangle;
use crate::mesh::parallelogram;
use crate::vec3::Vec3;

/// A shining parallelogram. It shines to the side from which its edges run counter-clockwise.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AreaLight {
    pub(crate) corner: Vec3,
    pub(crate) edge_1: Vec3,
    pub(crate) edge_2: Vec3,
    pub(crate) radiance: Vec3,
}

/// What one point of a light sends towards a place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LightSample {
    /// The unit direction to the point.
    pub(crate) direction: Vec3,
    /// How far away it is.
    pub(crate) distance: f32,
    /// The light that comes from there.
    pub(crate) radiance: Vec3,
    /// How likely the direction was to be drawn, by solid angle.
    pub(crate) density: f32,
}

impl AreaLight {
    /// Its two halves, to be met by rays.
    pub(crate) fn triangles(&self) -> [Triangle; 2] {
        parallelogram(self.corner, self.edge_1, self.edge_2)
    }

    /// What the point of the light that `pair` names sends to `place`; `None` behind the light.
    pub(crate) fn sample(&self, place: Vec3, (u, v): (f32, f32)) -> Option<LightSample> {
        let offset = self.corner + self.edge_1 * u + self.edge_2 * v - place;
        let distance_squared = offset.length_squared();
        let distance = distance_squared.sqrt();
        let direction = offset / distance;
        let area_seen = self.area_seen(direction);
        let sample = || LightSample { direction, distance, radiance: self.radiance, density: distance_squared / area_seen };
        (area_seen > 0.0).then(sample)
    }

    /// How likely [`Self::sample`] is to draw the unit `direction` from a place so far away in which the light is seen from its front, by solid angle.
    pub(crate) fn density(&self, direction: Vec3, distance: f32) -> f32 {
        distance * distance / self.area_seen(direction)
    }

    /// The light's area as seen along a direction. The cross product's length is the area.
    fn area_seen(&self, direction: Vec3) -> f32 {
        -self.edge_1.cross(self.edge_2).dot(direction)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Shape;
    use crate::sampler::Sampler;
    use crate::vec3::vec3;

    fn ceiling_lamp(height: f32, side: f32) -> AreaLight {
        AreaLight {
            corner: vec3(-side / 2.0, height, -side / 2.0),
            edge_1: vec3(side, 0.0, 0.0),
            edge_2: vec3(0.0, 0.0, side),
            radiance: Vec3::ONE,
        }
    }

    #[test]
    fn a_light_sends_nothing_behind_itself() {
        let lamp = ceiling_lamp(2.0, 1.0);
        assert!(lamp.sample(vec3(0.0, 1.0, 0.0), (0.5, 0.5)).is_some());
        assert!(lamp.sample(vec3(0.0, 3.0, 0.0), (0.5, 0.5)).is_none());
    }

    /// A lamp as wide as the sky lights the floor as a sky of the same radiance does: pi.
    #[test]
    fn a_light_of_endless_size_gives_the_irradiance_of_a_sky() {
        let lamp = ceiling_lamp(1.0, 60.0);
        let count = 1 << 16;
        let mut sampler = Sampler::new(1, 0, 0, count);
        let mut sum = 0.0;
        for sample in 0..count {
            sampler.start(sample);
            if let Some(light) = lamp.sample(Vec3::ZERO, sampler.pair()) {
                sum += light.radiance.x * light.direction.y / light.density / count as f32;
            }
        }
        assert!((sum - std::f32::consts::PI).abs() < 0.05, "{sum}");
    }

    #[test]
    fn its_triangles_face_the_way_it_shines() {
        for triangle in ceiling_lamp(2.0, 1.0).triangles() {
            let normal = Shape::Triangle(triangle).normal_at(Vec3::ZERO);
            assert_eq!(normal, vec3(0.0, -1.0, 0.0));
        }
    }
}
