use crate::bvh::Bvh;
use crate::camera::{Camera, View};
use crate::environment::EnvironmentLight;
use crate::geometry::{Ray, Shape, Sphere, Triangle};
use crate::light::AreaLight;
use crate::material::{Facing, Material};
use crate::mesh::{Crystal, block, parallelogram, stone};
use crate::model::Corners;
use crate::sampler::sine_cosine_of_turn;
use crate::sky::{Evening, Sky};
use crate::subject::{Model, Subject};
use crate::texture::Texture;
use crate::tile::Frame;
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
    surfaces: Vec<Surface>,
    corners: Vec<Corners>,
    textures: Vec<Texture>,
}

/// A shape's surface.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Surface {
    material: Material,
    /// Where the scene has the triangle's corners.
    corners: Option<u32>,
    /// Where it has the image whose colours the material's is multiplied with.
    texture: Option<u32>,
}

impl From<Material> for Surface {
    fn from(material: Material) -> Self {
        Self { material, corners: None, texture: None }
    }
}

/// Where a ray meets the scene.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hit {
    pub(crate) point: Vec3,
    pub(crate) distance: f32,
    pub(crate) facing: Facing,
    pub(crate) material: Material,
    /// Where the surface only looks round, the normal of the flat triangle that it is, on the side that the ray comes from.
    pub(crate) flat_normal: Option<Vec3>,
}

impl Hit {
    /// Whether light can leave for a direction, or come from there, without passing through the surface.
    pub(crate) fn is_over(&self, direction: Vec3) -> bool {
        self.flat_normal.is_none_or(|normal| direction.dot(normal) > 0.0)
    }
}

impl Scene {
    /// The scene of a picture. The subject must have been checked.
    pub(crate) fn of(subject: &Subject, frame: Frame) -> Self {
        match subject {
            Subject::Adit => Self::adit(frame),
            Subject::Model(model) => Self::model(model, frame),
        }
    }

    /// The mouth of an adit at dusk: quartz, nuggets of metal and a few stones on wet slate, under one warm lamp. The camera goes around a
    /// little.
    pub(crate) fn adit(frame: Frame) -> Self {
        let mut shapes = Shapes::default();
        shapes.add_slate();
        shapes.add_quartz();
        shapes.add_nuggets();
        shapes.add_stones();
        let (sine, cosine) = frame.sine_cosine();
        shapes.into_scene(lamp(), Sky::Evening(evening()), camera(vec3(1.4 * sine, 0.25 * (1.0 - cosine), 0.0)))
    }

    /// A model on a block of slate before the adit, with gravel around it, in the first light. The model turns around, and a ball of glass
    /// around the model.
    fn model(model: &Model, frame: Frame) -> Self {
        let mut shapes = Shapes::default();
        let ground = shapes.add_texture(&model.ground);
        let paint = shapes.add_texture(&model.paint);
        shapes.add_gravel(ground);
        shapes.add_model(model, paint, frame);
        shapes.add_treasure(frame);
        let sky = Sky::Photograph(EnvironmentLight::new(&model.environment, DAWN_STRENGTH));
        shapes.into_scene(lantern(), sky, camera(vec3(0.0, 0.55, 0.0)))
    }

    /// The scene of these shapes and the lamp's own.
    #[cfg(test)]
    pub(crate) fn new(surfaces: Vec<(Shape, Material)>, light: AreaLight, sky: Sky, camera: Camera) -> Self {
        let surfaces = surfaces.into_iter().map(|(shape, material)| (shape, material.into())).collect();
        Shapes { surfaces, ..Shapes::default() }.into_scene(light, sky, camera)
    }

    /// The shapes in the order in which the tree's leaves have them, with their materials.
    pub(crate) fn in_leaf_order(&self) -> impl Iterator<Item = (&Shape, &Material)> {
        self.bvh.order.iter().map(|index| (&self.shapes[*index as usize], &self.surfaces[*index as usize].material))
    }

