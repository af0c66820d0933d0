// The scene as `gpu.rs` lays it out, and what a ray meets in it, as in `bvh.rs` and `geometry.rs`.

struct View {
    eye: vec3f,
    half_height: f32,
    right: vec3f,
    lens_radius: f32,
    up: vec3f,
    samples: u32,
    to_focus: vec3f,
    columns: u32,
    lamp_corner: vec3f,
    rows: u32,
    lamp_edge_1: vec3f,
    width: u32,
    lamp_edge_2: vec3f,
    height: u32,
    lamp_radiance: vec3f,
    tile_x: u32,
    zenith: vec3f,
    tile_y: u32,
    dusk: vec3f,
    tile_width: u32,
    sunset: vec3f,
    /// The first pixel of the band, and how many it has.
    first: u32,
    sun: vec3f,
    count: u32,
    seed: vec2u,
}

/// A box, and either its children or, with `LEAF` in `a`, so many shapes from one on.
struct Node {
    low: vec3f,
    a: u32,
    high: vec3f,
    b: u32,
}

const LEAF = 0x80000000u;

struct Shape {
    /// A sphere's centre, or a triangle's corner.
    place: vec3f,
    kind: u32,
    edge_1: vec3f,
    radius: f32,
    edge_2: vec3f,
}

const SPHERE = 0u;

struct Material {
    colour: vec3f,
    kind: u32,
    /// A metal's fuzz, or the glass's index of refraction.
    number: f32,
}

@group(0) @binding(0) var<uniform> view: View;
@group(0) @binding(1) var<storage, read> nodes: array<Node>;
/// In the order of the leaves.
@group(0) @binding(2) var<storage, read> shapes: array<Shape>;
/// One for each shape.
@group(0) @binding(3) var<storage, read> materials: array<Material>;

struct Ray {
    origin: vec3f,
    direction: vec3f,
}

const DISTANCE_MIN = 1e-3;
/// Farther than anything.
const FAR = 3e38;
const NOTHING = 0xffffffffu;
/// At every level of the tree at most one sibling waits.
const WAITING_MAX = 33u;

/// The nearest shape that a ray meets before a limit, and how far away; where `any`, the first that is found.
fn walk(ray: Ray, limit: f32, any: bool) -> Hit {
    let inverse = inverse_of(ray.direction);
    var waiting: array<u32, WAITING_MAX>;
    var waiting_at: array<f32, WAITING_MAX>;
    var depth = 0u;
    var hit = Hit(NOTHING, limit);
    var node = select(NOTHING, 0u, enter(0u, ray.origin, inverse, limit) < limit);
    loop {
        if node == NOTHING {
            if depth == 0u {
                break;
            }
            depth--;
            // What was found since may be nearer than this box.
            if waiting_at[depth] < hit.distance {
                node = waiting[depth];
            }
            continue;
        }
        let at = nodes[node];
        if (at.a & LEAF) != 0u {
            let first = at.a & ~LEAF;
            for (var shape = first; shape < first + at.b; shape++) {
                let distance = intersect(shape, ray, hit.distance);
                if distance < hit.distance {
                    hit = Hit(shape, distance);
                    if any {
                        return hit;
                    }
                }
            }
            node = NOTHING;
            continue;
        }
        let to_a = enter(at.a, ray.origin, inverse, hit.distance);
        let to_b = enter(at.b, ray.origin, inverse, hit.distance);
        let near = select(at.b, at.a, to_a <= to_b);
        if max(to_a, to_b) < hit.distance {
            waiting[depth] = select(at.a, at.b, to_a <= to_b);
            waiting_at[depth] = max(to_a, to_b);
            depth++;
        }
        node = select(NOTHING, near, min(to_a, to_b) < hit.distance);
    }
    return hit;
}

struct Hit {
    shape: u32,
    distance: f32,
}

