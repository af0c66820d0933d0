// One path for each pixel of a band, as in `material.rs`, `radiance.rs` and `tile.rs`.

struct Pixel {
    /// The sum over the samples so far.
    light: vec3f,
    sample: u32,
    rng: vec2u,
    pattern: u32,
}

@group(0) @binding(4) var<storage, read_write> pixels: array<Pixel>;

const DIFFUSE = 0u;
const COATED = 1u;
const METAL = 2u;
const GLASS = 3u;

const COAT_INDEX = 1.5;
const MIRROR_CHANCE_MIN = 0.2;
const SURFACES_MAX = 16u;
const ROULETTE_FROM = 5u;
const SCATTERED_MAX = 1.0;
const ONE_OVER_PI = 0.318309886;
const DENSITY_MIN = 1e-10;

/// Where a ray meets a surface, on the side that it comes from.
struct Surface {
    point: vec3f,
    normal: vec3f,
    is_outer: bool,
    material: u32,
}

/// What becomes of a ray at a surface.
struct Scatter {
    kind: u32,
    /// Where it goes on, if it is directed.
    direction: vec3f,
    /// The share of light that goes on, or the light of a lamp.
    colour: vec3f,
}

const ABSORBED = 0u;
const EMITTED = 1u;
const DIRECTED = 2u;
const SCATTERED = 3u;

/// The path that an invocation follows.
struct Path {
    light: vec3f,
    throughput: vec3f,
    is_scattered: bool,
    /// How likely its direction was, where the lamp was asked for its own too; else 0.
    density: f32,
}

var<private> path: Path;

/// Begins the pixels of a band.
@compute @workgroup_size(64)
fn begin(@builtin(global_invocation_id) id: vec3u) {
    if id.x >= view.count {
        return;
    }
    let at = view.first + id.x;
    let place = vec2u(view.tile_x + at % view.tile_width, view.tile_y + at / view.tile_width);
    numbers.rng = rng_of(view.seed, place);
    let pattern = next_u32();
    pixels[at] = Pixel(vec3f(0.0), 0u, numbers.rng, pattern);
}

/// Adds one sample to each pixel of a band.
@compute @workgroup_size(64)
fn trace(@builtin(global_invocation_id) id: vec3u) {
    if id.x >= view.count {
        return;
    }
    let at = view.first + id.x;
    let pixel = pixels[at];
    numbers = Sampler(pixel.rng, pixel.pattern, view.columns, view.rows, view.samples, pixel.sample, 0u);
    let corner = vec2u(view.tile_x + at % view.tile_width, view.tile_y + at / view.tile_width);
    let point = pair();
    let x = f32(corner.x) + 0.5 + tent(point.x);
    let y = f32(corner.y) + 0.5 + tent(point.y);
    let size = vec2f(f32(view.width), f32(view.height));
    let place = vec2f(2.0 * x - size.x, size.y - 2.0 * y) / size.y;
    let light = radiance(camera_ray(place, pair()));
    pixels[at] = Pixel(pixel.light + light, pixel.sample + 1u, numbers.rng, pixel.pattern);
}

/// A number in (-1, 1) for one in [0, 1), the more likely the nearer to 0.
fn tent(n: f32) -> f32 {
    if n < 0.5 {
        return sqrt(2.0 * n) - 1.0;
    }
    return 1.0 - sqrt(2.0 - 2.0 * n);
}

/// The light that comes back along a ray, estimated by one path.
fn radiance(from_camera: Ray) -> vec3f {
    var ray = from_camera;
    path = Path(vec3f(0.0), vec3f(1.0), false, 0.0);
    for (var surface = 0u; surface < SURFACES_MAX; surface++) {
        let hit = walk(ray, FAR, false);
        if hit.shape == NOTHING {
            add(sky(ray.direction));
            break;
        }
        let met = surface_of(ray, hit);
        let scatter = scatter_at(met, ray.direction);
        var direction = scatter.direction;
        if scatter.kind == ABSORBED {
            break;
        }
        if scatter.kind == EMITTED {
            add(scatter.colour * share(ray.direction, hit.distance));
            break;
        }
        path.throughput *= scatter.colour;
        path.density = 0.0;
        if scatter.kind == SCATTERED {
            add(lamp_light(met, pair()));
            direction = cosine_hemisphere(met.normal, pair());
            path.density = dot(direction, met.normal) * ONE_OVER_PI;
        }
        if surface >= ROULETTE_FROM && !survives(number()) {
            break;
        }
        path.is_scattered = true;
        ray = Ray(met.point, direction);
    }
    return path.light;
}

/// The share that the path has in the lamp that it found.
fn share(direction: vec3f, distance: f32) -> f32 {
    if path.density == 0.0 {
        return 1.0;
    }
    return power_share(path.density, distance * distance / area_seen(direction));
}

/// The lamp's area as seen along a direction.
fn area_seen(direction: vec3f) -> f32 {
    return -dot(cross(view.lamp_edge_1, view.lamp_edge_2), direction);
}

