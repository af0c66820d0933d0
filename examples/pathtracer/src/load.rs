//! What a subject is made of, from files: the program that submits tiles reads them, and jobs get what is in them.

use std::cell::Cell;
use std::f32::consts::FRAC_PI_2;
use std::io::{self, BufRead, Cursor, Read};

use tobj::LoadOptions;
use zune_core::bytestream::ZCursor;
use zune_core::options::DecoderOptions;
use zune_hdr::HdrDecoder;

use crate::environment::Environment;
use crate::model::Mesh;
use crate::subject::{Subject, SubjectError};
use crate::texture::{IMAGE_SIDE_MAX, Image};
use crate::vec3::{Vec3, max};
use crate::{Model, texture};

/// The most bytes that a decoded image may take.
const IMAGE_BYTES_MAX: usize = 256 << 20;

/// The longest side of a panorama.
const PANORAMA_SIDE_MAX: usize = 8192;

/// Columns of the map that a photograph of all directions becomes.
const MAP_SIDE: u32 = 128;

/// Why a file is not what it should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A line of a mesh's file cannot be read.
    #[error("line {line}: {cause}")]
    Line {
        /// Which, from 1.
        line: usize,
        /// What is wrong there.
        cause: String,
    },
    /// The file reads well, but there is no mesh in it.
    #[error("no face in it")]
    NoFace,
    /// It is no PNG file, or a broken one.
    #[error("no PNG image: {0}")]
    Png(#[from] png::DecodingError),
    /// It is no Radiance file, or a broken one.
    #[error("no Radiance image: {0}")]
    Hdr(String),
    /// What was read makes no subject.
    #[error(transparent)]
    Subject(#[from] SubjectError),
}

impl Mesh {
    /// The mesh in a Wavefront OBJ file, all of its objects together, with polygons cut into triangles. Materials are not read.
    ///
    /// # Errors
    /// With the line, where one cannot be read or a face on or before it names a corner that is not there.
    pub fn from_obj(text: &[u8]) -> Result<Self, LoadError> {
        let lines = Cell::new(0);
        let options = LoadOptions { single_index: true, triangulate: true, ignore_points: true, ignore_lines: true };
        let mut reader = CountedLines { text: Cursor::new(text), lines: &lines };
        let loaded = tobj::load_obj_buf(&mut reader, &options, |_| Ok(Default::default()));
        let (objects, _) = loaded.map_err(|error| LoadError::Line { line: lines.get(), cause: error.to_string() })?;
        let mut mesh = Self { positions: Vec::new(), normals: Vec::new(), places: Vec::new(), triangles: Vec::new() };
        for object in &objects {
            mesh.append(&object.mesh);
        }
        if mesh.triangles.is_empty() {
            return Err(LoadError::NoFace);
        }
        mesh.check()?;
        Ok(mesh)
    }

    fn append(&mut self, object: &tobj::Mesh) {
        let first = self.positions.len() as u32;
        let (positions, _) = object.positions.as_chunks::<3>();
        self.positions.extend(positions);
        // Where some objects have normals and others none, those that have none count as flat.
        fill(&mut self.normals, first as usize, object.normals.as_chunks::<3>().0, self.positions.len());
        fill(&mut self.places, first as usize, object.texcoords.as_chunks::<2>().0, self.positions.len());
        let (triangles, _) = object.indices.as_chunks::<3>();
        self.triangles.extend(triangles.iter().map(|corners| corners.map(|corner| first + corner)));
    }
}

/// Appends what the corners from `first` to `end` have to what those before have; zeros stand for nothing where others have something.
fn fill<const N: usize>(all: &mut Vec<[f32; N]>, first: usize, new: &[[f32; N]], end: usize) {
    if all.is_empty() && new.is_empty() {
        return;
    }
    all.resize(first, [0.0; N]);
    all.extend(new);
    all.resize(end, [0.0; N]);
}

/// Counts the lines that are read of a text: a parser that stops at an error has read to where it is.
struct CountedLines<'a> {
    text: Cursor<&'a [u8]>,
    lines: &'a Cell<usize>,
}

impl Read for CountedLines<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.text.read(buffer)
    }
}

impl BufRead for CountedLines<'_> {
    /// A line at a time, so that each is consumed at once.
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let left = self.text.fill_buf()?;
        let end = left.iter().position(|byte| *byte == b'\n').map_or(left.len(), |end| end + 1);
        Ok(&left[..end])
    }

    fn consume(&mut self, bytes: usize) {
        if bytes > 0 {
            self.lines.set(self.lines.get() + 1);
        }
        self.text.consume(bytes);
    }
}