/// One over each component; where that would be infinite, which WGSL does not promise to have, a number that no distance reaches.
fn inverse_of(direction: vec3f) -> vec3f {
    let least = vec3f(1e-30);
    return 1.0 / select(direction, select(-least, least, direction >= vec3f(0.0)), abs(direction) < least);
}

/// How far away a ray enters a node's box; `FAR` where it does not before the limit.
fn enter(node: u32, origin: vec3f, inverse: vec3f, limit: f32) -> f32 {
    let a = (nodes[node].low - origin) * inverse;
    let b = (nodes[node].high - origin) * inverse;
    let least = min(a, b);
    let most = max(a, b);
    let near = max(max(least.x, least.y), least.z);
    let far = min(min(most.x, most.y), most.z);
    return select(FAR, max(near, 0.0), near <= far && far >= 0.0 && near < limit);
}

/// How far away a ray meets a shape, beyond `DISTANCE_MIN`; `FAR` where it does not before the limit.
fn intersect(shape: u32, ray: Ray, limit: f32) -> f32 {
    if shapes[shape].kind == SPHERE {
        return intersect_sphere(shapes[shape].place, shapes[shape].radius, ray, limit);
    }
    return intersect_triangle(shape, ray, limit);
}

fn intersect_sphere(centre: vec3f, radius: f32, ray: Ray, limit: f32) -> f32 {
    let to_centre = centre - ray.origin;
    let middle = dot(to_centre, ray.direction);
    let miss = to_centre - ray.direction * middle;
    let half_squared = radius * radius - dot(miss, miss);
    if half_squared < 0.0 {
        return FAR;
    }
    let half = sqrt(half_squared);
    if middle - half >= DISTANCE_MIN && middle - half < limit {
        return middle - half;
    }
    return select(FAR, middle + half, middle + half >= DISTANCE_MIN && middle + half < limit);
}

fn intersect_triangle(shape: u32, ray: Ray, limit: f32) -> f32 {
    let edge_1 = shapes[shape].edge_1;
    let edge_2 = shapes[shape].edge_2;
    let p = cross(ray.direction, edge_2);
    let determinant = dot(edge_1, p);
    if determinant == 0.0 {
        return FAR;
    }
    let scale = 1.0 / determinant;
    let from_corner = ray.origin - shapes[shape].place;
    let u = dot(from_corner, p) * scale;
    let q = cross(from_corner, edge_1);
    let v = dot(ray.direction, q) * scale;
    let distance = dot(edge_2, q) * scale;
    let is_inside = u >= 0.0 && u <= 1.0 && v >= 0.0 && u + v <= 1.0;
    return select(FAR, distance, is_inside && distance >= DISTANCE_MIN && distance < limit);
}

/// The unit normal at a point, to the outside.
fn normal_at(shape: u32, point: vec3f) -> vec3f {
    if shapes[shape].kind == SPHERE {
        return normalize(point - shapes[shape].place);
    }
    return normalize(cross(shapes[shape].edge_1, shapes[shape].edge_2));
}

/// The sky's light from a unit direction.
fn sky(direction: vec3f) -> vec3f {
    let low = 1.0 - abs(direction.y);
    let low_4 = low * low * low * low;
    let glow = 0.5 + 0.5 * dot(direction, view.sun);
    let glow_4 = glow * glow * glow * glow;
    return mix(view.zenith, view.dusk, low_4) + view.sunset * (low_4 * low_4 * low_4 * (0.12 + 0.88 * glow_4));
}

/// The ray through a place of the picture and a place of the lens.
fn camera_ray(place: vec2f, lens: vec2f) -> Ray {
    let p = disc(lens);
    let on_lens = view.right * (p.x * view.lens_radius) + view.up * (p.y * view.lens_radius);
    let in_focus = view.to_focus + view.right * (place.x * view.half_height) + view.up * (place.y * view.half_height);
    return Ray(view.eye + on_lens, normalize(in_focus - on_lens));
}
