use crate::environment::EnvironmentLight;
use crate::geometry::{DISTANCE_MIN, Ray};
use crate::material::{Material, Scatter};
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

/// A density that is as good as none: that of a direction which grazes its surface.
const DENSITY_MIN: f32 = 1e-10;

/// The light that comes back along `ray`, estimated by one path: at each surface one way on is drawn, and at each diffuse surface the lights
/// are also asked directly. What both ways find counts by how likely each was to find it (Veach and Guibas 1995, "Optimally Combining
/// Sampling Techniques").
pub(crate) fn radiance(scene: &Scene, mut ray: Ray, sampler: &mut Sampler) -> Vec3 {
    let mut path = Path { light: Vec3::ZERO, throughput: Vec3::ONE, is_scattered: false, density: None };
    for surface in 0..SURFACES_MAX {
        let Some(hit) = scene.hit(&ray) else {
            let asked = scene.sky.light().map(|light| light.density(ray.direction));
            path.add(scene.sky.radiance(ray.direction) * path.share(asked));
            break;
        };
        let direction = match hit.material.scatter(ray.direction, hit.facing, sampler) {
            Scatter::Absorbed => break,
            Scatter::Emitted { radiance } => {
                path.add(radiance * path.share(Some(scene.light.density(ray.direction, hit.distance))));
                break;
            }
            Scatter::Directed { direction, tint } => {
                // Glass lets light through; what else is under the surface is lost.
                if !matches!(hit.material, Material::Glass { .. }) && !hit.is_over(direction) {
                    break;
                }
                path.throughput *= tint;
                path.density = None;
                direction
            }
            Scatter::Diffuse { albedo } => {
                path.throughput *= albedo;
                path.add(lamp_light(scene, &hit, sampler.pair()));
                if let Some(light) = scene.sky.light() {
                    path.add(sky_light(scene, light, &hit, sampler.pair()));
                }
                let direction = cosine_hemisphere(hit.facing.normal, sampler.pair());
                if !hit.is_over(direction) {
                    break;
                }
                path.density = Some(diffuse_density(&hit, direction));
                direction
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
    /// How likely its direction was, by solid angle, where the lights were asked for theirs too; `None` where only the path can find them.
    density: Option<f32>,
}

impl Path {
    fn add(&mut self, radiance: Vec3) {
        let light = radiance * self.throughput;
        let brightest = light.max_component();
        let scale = if self.is_scattered && brightest > SCATTERED_MAX { SCATTERED_MAX / brightest } else { 1.0 };
        self.light += light * scale;
    }

    /// The share that the path has in a light that it found, and that was `asked` for its directions with such a density, if it was.
    fn share(&self, asked: Option<f32>) -> f32 {
        match (self.density, asked) {
            (Some(drawn), Some(asked)) => power_share(drawn, asked),
            _ => 1.0,
        }
    }

    /// Draws whether the path goes on, and lets those that do stand for those that do not.
    fn survives(&mut self, number: f32) -> bool {
        let chance = max(min(self.throughput.max_component(), 1.0), 0.05);
        self.throughput = self.throughput / chance;
        number < chance
    }
}

/// The share of one way to find a light, of two with these densities: as their squares. The shares of both are 1.
fn power_share(own: f32, other: f32) -> f32 {
    let ratio = other / max(own, DENSITY_MIN);
    1.0 / (1.0 + ratio * ratio)
}

/// How likely [`cosine_hemisphere`] is to draw `direction`.
fn diffuse_density(hit: &Hit, direction: Vec3) -> f32 {
    direction.dot(hit.facing.normal) * std::f32::consts::FRAC_1_PI
}

/// What the lamp sends straight to a diffuse surface and from there to the eye, before the albedo; its share, as a path may find it too.
fn lamp_light(scene: &Scene, hit: &Hit, pair: (f32, f32)) -> Vec3 {
    let Some(light) = scene.light.sample(hit.point, pair) else { return Vec3::ZERO };
    let density = diffuse_density(hit, light.direction);
    if density <= 0.0 || !hit.is_over(light.direction) {
        return Vec3::ZERO;
    }
    let ray = Ray { origin: hit.point, direction: light.direction };
    if scene.is_blocked(&ray, light.distance - DISTANCE_MIN) {
        return Vec3::ZERO;
    }
    light.radiance * (density / light.density * power_share(light.density, density))
}

/// The same of the sky, where it is asked.
fn sky_light(scene: &Scene, sky: &EnvironmentLight, hit: &Hit, pair: (f32, f32)) -> Vec3 {
    let light = sky.sample(pair);
    let density = diffuse_density(hit, light.direction);
    if density <= 0.0 || !hit.is_over(light.direction) {
        return Vec3::ZERO;
    }
    if scene.is_blocked(&Ray { origin: hit.point, direction: light.direction }, f32::INFINITY) {
        return Vec3::ZERO;
    }
    light.radiance * (density / light.density * power_share(light.density, density))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::{Camera, View};
    use crate::environment::Environment;
    use crate::geometry::{Shape, Sphere};
    use crate::light::AreaLight;
    use crate::model::tests::pyramid;
    use crate::sampler::sphere;
    use crate::sky::{Evening, Sky};
    use crate::subject::{Model, Subject};
    use crate::texture::Image;
    use crate::tile::Frame;
    use crate::vec3::vec3;

    const SKY: f32 = 0.5;

    /// A sky that is even, by formula and by photograph.
    fn even_skies() -> [Sky; 2] {
        let evening = Evening { zenith: Vec3::splat(SKY), dusk: Vec3::splat(SKY), sunset: Vec3::ZERO, sun: vec3(0.0, 0.0, -1.0) };
        let photograph = Environment::from_fn(8, |_| [SKY; 3]);
        [Sky::Evening(evening), Sky::Photograph(EnvironmentLight::new(&photograph, 1.0))]
    }

    /// One unit ball of `material` in an even sky, and two above it a square lamp of side 1 with the radiance `lamp`.
    fn ball(material: Material, lamp: f32) -> Scene {
        let [sky, _] = even_skies();
        ball_under(sky, material, lamp)
    }

    fn ball_under(sky: Sky, material: Material, lamp: f32) -> Scene {
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
            for sky in even_skies() {
                let scene = ball_under(sky, material, SKY);
                let mean = mean_radiance(&scene);
                assert!((mean - SKY).abs() < 0.02, "{material:?} under {:?}: {mean}", scene.sky);
            }
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
        let sky = SKY * (1.0 - LAMP_SHARE);
        let mean = mean_at(&scene, &top, 1 << 14);
        assert!((mean - (20.0 * LAMP_SHARE + sky)).abs() < 0.01, "{mean}");
    }

    /// The mean light from a point of a white diffuse surface, by what the path tracer does there: both lights asked, and a path that goes on.
    fn mean_at(scene: &Scene, hit: &Hit, samples: u32) -> f32 {
        let mut sampler = Sampler::new(4, 0, 0, samples);
        let mut sum = 0.0;
        for sample in 0..samples {
            sampler.start(sample);
            let mut light = lamp_light(scene, hit, sampler.pair());
            if let Some(sky) = scene.sky.light() {
                light += sky_light(scene, sky, hit, sampler.pair());
            }
            let direction = cosine_hemisphere(hit.facing.normal, sampler.pair());
            let mut path =
                Path { light, throughput: Vec3::ONE, is_scattered: false, density: Some(diffuse_density(hit, direction)) };
            let ray = Ray { origin: hit.point, direction };
            match scene.hit(&ray) {
                None => {
                    let asked = scene.sky.light().map(|light| light.density(direction));
                    path.add(scene.sky.radiance(direction) * path.share(asked));
                }
                Some(lamp) => path.add(scene.light.radiance * path.share(Some(scene.light.density(direction, lamp.distance)))),
            }
            sum += path.light.x / samples as f32;
        }
        sum
    }

    /// A sky of which one half is bright: what falls on a slanted surface is (1 + cosine) / 2 of all (the view factor of a tilted plane,
    /// as in solar engineering), whichever of its three ways the light is found by.
    #[test]
    fn half_a_bright_sky_gives_a_slanted_surface_the_light_that_its_slant_says() {
        let half = Environment::from_fn(128, |[_, y, _]| [if y > 0.0 { SKY } else { 0.0 }; 3]);
        let scene = ball_under(Sky::Photograph(EnvironmentLight::new(&half, 1.0)), Material::Diffuse { albedo: Vec3::ONE }, 0.0);
        for (z, y) in [(0.0f32, -1.0f32), (0.8, -0.6), (1.0, 0.0), (0.8, 0.6), (0.6, 0.8)] {
            let ray = Ray { origin: vec3(0.0, 2.0 * y, 2.0 * z), direction: vec3(0.0, -y, -z) };
            let hit = scene.hit(&ray).expect("the ray runs at the ball");
            // The dark lamp hides a part of the sky from the upper points.
            let expected = if y > 0.0 { mean_by_chance(&scene, &hit) } else { SKY * (1.0 + y) / 2.0 };
            let mean = mean_at(&scene, &hit, 1 << 14);
            assert!((mean - expected).abs() < 0.01, "{y}: {mean} {expected}");
        }
    }

    /// The light on a point by evenly drawn directions alone.
    fn mean_by_chance(scene: &Scene, hit: &Hit) -> f32 {
        let samples = 1 << 16;
        let mut sampler = Sampler::new(6, 0, 0, samples);
        let mut sum = 0.0;
        for sample in 0..samples {
            sampler.start(sample);
            let direction = sphere(sampler.pair());
            let cosine = direction.dot(hit.facing.normal);
            if cosine > 0.0 && scene.hit(&Ray { origin: hit.point, direction }).is_none() {
                sum += 4.0 * cosine * scene.sky.radiance(direction).x / samples as f32;
            }
        }
        sum
    }

    #[test]
    fn shares_of_two_ways_are_one_and_the_likelier_has_more() {
        for (a, b) in [(1.0, 1.0), (0.1, 7.0), (1e9, 1e-9), (0.0, 3.0), (1e30, 1.0)] {
            let sum = power_share(a, b) + power_share(b, a);
            assert!((sum - 1.0).abs() < 1e-6, "{a} {b}: {sum}");
        }
        assert!(power_share(2.0, 1.0) > 0.7);
    }

    /// The same with a model that is white all over: its paint, the ground and all between them give back what the sky gives.
    #[test]
    fn white_mesh_with_round_corners_neither_makes_light_nor_shows_its_inside() {
        let white = Image { width: 1, height: 1, rgb: vec![255; 3] };
        let environment = Environment::from_fn(8, |_| [1.0; 3]);
        let model = Model { mesh: pyramid(), paint: white.clone(), ground: white, environment };
        let scene = Scene::of(&Subject::Model(Box::new(model)), Frame::STILL);
        let mut most = 0.0;
        for step in 0..400 {
            let (right, up) = ((step % 20) as f32 / 10.0 - 1.0, (step / 20) as f32 / 10.0 - 1.0);
            let hit = scene.hit(&scene.camera.ray((right, up), (0.5, 0.5)));
            let Some(hit) = hit.filter(|hit| hit.flat_normal.is_some()) else { continue };
            assert!(hit.facing.is_outer, "the camera sees the outside");
            let Material::Coated { albedo } = hit.material else { panic!("a model is glazed") };
            most = max(most, albedo.x);
        }
        assert!((most - 0.97).abs() < 1e-4, "the paint is looked up: {most}");
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