impl Image {
    /// The image in a PNG file. Transparent parts keep their colour.
    ///
    /// # Errors
    /// It is no PNG file, or has more than [`IMAGE_SIDE_MAX`] texels on a side.
    pub fn from_png(file: &[u8]) -> Result<Self, LoadError> {
        let limits = png::Limits { bytes: IMAGE_BYTES_MAX };
        let mut decoder = png::Decoder::new_with_limits(Cursor::new(file), limits);
        decoder.set_transformations(png::Transformations::normalize_to_color8());
        let mut reader = decoder.read_info()?;
        let (width, height) = (reader.info().width, reader.info().height);
        if width > IMAGE_SIDE_MAX || height > IMAGE_SIDE_MAX {
            return Err(SubjectError::Image { width, height, bytes: 0 }.into());
        }
        let mut texels = vec![0; reader.output_buffer_size().unwrap_or(0)];
        let frame = reader.next_frame(&mut texels)?;
        texels.truncate(frame.buffer_size());
        let rgb = match frame.color_type.samples() {
            samples @ (1 | 2) => texels.chunks_exact(samples).flat_map(|texel| [texel[0]; 3]).collect(),
            samples => texels.chunks_exact(samples).flat_map(|texel| [texel[0], texel[1], texel[2]]).collect(),
        };
        let image = Self { width, height, rgb };
        image.check()?;
        Ok(image)
    }
}

impl Environment {
    /// The environment in a Radiance (`.hdr`) file: a panorama of all directions, as long as a globe's map and as high as half of that.
    ///
    /// # Errors
    /// It is no Radiance file.
    pub fn from_hdr(file: &[u8]) -> Result<Self, LoadError> {
        let options = DecoderOptions::default().set_max_width(PANORAMA_SIDE_MAX).set_max_height(PANORAMA_SIDE_MAX);
        let mut decoder = HdrDecoder::new_with_options(ZCursor::new(file), options);
        let failed = |error: &dyn std::fmt::Debug| LoadError::Hdr(format!("{error:?}"));
        let texels = decoder.decode().map_err(|error| failed(&error))?;
        let (width, height) = decoder.dimensions().ok_or_else(|| LoadError::Hdr("it has no size".to_owned()))?;
        let panorama = Panorama { width, height, texels: texels.as_chunks::<3>().0 };
        if width == 0 || height == 0 || panorama.texels.len() != width * height {
            return Err(LoadError::Hdr(format!("{width}x{height} texels, of which {} are there", panorama.texels.len())));
        }
        Ok(Self::from_fn(MAP_SIDE, |direction| panorama.radiance(direction)))
    }
}

/// Light by longitude from left to right and latitude from the top.
struct Panorama<'a> {
    width: usize,
    height: usize,
    texels: &'a [[f32; 3]],
}

impl Panorama<'_> {
    /// The light from a unit direction, mixed of four texels. Its middle column is where z points away.
    fn radiance(&self, [x, y, z]: [f32; 3]) -> [f32; 3] {
        let level = (x * x + z * z).sqrt();
        let right = 0.5 + 0.25 * angle(x, -z) / FRAC_PI_2;
        let down = 0.5 - 0.5 * angle(y, level) / FRAC_PI_2;
        let (column, across) = texture::straddle(right * self.width as f32 - 0.5);
        let (row, along) = texture::straddle(down * self.height as f32 - 0.5);
        let texel = |column: i32, row: i32| {
            let column = column.rem_euclid(self.width as i32) as usize;
            let row = row.clamp(0, self.height as i32 - 1) as usize;
            let [x, y, z] = self.texels[row * self.width + column];
            Vec3 { x, y, z }
        };
        let upper = texel(column, row).lerp(texel(column + 1, row), across);
        let lower = texel(column, row + 1).lerp(texel(column + 1, row + 1), across);
        let Vec3 { x, y, z } = upper.lerp(lower, along);
        [x, y, z]
    }
}

/// The angle of a direction from the second axis towards the first, from -pi to pi, by a polynomial (Abramowitz and Stegun 4.4.49, off by
/// at most 1e-5): every C library's arc tangent is another, and a subject should be the same wherever it is loaded.
fn angle(side: f32, ahead: f32) -> f32 {
    let (side_abs, ahead_abs) = (side.abs(), ahead.abs());
    let longer = max(side_abs, ahead_abs);
    if longer == 0.0 {
        return 0.0;
    }
    let t = if side_abs < ahead_abs { side_abs / longer } else { ahead_abs / longer };
    let s = t * t;
    let arc = t * (0.999_866 + s * (-0.330_299_5 + s * (0.180_141 + s * (-0.085_133 + s * 0.020_835_1))));
    let arc = if side_abs < ahead_abs { arc } else { FRAC_PI_2 - arc };
    let arc = if ahead < 0.0 { 2.0 * FRAC_PI_2 - arc } else { arc };
    arc.copysign(side)
}

