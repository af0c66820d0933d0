use crate::bvh::Bvh;
use crate::camera::{Camera, View};
use crate::geometry::{Ray, Shape, Sphere, Triangle};
use crate::light::AreaLight;
use crate::material::{Facing, Material};
use crate::mesh::{Crystal, parallelogram, stone};
use crate::sky::Sky;
use crate::vec3::{Vec3, vec3};

/// What there is to see.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) camera: Camera,
    pub(crate) light: AreaLight,
    pub(crate) sky: Sky,
    pub(crate) bvh: Bvh,
    shapes: Vec<Shape>,
    /// One for each shape.
    materials: Vec<Material>,
}

/// Where a ray meets the scene.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hit {
    pub(crate) point: Vec3,
    pub(crate) facing: Facing,
    pub(crate) material: Material,
}

impl Scene {
    /// The mouth of an adit at dusk: quartz, nuggets of metal and a few stones on wet slate, under one warm lamp.
    pub(crate) fn adit() -> Self {
        let mut shapes = Shapes::default();
        shapes.add_slate();
        shapes.add_quartz();
        shapes.add_nuggets();
        shapes.add_stones();
        Self::new(shapes.0, lamp(), evening(), camera())
    }

    /// The scene of these shapes and the lamp's own.
    pub(crate) fn new(surfaces: Vec<(Shape, Material)>, light: AreaLight, sky: Sky, camera: Camera) -> Self {
        let lamp = light.triangles().map(|triangle| (Shape::Triangle(triangle), Material::Light { radiance: light.radiance }));
        let (shapes, materials): (Vec<_>, Vec<_>) = surfaces.into_iter().chain(lamp).unzip();
        Self { camera, light, sky, bvh: Bvh::new(&shapes), shapes, materials }
    }

    /// The shapes in the order in which the tree's leaves have them, with their materials.
    pub(crate) fn in_leaf_order(&self) -> impl Iterator<Item = (&Shape, &Material)> {
        self.bvh.order.iter().map(|index| (&self.shapes[*index as usize], &self.materials[*index as usize]))
    }

    /// The nearest surface on the ray's way.
    pub(crate) fn hit(&self, ray: &Ray) -> Option<Hit> {
        let (index, distance) = self.bvh.nearest(&self.shapes, ray)?;
        let point = ray.at(distance);
        let facing = Facing::new(ray.direction, self.shapes[index].normal_at(point));
        Some(Hit { point, facing, material: self.materials[index] })
    }

    /// Whether anything stands on the ray's way before `distance`.
    pub(crate) fn is_blocked(&self, ray: &Ray, distance: f32) -> bool {
        self.bvh.is_blocked(&self.shapes, ray, distance)
    }
}

fn camera() -> Camera {
    Camera::new(View {
        eye: vec3(0.6, 1.75, 8.2),
        target: vec3(0.15, 1.12, 0.0),
        focus: vec3(0.0, 1.0, 0.7),
        half_height: 0.27,
        lens_radius: 0.07,
    })
}

fn lamp() -> AreaLight {
    AreaLight {
        corner: vec3(-5.6, 4.6, 3.6),
        edge_1: vec3(0.6, 2.2, -2.6),
        edge_2: vec3(2.2, 1.2, 2.0),
        radiance: vec3(30.0, 21.0, 13.0),
    }
}

fn evening() -> Sky {
    Sky {
        zenith: vec3(0.035, 0.07, 0.19),
        dusk: vec3(0.1, 0.13, 0.29),
        sunset: vec3(1.9, 0.7, 0.2),
        sun: vec3(0.55, 0.06, -0.83).normalized(),
    }
}

/// The shapes of a scene that is being put together.
#[derive(Debug, Default)]
struct Shapes(Vec<(Shape, Material)>);

impl Shapes {
    fn add_triangles(&mut self, triangles: impl IntoIterator<Item = Triangle>, material: Material) {
        self.0.extend(triangles.into_iter().map(|triangle| (Shape::Triangle(triangle), material)));
    }

    /// A sphere that lies on the ground.
    fn add_ball(&mut self, x: f32, z: f32, radius: f32, material: Material) {
        self.0.push((Shape::Sphere(Sphere { centre: vec3(x, radius, z), radius }), material));
    }

    fn add_slate(&mut self) {
        let ground = parallelogram(vec3(-300.0, 0.0, 300.0), vec3(600.0, 0.0, 0.0), vec3(0.0, 0.0, -600.0));
        self.add_triangles(ground, Material::Coated { albedo: vec3(0.23, 0.22, 0.22) });
    }

    fn add_quartz(&mut self) {
        let foot = vec3(0.0, -0.15, -0.2);
        let clear = vec3(0.97, 0.97, 0.985);
        let aqua = vec3(0.8, 0.93, 0.95);
        let violet = vec3(0.86, 0.72, 0.95);
        // Where each tip is from the foot, how thick the crystal is, and its colour.
        for (tip, radius, tint) in [
            (vec3(0.1, 2.95, 0.0), 0.52, aqua),
            (vec3(-0.95, 2.1, 0.25), 0.34, violet),
            (vec3(0.95, 1.9, 0.1), 0.36, violet),
            (vec3(0.45, 1.35, 0.95), 0.26, clear),
            (vec3(-0.5, 1.1, 1.0), 0.24, violet),
            (vec3(-1.35, 1.15, -0.2), 0.22, clear),
            (vec3(1.4, 1.0, 0.5), 0.2, clear),
        ] {
            // Leaning crystals start beside the foot, or they would stand in one another.
            let base = foot + vec3(tip.x, 0.0, tip.z) * 0.45;
            let crystal = Crystal { base, tip: foot + tip, radius, shoulder: 0.76 };
            self.add_triangles(crystal.triangles(), Material::Glass { tint, index: 1.54 });
        }
    }

    fn add_nuggets(&mut self) {
        let gold = vec3(1.0, 0.71, 0.29);
        let copper = vec3(0.95, 0.6, 0.47);
        let steel = vec3(0.78, 0.8, 0.84);
        self.add_ball(-2.35, 0.2, 0.85, Material::Metal { tint: gold, fuzz: 0.12 });
        self.add_ball(2.75, -1.1, 1.15, Material::Metal { tint: steel, fuzz: 0.015 });
        self.add_ball(1.75, 2.05, 0.36, Material::Metal { tint: copper, fuzz: 0.25 });
        self.add_ball(-1.05, 2.3, 0.42, Material::Glass { tint: Vec3::splat(0.99), index: 1.5 });
        self.add_ball(2.5, 1.1, 0.42, Material::Coated { albedo: vec3(0.05, 0.33, 0.32) });
        self.add_ball(-3.6, -2.2, 0.8, Material::Coated { albedo: vec3(0.5, 0.06, 0.05) });
        self.add_ball(0.55, 3.1, 0.2, Material::Coated { albedo: vec3(0.7, 0.42, 0.05) });
    }

    fn add_stones(&mut self) {
        let stone_albedo = Material::Diffuse { albedo: vec3(0.34, 0.3, 0.27) };
        for (seed, (x, z, radius)) in
            [(-3.3, 1.6, 0.34), (3.4, 0.6, 0.4), (-0.2, 1.75, 0.16), (1.1, -2.6, 0.7), (-1.9, -3.4, 0.95), (-2.0, 2.7, 0.14)]
                .into_iter()
                .enumerate()
        {
            self.add_triangles(stone(vec3(x, radius * 0.5, z), radius, seed as u64), stone_albedo);
        }
    }
}