/// The share of one way to find the lamp, of two with these densities.
fn power_share(own: f32, other: f32) -> f32 {
    let ratio = other / max(own, DENSITY_MIN);
    return 1.0 / (1.0 + ratio * ratio);
}

fn add(radiance: vec3f) {
    let light = radiance * path.throughput;
    let brightest = max(max(light.x, light.y), light.z);
    let scale = select(1.0, SCATTERED_MAX / brightest, path.is_scattered && brightest > SCATTERED_MAX);
    path.light += light * scale;
}

fn survives(number: f32) -> bool {
    let brightest = max(max(path.throughput.x, path.throughput.y), path.throughput.z);
    let chance = clamp(brightest, 0.05, 1.0);
    path.throughput *= 1.0 / chance;
    return number < chance;
}

fn surface_of(ray: Ray, hit: Hit) -> Surface {
    let point = ray.origin + ray.direction * hit.distance;
    let outward = normal_at(hit.shape, point);
    let is_outer = dot(ray.direction, outward) < 0.0;
    return Surface(point, select(-outward, outward, is_outer), is_outer, hit.shape);
}

/// What the lamp sends straight to a diffuse surface and from there to the eye, before the albedo; its share, as a path may find it too.
fn lamp_light(met: Surface, point: vec2f) -> vec3f {
    let offset = view.lamp_corner + view.lamp_edge_1 * point.x + view.lamp_edge_2 * point.y - met.point;
    let distance_squared = dot(offset, offset);
    let distance = sqrt(distance_squared);
    let direction = offset * (1.0 / distance);
    let area = area_seen(direction);
    let density = dot(direction, met.normal) * ONE_OVER_PI;
    if area <= 0.0 || density <= 0.0 {
        return vec3f(0.0);
    }
    if walk(Ray(met.point, direction), distance - DISTANCE_MIN, true).shape != NOTHING {
        return vec3f(0.0);
    }
    let lamp_density = distance_squared / area;
    return view.lamp_radiance * (density / lamp_density * power_share(lamp_density, density));
}

/// One of the ways that a ray can take at a surface, drawn by how much light takes each.
fn scatter_at(met: Surface, direction: vec3f) -> Scatter {
    let material = materials[met.material];
    switch material.kind {
        case DIFFUSE: {
            return Scatter(SCATTERED, vec3f(0.0), material.colour);
        }
        case COATED: {
            let choice = choose(reflectance(-dot(direction, met.normal), COAT_INDEX), number());
            if choice.is_mirrored {
                return Scatter(DIRECTED, reflect(direction, met.normal), vec3f(choice.weight));
            }
            return Scatter(SCATTERED, vec3f(0.0), material.colour * choice.weight);
        }
        case METAL: {
            return fuzzy_mirror(met, direction, material, pair());
        }
        case GLASS: {
            return through_glass(met, direction, material, number());
        }
        default: {
            return Scatter(select(ABSORBED, EMITTED, met.is_outer), vec3f(0.0), material.colour);
        }
    }
}

fn fuzzy_mirror(met: Surface, direction: vec3f, material: Material, point: vec2f) -> Scatter {
    let mirrored = reflect(direction, met.normal);
    let basis = tangents(mirrored);
    let p = disc(point);
    let onward = normalize(mirrored + (basis[0] * p.x + basis[1] * p.y) * material.number);
    return Scatter(select(ABSORBED, DIRECTED, dot(onward, met.normal) > 0.0), onward, material.colour);
}

fn through_glass(met: Surface, direction: vec3f, material: Material, number: f32) -> Scatter {
    let index = material.number;
    let ratio = select(index, 1.0 / index, met.is_outer);
    let mirrored = reflect(direction, met.normal);
    let cosine_in = -dot(direction, met.normal);
    let along = (direction + met.normal * cosine_in) * ratio;
    let left = 1.0 - dot(along, along);
    if left <= 0.0 {
        return Scatter(DIRECTED, mirrored, material.colour);
    }
    let refracted = along - met.normal * sqrt(left);
    let cosine = select(-dot(refracted, met.normal), cosine_in, met.is_outer);
    let choice = choose(reflectance(cosine, index), number);
    return Scatter(DIRECTED, select(refracted, mirrored, choice.is_mirrored), material.colour * choice.weight);
}

struct Choice {
    is_mirrored: bool,
    weight: f32,
}

/// Draws one of two ways by a number from [0, 1).
fn choose(share: f32, number: f32) -> Choice {
    let chance = max(share, MIRROR_CHANCE_MIN);
    if number < chance {
        return Choice(true, share / chance);
    }
    return Choice(false, (1.0 - share) / (1.0 - chance));
}

/// The share of light that a clear surface mirrors, for the cosine to the normal on its thinner side.
fn reflectance(cosine: f32, index: f32) -> f32 {
    let root = (1.0 - index) / (1.0 + index);
    let straight = root * root;
    let away = 1.0 - min(cosine, 1.0);
    let away_squared = away * away;
    return straight + (1.0 - straight) * away_squared * away_squared * away;
}