impl Subject {
    /// The model that comes with the path tracer, from the files in `assets/`: the Utah teapot on gravel, at dawn.
    ///
    /// # Errors
    /// Never: a test loads it.
    pub fn teapot() -> Result<Self, LoadError> {
        Ok(Self::Model(Box::new(Model {
            mesh: Mesh::from_obj(include_bytes!("../assets/teapot.obj"))?,
            paint: Image::from_png(include_bytes!("../assets/porcelain.png"))?,
            ground: Image::from_png(include_bytes!("../assets/gravel.png"))?,
            environment: Environment::from_hdr(include_bytes!("../assets/dawn.hdr"))?,
        })))
    }
}

#[cfg(test)]
mod tests {
    use std::f32::consts::SQRT_2;

    use super::*;

    const SQUARE: &str = "# a square and a triangle\nv 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvn 0 0 1\n\
        f 1/1/1 2/2/1 3/3/1 4/2/1\n";

    #[test]
    fn polygons_become_triangles_whose_corners_keep_place_and_normal() {
        let mesh = Mesh::from_obj(SQUARE.as_bytes()).unwrap();
        assert_eq!(mesh.triangles, [[0, 1, 2], [0, 2, 3]]);
        assert_eq!(mesh.positions, [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 1.0, 0.0]]);
        assert_eq!(mesh.places, [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [1.0, 0.0]]);
        assert_eq!(mesh.normals, [[0.0, 0.0, 1.0]; 4]);
    }

    #[test]
    fn objects_of_a_file_are_one_mesh_and_those_without_normals_are_flat() {
        let text = format!("{SQUARE}o second\nv 5 5 5\nf 1 2 5\nf -1 -2 -3\n");
        let mesh = Mesh::from_obj(text.as_bytes()).unwrap();
        assert_eq!(mesh.triangles.len(), 4);
        assert_eq!(mesh.normals.len(), mesh.positions.len());
        let position = |corner: u32| mesh.positions[corner as usize];
        assert_eq!(mesh.triangles[2].map(position), [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [5.0, 5.0, 5.0]]);
        assert_eq!(mesh.triangles[3].map(position), [[5.0, 5.0, 5.0], [0.0, 1.0, 0.0], [1.0, 1.0, 0.0]]);
        assert!(mesh.triangles[2..].iter().flatten().all(|corner| mesh.normals[*corner as usize] == [0.0; 3]));
    }

    #[test]
    fn bad_file_is_refused_with_the_line() {
        let check = |text: &str, expected: &str| {
            let error = Mesh::from_obj(text.as_bytes()).expect_err("the file is bad").to_string();
            assert_eq!(error, expected, "{text:?}");
        };
        check("v 0 0 0\nv 1 x 0\nv 0 1 0\n", "line 2: position parse error");
        check("\n\n# nothing\nv 1 2\n", "line 4: position parse error");
        check("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 one\n", "line 4: face parse error");
        check("v 0 0 0\r\nvn 0 1 up\r\n", "line 2: normal parse error");
        check("v 0 0 0\nvt left\n", "line 2: texcoord parse error");
        check("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 4\n# the end\n", "line 5: face vertex index out of bounds");
        check("v 0 0 0\nv 1 0 0\nv 0 1 0\n", "no face in it");
        check("", "no face in it");
        check("v 0 0 0\nv 1 0 nan\nv 0 1 0\nf 1 2 3\n", "a coordinate of the mesh is not a number from -1e6 to 1e6");
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_with_the_line() {
        let error = Mesh::from_obj(b"v 0 0 0\n\xff\xfe\n").expect_err("no text").to_string();
        assert!(error.starts_with("line 2: "), "{error}");
    }

    #[test]
    fn grey_and_palette_and_alpha_images_are_read() {
        let png = |color, depth, data: &[u8], palette: Option<&[u8]>| {
            let mut file = Vec::new();
            let mut encoder = png::Encoder::new(&mut file, 2, 1);
            encoder.set_color(color);
            encoder.set_depth(depth);
            if let Some(palette) = palette {
                encoder.set_palette(palette.to_vec());
            }
            encoder.write_header().unwrap().write_image_data(data).unwrap();
            Image::from_png(&file).unwrap().rgb
        };
        use png::{BitDepth, ColorType};
        assert_eq!(png(ColorType::Grayscale, BitDepth::Eight, &[7, 200], None), [7, 7, 7, 200, 200, 200]);
        assert_eq!(png(ColorType::Grayscale, BitDepth::One, &[0b0100_0000], None), [0, 0, 0, 255, 255, 255]);
        assert_eq!(png(ColorType::Rgba, BitDepth::Eight, &[1, 2, 3, 0, 4, 5, 6, 255], None), [1, 2, 3, 4, 5, 6]);
        assert_eq!(png(ColorType::Rgb, BitDepth::Sixteen, &[1, 9, 2, 9, 3, 9, 4, 9, 5, 9, 6, 9], None), [1, 2, 3, 4, 5, 6]);
        assert_eq!(png(ColorType::Indexed, BitDepth::Eight, &[1, 0], Some(&[1, 2, 3, 4, 5, 6])), [4, 5, 6, 1, 2, 3]);
    }

    #[test]
    fn what_is_no_image_is_refused() {
        assert!(matches!(Image::from_png(b"GIF89a"), Err(LoadError::Png(_))));
        let whole = include_bytes!("../assets/gravel.png");
        assert!(matches!(Image::from_png(&whole[..whole.len() / 2]), Err(LoadError::Png(_))));
        let whole = include_bytes!("../assets/dawn.hdr");
        for file in [&b"#?RADIUM\n"[..], b"", &whole[..whole.len() / 2], &whole[..20]] {
            assert!(matches!(Environment::from_hdr(file), Err(LoadError::Hdr(_))));
        }
    }

    #[test]
    fn angles_agree_with_the_library() {
        for step in 0..1000 {
            let turn = f64::from(step) * 0.006_283;
            let (side, ahead) = ((turn.sin() * 3.0) as f32, (turn.cos() * 3.0) as f32);
            let expected = f64::from(side).atan2(f64::from(ahead));
            assert!((f64::from(angle(side, ahead)) - expected).abs() < 2e-5, "{turn}");
        }
        assert_eq!(angle(0.0, 0.0), 0.0);
    }

    #[test]
    fn panorama_has_its_top_above_and_its_middle_ahead() {
        // Four columns and two rows; each texel is another.
        let texels: Vec<[f32; 3]> = (0..8).map(|n| [n as f32; 3]).collect();
        let panorama = Panorama { width: 4, height: 2, texels: &texels };
        let at = |x: f32, y: f32, z: f32| {
            let Vec3 { x, y, z } = Vec3 { x, y, z }.normalized();
            panorama.radiance([x, y, z])[0]
        };
        assert!((at(0.0, 1.0, -1.0) - 1.5).abs() < 0.01, "ahead is between the two columns in the middle");
        assert!((at(1.0, SQRT_2, 1.0) - 3.0).abs() < 0.01, "right and behind is the last");
        assert!((at(-1.0, -SQRT_2, 1.0) - 4.0).abs() < 0.01, "left and behind and below is the first of the second row");
    }

    /// The sum over the whole sphere, by the file's own texels and by those of the map.
    #[test]
    fn map_has_the_light_of_the_photograph() {
        let file = include_bytes!("../assets/dawn.hdr");
        let texels = HdrDecoder::new(ZCursor::new(&file[..])).decode().unwrap();
        let (mut sum, mut weights) = (0.0, 0.0);
        for (row, texels) in texels.chunks_exact(128 * 3).enumerate() {
            let weight = ((row as f64 + 0.5) / 64.0 * std::f64::consts::PI).sin();
            sum += weight * texels.chunks_exact(3).map(|texel| f64::from(texel[1])).sum::<f64>();
            weights += weight * 128.0;
        }
        let light = crate::environment::EnvironmentLight::new(&Environment::from_hdr(file).unwrap(), 1.0);
        let mut sampler = crate::sampler::Sampler::new(1, 0, 0, 1 << 15);
        let mean = (0..1 << 15).map(|sample| {
            sampler.start(sample);
            f64::from(light.radiance(crate::sampler::sphere(sampler.pair())).y) / f64::from(1 << 15)
        });
        let mean: f64 = mean.sum();
        assert!((mean - sum / weights).abs() < 0.03 * mean, "{mean} {}", sum / weights);
    }

    #[test]
    fn teapot_is_a_subject() {
        let Subject::Model(model) = Subject::teapot().unwrap() else { panic!("it is a model") };
        assert_eq!(model.mesh.triangles.len(), 992);
        assert_eq!(Subject::Model(model).check(), Ok(()));
    }
}
