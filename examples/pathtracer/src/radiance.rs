use crate::geometry::{DISTANCE_MIN, Ray};
use crate::material::Scatter;
use crate::sampler::{Sampler, cosine_hemisphere};
use crate::scene::{Hit, Scene};
use crate::vec3::{Vec3, max, min};

/// How many surfaces a path meets at most. Light that needs more is lost; only in crystals is there any.
const SURFACES_MAX: u32 = 16;

/// From this surface on a path goes on by chance, as likely as it still matters.
const ROULETTE_FROM: u32 = 5;

/// The most that a path may bring from beyond its first surface. Brighter light is real but rare, gathered by glass or mirrored twice, and at
/// a few samples a pixel each such path would be a white dot; the picture is that much too dark there.
const SCATTERED_MAX: f32 = 1.0;

/// The light that comes back along `ray`, estimated by one path: at each surface one way on is drawn, and at each diffuse surface the lamp is
/// also asked directly.
pub(crate) fn radiance(scene: &Scene, mut ray: Ray, sampler: &mut Sampler) -> Vec3 {
    let mut path = Path { light: Vec3::ZERO, throughput: Vec3::ONE, is_scattered: false, sees_lamp: true };
    for surface in 0..SURFACES_MAX {
        let Some(hit) = scene.hit(&ray) else {
            path.add(scene.sky.radiance(ray.direction));
            break;
        };
        let direction = match hit.material.scatter(ray.direction, hit.facing, sampler) {
            Scatter::Absorbed => break,
            Scatter::Emitted { radiance } => {
                // After a diffuse surface this lamp was asked already.
                if path.sees_lamp {
                    path.add(radiance);
                }
                break;
            }
            Scatter::Directed { direction, tint } => {
                path.throughput *= tint;
                path.sees_lamp = true;
                direction
            }
            Scatter::Diffuse { albedo } => {
                path.throughput *= albedo;
                path.add(lamp_light(scene, &hit, sampler.pair()));
                path.sees_lamp = false;
                cosine_hemisphere(hit.facing.normal, sampler.pair())
            }
        };
        if surface >= ROULETTE_FROM && !path.survives(sampler.number()) {
            break;
        }
        path.is_scattered = true;
        ray = Ray { origin: hit.point, direction };
    }
    path.light
}

/// A path on its way from the camera.
struct Path {
    /// What it has brought so far.
    light: Vec3,
    /// The share of further light that reaches the camera.
    throughput: Vec3,
    /// Whether it is beyond its first surface.
    is_scattered: bool,
    /// Whether the lamp counts where the path meets it.
    sees_lamp: bool,
}

impl Path {
    fn add(&mut self, radiance: Vec3) {
        let light = radiance * self.throughput;
        let brightest = light.max_component();
        let scale = if self.is_scattered && brightest > SCATTERED_MAX { SCATTERED_MAX / brightest } else { 1.0 };
        self.light += light * scale;
    }

    /// Draws whether the path goes on, and lets those that do stand for those that do not.
    fn survives(&mut self, number: f32) -> bool {
        let chance = max(min(self.throughput.max_component(), 1.0), 0.05);
        self.throughput = self.throughput / chance;
        number < chance
    }
}

