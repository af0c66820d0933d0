//! The same picture by the job's GPU: the scene laid out for shaders that do what `tile.rs` and all below it do, one sample of many pixels
//! at a time.

mod layout;

use adit_guest::gpu::{self, Buffer, Gpu, Pipeline};

use self::layout::{Material, Node, Pixel, Shape, View};
use crate::scene::Scene;
use crate::sky::Sky;
use crate::subject::Subject;
use crate::tile::{Pixels, RenderError, Tile, encode};

const WGSL: &str = concat!(include_str!("gpu/sampler.wgsl"), include_str!("gpu/scene.wgsl"), include_str!("gpu/trace.wgsl"));
/// Invocations of a workgroup, as the shaders have it.
const WORKGROUP: u32 = 64;
/// Pixels of a dispatch: enough to fill a GPU, and few enough that the slowest ends well within what a node gives a dispatch.
const BAND_PIXELS: u32 = 1 << 13;
/// Samples between two reports: the GPU stands still while one is waited for.
const REPORT_SAMPLES: u32 = 8;

/// Renders a tile of [`Subject::Adit`] on the GPU, with all of its samples in each pixel, and calls `progress` with the finished and all samples now and then.
///
/// The random numbers are those of [`render`](crate::render) to the last bit. The arithmetic is not: a GPU may round a division, a root
/// or a product that is added to another way, and now and then a path takes another turn for it. The mean difference of a byte is at most
/// 0.05, and that of all but a thousandth of the bytes at most 4.
///
/// # Errors
/// The tile is none of a picture, or larger than the limits above; or the picture is one that the shaders do not render: they know
/// neither meshes nor textures nor environments, and every pixel takes all of its samples. Or what the job may have of the GPU is too little for it: 32 bytes
/// for each pixel, and a dispatch for each sample of 8,192 pixels.
pub fn render_on(gpu: &Gpu, tile: &Tile, subject: &Subject, progress: impl FnMut(u64, u64)) -> Result<Pixels, RenderError> {
    if *subject != Subject::Adit {
        return Err(RenderError::OnlyOnCpu("the scene that is built in, and no model"));
    }
    if tile.picture.noise != 0 {
        return Err(RenderError::OnlyOnCpu("all paths of a pixel, and does not stop where little noise is left"));
    }
    render_by(WGSL, gpu, tile, progress)
}

fn render_by(wgsl: &str, gpu: &Gpu, tile: &Tile, mut progress: impl FnMut(u64, u64)) -> Result<Pixels, RenderError> {
    tile.check()?;
    let samples = tile.picture.samples;
    let tracer = Tracer::new(wgsl, gpu, tile)?;
    tracer.dispatch(&tracer.begin)?;
    for sample in 1..=samples {
        tracer.dispatch(&tracer.trace)?;
        if sample.is_multiple_of(REPORT_SAMPLES) || sample == samples {
            gpu.finish()?;
            progress(sample.into(), samples.into());
        } else {
            gpu.submit()?;
        }
    }
    let colours = tracer.pixels.read()?.into_iter().map(|pixel| pixel.light() / samples as f32);
    let paths = u64::from(tile.w) * u64::from(tile.h) * u64::from(samples);
    Ok(Pixels { tile: *tile, paths, rgb: colours.flat_map(encode).collect() })
}

struct Tracer<'a> {
    gpu: &'a Gpu,
    begin: Pipeline,
    trace: Pipeline,
    bands: Buffer<View>,
    band_pixels: Vec<u32>,
    nodes: Buffer<Node>,
    shapes: Buffer<Shape>,
    materials: Buffer<Material>,
    pixels: Buffer<Pixel>,
}

impl<'a> Tracer<'a> {
    fn new(wgsl: &str, gpu: &'a Gpu, tile: &Tile) -> Result<Self, gpu::Error> {
        let scene = Scene::adit(tile.picture.frame);
        let Sky::Evening(evening) = scene.sky else { unreachable!("the adit is seen in the evening") };
        let (shapes, materials): (Vec<_>, Vec<_>) =
            scene.in_leaf_order().map(|(shape, material)| (Shape::from(shape), Material::from(material))).unzip();
        let bands: Vec<View> = (0..tile.w * tile.h)
            .step_by(BAND_PIXELS as usize)
            .map(|first| View::new(&scene, &evening, tile, first, BAND_PIXELS.min(tile.w * tile.h - first)))
            .collect();
        Ok(Self {
            gpu,
            begin: gpu.pipeline(wgsl, "begin")?,
            trace: gpu.pipeline(wgsl, "trace")?,
            bands: gpu.buffer_from(&bands)?,
            band_pixels: bands.iter().map(|band| band.count).collect(),
            nodes: gpu.buffer_from(&scene.bvh.nodes.iter().map(Node::from).collect::<Vec<_>>())?,
            shapes: gpu.buffer_from(&shapes)?,
            materials: gpu.buffer_from(&materials)?,
            pixels: gpu.buffer(tile.w as usize * tile.h as usize)?,
        })
    }