    /// The nearest surface on the ray's way.
    pub(crate) fn hit(&self, ray: &Ray) -> Option<Hit> {
        let (index, distance) = self.bvh.nearest(&self.shapes, ray)?;
        let point = ray.at(distance);
        let Surface { material, corners, texture } = self.surfaces[index];
        let facing = Facing::new(ray.direction, self.shapes[index].normal_at(point));
        let plain = Hit { point, distance, facing, material, flat_normal: None };
        let (Shape::Triangle(triangle), Some(corners)) = (&self.shapes[index], corners) else { return Some(plain) };
        let (corners, weights) = (&self.corners[corners as usize], triangle.weights(point));
        let material =
            texture.map_or(material, |texture| material.filtered(self.textures[texture as usize].at(corners.place(weights))));
        let round = corners.normal(weights).and_then(|normal| facing.rounded(ray.direction, normal));
        Some(match round {
            Some(round) => Hit { facing: round, material, flat_normal: Some(facing.normal), ..plain },
            None => Hit { material, ..plain },
        })
    }

    /// Whether anything stands on the ray's way before `distance`.
    pub(crate) fn is_blocked(&self, ray: &Ray, distance: f32) -> bool {
        self.bvh.is_blocked(&self.shapes, ray, distance)
    }
}

/// How bright the photograph is here: its mean is 1.
const DAWN_STRENGTH: f32 = 0.34;

/// The ground runs so far to each side.
const GROUND_HALF: f32 = 300.0;

/// An image of the ground is so wide.
const GROUND_IMAGE: f32 = 3.2;

/// The height of the block that a model stands on.
const BLOCK_HEIGHT: f32 = 0.34;

impl Frame {
    /// Of the part of a whole turn that the frame is at.
    fn sine_cosine(self) -> (f32, f32) {
        sine_cosine_of_turn(self.number, self.count)
    }
}

/// A warm lantern from the left.
fn lantern() -> AreaLight {
    AreaLight { radiance: vec3(20.0, 12.5, 6.5), ..lamp() }
}

