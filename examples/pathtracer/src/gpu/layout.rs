//! The scene as the shaders have it. WGSL aligns a `vec3f` to 16 bytes and puts a number that follows it into the gap.

use bytemuck::{Pod, Zeroable};

use crate::bvh::{self, NodeKind};
use crate::geometry;
use crate::material;
use crate::sampler::strata;
use crate::scene::Scene;
use crate::sky::Evening;
use crate::tile::Tile;
use crate::vec3::{Vec3, vec3};

/// All that the invocations of a band share. As long as an offset of a binding is a multiple of.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct View {
    eye: [f32; 3],
    half_height: f32,
    right: [f32; 3],
    lens_radius: f32,
    up: [f32; 3],
    samples: u32,
    to_focus: [f32; 3],
    columns: u32,
    lamp_corner: [f32; 3],
    rows: u32,
    lamp_edge_1: [f32; 3],
    width: u32,
    lamp_edge_2: [f32; 3],
    height: u32,
    lamp_radiance: [f32; 3],
    tile_x: u32,
    zenith: [f32; 3],
    tile_y: u32,
    dusk: [f32; 3],
    tile_width: u32,
    sunset: [f32; 3],
    first: u32,
    sun: [f32; 3],
    pub(crate) count: u32,
    seed: [u32; 2],
    unused: [u32; 14],
}

impl View {
    /// The band of `count` pixels of a tile from the pixel `first` on.
    pub(crate) fn new(scene: &Scene, sky: &Evening, tile: &Tile, first: u32, count: u32) -> Self {
        let Scene { camera, light, .. } = scene;
        let picture = &tile.picture;
        let seed = picture.frame_seed();
        let (columns, rows) = strata(picture.samples);
        Self {
            eye: array(camera.eye),
            half_height: camera.half_height,
            right: array(camera.right),
            lens_radius: camera.lens_radius,
            up: array(camera.up),
            samples: picture.samples,
            to_focus: array(camera.to_focus),
            columns,
            lamp_corner: array(light.corner),
            rows,
            lamp_edge_1: array(light.edge_1),
            width: picture.width,
            lamp_edge_2: array(light.edge_2),
            height: picture.height,
            lamp_radiance: array(light.radiance),
            tile_x: tile.x,
            zenith: array(sky.zenith),
            tile_y: tile.y,
            dusk: array(sky.dusk),
            tile_width: tile.w,
            sunset: array(sky.sunset),
            first,
            sun: array(sky.sun),
            count,
            seed: [seed as u32, (seed >> 32) as u32],
            unused: [0; 14],
        }
    }
}

/// A box, and its children or its shapes.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Node {
    low: [f32; 3],
    a: u32,
    high: [f32; 3],
    b: u32,
}

/// What marks a leaf.
const LEAF: u32 = 1 << 31;

impl From<&bvh::Node> for Node {
    fn from(node: &bvh::Node) -> Self {
        let (a, b) = match node.kind {
            NodeKind::Branch { left, right } => (left, right),
            NodeKind::Leaf { first, count } => (first | LEAF, count),
        };
        Self { low: array(node.bounds.low), a, high: array(node.bounds.high), b }
    }
}

/// A sphere or a triangle.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Shape {
    place: [f32; 3],
    kind: u32,
    edge_1: [f32; 3],
    radius: f32,
    edge_2: [f32; 3],
    unused: u32,
}

impl From<&geometry::Shape> for Shape {
    fn from(shape: &geometry::Shape) -> Self {
        match shape {
            geometry::Shape::Sphere(sphere) => Self { place: array(sphere.centre), radius: sphere.radius, ..Self::zeroed() },
            geometry::Shape::Triangle(triangle) => Self {
                place: array(triangle.corner),
                kind: 1,
                edge_1: array(triangle.edge_1),
                edge_2: array(triangle.edge_2),
                ..Self::zeroed()
            },
        }
    }
}

/// What a surface does with light.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Material {
    colour: [f32; 3],
    kind: u32,
    number: f32,
    unused: [u32; 3],
}

impl From<&material::Material> for Material {
    fn from(material: &material::Material) -> Self {
        let (kind, colour, number) = match *material {
            material::Material::Diffuse { albedo } => (0, albedo, 0.0),
            material::Material::Coated { albedo } => (1, albedo, 0.0),
            material::Material::Metal { tint, fuzz } => (2, tint, fuzz),
            material::Material::Glass { tint, index } => (3, tint, index),
            material::Material::Light { radiance } => (4, radiance, 0.0),
        };
        Self { colour: array(colour), kind, number, unused: [0; 3] }
    }
}

/// A pixel between two samples.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Pixel {
    light: [f32; 3],
    sample: u32,
    rng: [u32; 2],
    pattern: u32,
    unused: u32,
}

impl Pixel {
    /// The sum over the samples.
    pub(crate) fn light(&self) -> Vec3 {
        let [x, y, z] = self.light;
        vec3(x, y, z)
    }
}

fn array(Vec3 { x, y, z }: Vec3) -> [f32; 3] {
    [x, y, z]
}