/// What the lamp sends straight to a diffuse surface and from there to the eye, before the albedo.
fn lamp_light(scene: &Scene, hit: &Hit, pair: (f32, f32)) -> Vec3 {
    let Some(light) = scene.light.sample(hit.point, pair) else { return Vec3::ZERO };
    let cosine = light.direction.dot(hit.facing.normal);
    if cosine <= 0.0 {
        return Vec3::ZERO;
    }
    let ray = Ray { origin: hit.point, direction: light.direction };
    if scene.is_blocked(&ray, light.distance - DISTANCE_MIN) {
        return Vec3::ZERO;
    }
    light.irradiance * (cosine * std::f32::consts::FRAC_1_PI)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::{Camera, View};
    use crate::geometry::{Shape, Sphere};
    use crate::light::AreaLight;
    use crate::material::Material;
    use crate::sky::Sky;
    use crate::vec3::vec3;

    const SKY: f32 = 0.5;

    /// One unit ball of `material` in an even sky, and two above it a square lamp of side 1 with the radiance `lamp`.
    fn ball(material: Material, lamp: f32) -> Scene {
        let camera = Camera::new(View {
            eye: vec3(0.0, 0.0, 4.0),
            target: Vec3::ZERO,
            focus: Vec3::ZERO,
            half_height: 0.17,
            lens_radius: 0.0,
        });
        let light = AreaLight {
            corner: vec3(-0.5, 3.0, -0.5),
            edge_1: vec3(1.0, 0.0, 0.0),
            edge_2: vec3(0.0, 0.0, 1.0),
            radiance: Vec3::splat(lamp),
        };
        let shape = Shape::Sphere(Sphere { centre: Vec3::ZERO, radius: 1.0 });
        let sky = Sky { zenith: Vec3::splat(SKY), dusk: Vec3::splat(SKY), sunset: Vec3::ZERO, sun: vec3(0.0, 0.0, -1.0) };
        Scene::new(vec![(shape, material)], light, sky, camera)
    }

    /// The mean light from a ball, all over the camera's view, which the ball fills.
    fn mean_radiance(scene: &Scene) -> f32 {
        let samples = 4096;
        let mut sampler = Sampler::new(1, 0, 0, samples);
        let mut sum = 0.0;
        for sample in 0..samples {
            sampler.start(sample);
            let (u, v) = sampler.pair();
            let ray = scene.camera.ray((2.0 * u - 1.0, 2.0 * v - 1.0), (0.5, 0.5));
            sum += radiance(scene, ray, &mut sampler).x / samples as f32;
        }
        sum
    }

    /// The furnace test: what loses no light cannot be told from the sky around it. The lamp is as bright as the sky, so it too vanishes;
    /// a lamp that was counted twice or not at all would show.
    #[test]
    fn a_white_ball_in_an_even_sky_cannot_be_seen() {
        for material in [
            Material::Diffuse { albedo: Vec3::ONE },
            Material::Coated { albedo: Vec3::ONE },
            Material::Metal { tint: Vec3::ONE, fuzz: 0.0 },
            Material::Glass { tint: Vec3::ONE, index: 1.5 },
        ] {
            let mean = mean_radiance(&ball(material, SKY));
            assert!((mean - SKY).abs() < 0.02, "{material:?}: {mean}");
        }
    }

    #[test]
    fn nothing_gives_back_more_light_than_it_gets() {
        for albedo in [0.0, 0.3, 0.9] {
            let mean = mean_radiance(&ball(Material::Diffuse { albedo: Vec3::splat(albedo) }, SKY));
            assert!((mean - SKY * albedo).abs() < 0.02, "{albedo}: {mean}");
        }
    }

    /// The share of a hemisphere, by cosine, that a square of side 1 takes at a distance of 2 straight above (the form factor from a point
    /// to a parallel rectangle, as in Howell's catalogue, B-4).
    const LAMP_SHARE: f32 = 0.073_482;

    #[test]
    fn the_lamp_gives_the_light_that_its_size_and_distance_say() {
        let scene = ball(Material::Diffuse { albedo: Vec3::ONE }, 20.0);
        let top =
            scene.hit(&Ray { origin: vec3(0.0, 2.0, 0.0), direction: vec3(0.0, -1.0, 0.0) }).expect("the ray runs at the ball");
        let samples = 1024;
        let mut sampler = Sampler::new(4, 0, 0, samples);
        let mut sum = 0.0;
        for sample in 0..samples {
            sampler.start(sample);
            sum += lamp_light(&scene, &top, sampler.pair()).x / samples as f32;
        }
        assert!((sum - 20.0 * LAMP_SHARE).abs() < 1e-3, "{sum}");
    }

    #[test]
    fn a_lamp_casts_a_shadow() {
        let scene = ball(Material::Diffuse { albedo: Vec3::ONE }, 20.0);
        let hit_at = |point: Vec3| {
            let ray = Ray { origin: point * 2.0, direction: -point };
            scene.hit(&ray).expect("the ray runs at the ball")
        };
        assert!(lamp_light(&scene, &hit_at(vec3(0.0, 1.0, 0.0)), (0.5, 0.5)).x > 0.0);
        assert_eq!(lamp_light(&scene, &hit_at(vec3(0.0, -1.0, 0.0)), (0.5, 0.5)), Vec3::ZERO);
        let under = Hit { point: vec3(0.0, -1.5, 0.0), ..hit_at(vec3(0.0, 1.0, 0.0)) };
        assert_eq!(lamp_light(&scene, &under, (0.5, 0.5)), Vec3::ZERO, "in the ball's shadow");
        let beside = Hit { point: vec3(3.0, -1.5, 0.0), ..under };
        assert!(lamp_light(&scene, &beside, (0.5, 0.5)).x > 0.0, "beside it");
    }
}