    /// Records a pipeline for all pixels, band by band.
    fn dispatch(&self, pipeline: &Pipeline) -> Result<(), gpu::Error> {
        for (band, pixels) in self.band_pixels.iter().enumerate() {
            let bindings = [
                self.bands.range_at(0, band..=band)?,
                self.nodes.at(1),
                self.shapes.at(2),
                self.materials.at(3),
                self.pixels.at(4),
            ];
            self.gpu.dispatch(pipeline, &bindings, [pixels.div_ceil(WORKGROUP), 1, 1])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampler::{Pcg32, permute};
    use crate::tile::{Picture, tiles};

    /// Numbers of each pixel, and places in a permutation.
    const DRAWN: u32 = 40;
    const DRAW: &str = "
        @group(0) @binding(0) var<storage, read_write> drawn: array<u32>;
        @group(0) @binding(1) var<uniform> seed: vec2u;

        @compute @workgroup_size(1)
        fn draw(@builtin(workgroup_id) id: vec3u) {
            numbers.rng = rng_of(seed, id.xy);
            for (var i = 0u; i < 40u; i++) {
                let number = next_u32();
                drawn[id.x * 80u + i] = number;
                drawn[id.x * 80u + 40u + i] = permute(i % (id.x + 1u), id.x + 1u, number);
            }
        }
    ";

    fn gpu() -> Gpu {
        Gpu::open().expect("`cargo xtask setup` installs a software GPU where there is no other")
    }

    #[test]
    fn random_numbers_are_those_of_the_cpu_to_the_last_bit() {
        let gpu = gpu();
        let draw = gpu.pipeline(&[include_str!("gpu/sampler.wgsl"), DRAW].concat(), "draw").unwrap();
        for seed in [0, 1, 0xffff_ffff, 1 << 32, 0x0123_4567_89ab_cdef, u64::MAX] {
            let pixels = 70;
            let drawn = gpu.buffer::<u32>(pixels as usize * 2 * DRAWN as usize).unwrap();
            let seed_words = gpu.buffer_from(&[seed as u32, (seed >> 32) as u32]).unwrap();
            gpu.dispatch(&draw, &[drawn.at(0), seed_words.at(1)], [pixels, 1, 1]).unwrap();
            let expected = (0..pixels).flat_map(|x| {
                let mut rng = Pcg32::of_pixel(seed, x, 0);
                let numbers: Vec<u32> = (0..DRAWN).map(|_| rng.next_u32()).collect();
                let places: Vec<u32> = (0..DRAWN).map(|i| permute(i % (x + 1), x + 1, numbers[i as usize])).collect();
                [numbers, places].concat()
            });
            assert!(drawn.read().unwrap().into_iter().eq(expected), "seed {seed:#x}");
        }
    }

    /// Vulkan lets a division be off by 2.5 units in the last place, 3e-7, and a root by some more; lavapipe's are not. So here they are
    /// made ten times as wrong as that, one way or the other by chance, wherever distances and directions are made.
    const ROUGH: &str = "
        fn rough(n: f32) -> f32 {
            return n * select(0.999997, 1.000003, ((bitcast<u32>(n) * 0x9e3779b9u) >> 31u) == 1u);
        }
        fn rough_sqrt(n: f32) -> f32 { return rough(sqrt(n)); }
        fn rough_normalize(v: vec3f) -> vec3f { return v * rough(inverseSqrt(dot(v, v))); }
    ";

    /// The mean difference of two pictures' bytes, and that which a thousandth of them exceeds.
    fn difference(a: &[u8], b: &[u8]) -> (f64, u8) {
        let mut differences: Vec<u8> = a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).collect();
        differences.sort_unstable();
        let mean = differences.iter().map(|n| f64::from(*n)).sum::<f64>() / differences.len() as f64;
        (mean, differences[differences.len() - 1 - differences.len() / 1000])
    }

    #[test]
    fn arithmetic_ten_times_as_rough_as_vulkan_allows_stays_within_the_tolerance() {
        let rough = WGSL.replace(" sqrt(", " rough_sqrt(").replace("normalize(", "rough_normalize(");
        let rough =
            rough.replace("1.0 / determinant", "rough(1.0 / determinant)").replace("share / chance", "rough(share / chance)");
        let rough = [&rough, ROUGH].concat();
        let picture = Picture::still(64, 36, 8, 3);
        let tile = tiles(picture, 64).next().expect("a picture has a tile");
        let exact = render_on(&gpu(), &tile, &Subject::Adit, |_, _| ()).unwrap().rgb;
        let rough = render_by(&rough, &gpu(), &tile, |_, _| ()).unwrap().rgb;
        let (mean, thousandth) = difference(&exact, &rough);

        assert!(mean > 0.0, "the roughness shows");
        assert!(mean <= 0.05 && thousandth <= 4, "{mean}, {thousandth}");
    }
}