/// The camera, so far from where it is at first.
fn camera(offset: Vec3) -> Camera {
    Camera::new(View {
        eye: vec3(0.6, 1.75, 8.2) + offset,
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

fn evening() -> Evening {
    Evening {
        zenith: vec3(0.035, 0.07, 0.19),
        dusk: vec3(0.1, 0.13, 0.29),
        sunset: vec3(1.9, 0.7, 0.2),
        sun: vec3(0.55, 0.06, -0.83).normalized(),
    }
}

/// The shapes of a scene that is being put together.
#[derive(Debug, Default)]
struct Shapes {
    surfaces: Vec<(Shape, Surface)>,
    corners: Vec<Corners>,
    textures: Vec<Texture>,
}

impl Shapes {
    /// The scene of these shapes and the lamp's own.
    fn into_scene(self, light: AreaLight, sky: Sky, camera: Camera) -> Scene {
        let shine = Surface::from(Material::Light { radiance: light.radiance });
        let lamp = light.triangles().map(|triangle| (Shape::Triangle(triangle), shine));
        let (shapes, surfaces): (Vec<_>, Vec<_>) = self.surfaces.into_iter().chain(lamp).unzip();
        let Self { corners, textures, .. } = self;
        Scene { camera, light, sky, bvh: Bvh::new(&shapes), shapes, surfaces, corners, textures }
    }

    /// An image's number.
    fn add_texture(&mut self, image: &crate::texture::Image) -> u32 {
        self.textures.push(Texture::new(image));
        self.textures.len() as u32 - 1
    }

    fn add_textured(&mut self, triangles: impl IntoIterator<Item = (Triangle, Corners)>, material: Material, texture: u32) {
        for (triangle, corners) in triangles {
            let surface = Surface { material, corners: Some(self.corners.len() as u32), texture: Some(texture) };
            self.corners.push(corners);
            self.surfaces.push((Shape::Triangle(triangle), surface));
        }
    }

    fn add_triangles(&mut self, triangles: impl IntoIterator<Item = Triangle>, material: Material) {
        self.surfaces.extend(triangles.into_iter().map(|triangle| (Shape::Triangle(triangle), material.into())));
    }

    fn add_gravel(&mut self, texture: u32) {
        let half = GROUND_HALF;
        let ground = parallelogram(vec3(-half, 0.0, half), vec3(2.0 * half, 0.0, 0.0), vec3(0.0, 0.0, -2.0 * half));
        let place = |corner: Vec3| (corner.x / GROUND_IMAGE, -corner.z / GROUND_IMAGE);
        let corners = |Triangle { corner, edge_1, edge_2 }: Triangle| Corners {
            normals: None,
            places: [corner, corner + edge_1, corner + edge_2].map(place),
        };
        let tint = Material::Diffuse { albedo: vec3(1.0, 0.93, 0.88) };
        self.add_textured(ground.map(|triangle| (triangle, corners(triangle))), tint, texture);
    }

    fn add_model(&mut self, model: &Model, paint: u32, frame: Frame) {
        let foot = vec3(0.0, BLOCK_HEIGHT, 0.2);
        let triangles = model.mesh.standing(foot, frame.sine_cosine(), 1.75, 2.3);
        self.add_textured(triangles, Material::Coated { albedo: Vec3::splat(0.97) }, paint);
        let slate = Material::Coated { albedo: vec3(0.09, 0.088, 0.095) };
        self.add_triangles(block(vec3(-2.3, 0.0, -1.3), vec3(2.3, BLOCK_HEIGHT, 1.75)), slate);
    }

    fn add_treasure(&mut self, frame: Frame) {
        let gold = vec3(1.0, 0.71, 0.29);
        let copper = vec3(0.95, 0.6, 0.47);
        let steel = vec3(0.78, 0.8, 0.84);
        self.add_ball(-3.35, -0.9, 0.95, Material::Metal { tint: gold, fuzz: 0.12 });
        self.add_ball(3.5, -1.6, 1.15, Material::Metal { tint: steel, fuzz: 0.015 });
        self.add_ball(2.75, 2.3, 0.34, Material::Metal { tint: copper, fuzz: 0.22 });
        self.add_ball(-2.75, 2.2, 0.3, Material::Coated { albedo: vec3(0.05, 0.33, 0.32) });
        let (sine, cosine) = frame.sine_cosine();
        self.add_ball(
            -1.2 * cosine - 2.75 * sine,
            2.9 * cosine - 1.0 * sine,
            0.42,
            Material::Glass { tint: Vec3::splat(0.99), index: 1.5 },
        );
        self.add_crystals(vec3(-2.0, -0.15, -2.6), 0.9);
        self.add_crystals(vec3(5.2, -0.15, -4.2), 0.75);
    }

    /// A sphere that lies on the ground.
    fn add_ball(&mut self, x: f32, z: f32, radius: f32, material: Material) {
        self.surfaces.push((Shape::Sphere(Sphere { centre: vec3(x, radius, z), radius }), material.into()));
    }

    fn add_slate(&mut self) {
        let ground = parallelogram(vec3(-300.0, 0.0, 300.0), vec3(600.0, 0.0, 0.0), vec3(0.0, 0.0, -600.0));
        self.add_triangles(ground, Material::Coated { albedo: vec3(0.23, 0.22, 0.22) });
    }

    fn add_quartz(&mut self) {
        self.add_crystals(vec3(0.0, -0.15, -0.2), 1.0);
    }

    /// A group of crystals that grow from one place, all `scale` times as large.
    fn add_crystals(&mut self, foot: Vec3, scale: f32) {
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
            let (tip, radius) = (tip * scale, radius * scale);
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
