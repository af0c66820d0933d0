//! Products of matrices of `f32`, in tiles of 16 x 16 that a workgroup holds in its own memory: each number is read from the buffers
//! once for sixteen that are computed with it.

use adit_guest::gpu::{self, Buffer, Gpu, Pipeline};
use bytemuck::{Pod, Zeroable};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::error::{check_len, count};

const WGSL: &str = include_str!("matmul.wgsl");
/// Rows and columns of a tile, as the shader has it.
const TILE: u32 = 16;

/// Two matrices that are to be multiplied, by rows: the job's input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Product {
    /// Rows of the first.
    pub rows: u32,
    /// Columns of the first and rows of the second.
    pub inner: u32,
    /// Columns of the second.
    pub columns: u32,
    /// The first.
    pub a: Vec<f32>,
    /// The second.
    pub b: Vec<f32>,
}

impl Product {
    /// The product, by rows. Each number is within `(inner + 2) x 2^-23` of the sum of the magnitudes that were added up to it.
    ///
    /// # Errors
    /// The matrices have other sizes than they say, or are more than the job may have on the GPU.
    pub fn compute(&self, gpu: &Gpu) -> Result<Vec<f32>, Error> {
        let Self { rows, inner, columns, .. } = *self;
        check_len("the first matrix", &self.a, [rows, inner])?;
        check_len("the second matrix", &self.b, [inner, columns])?;
        let product = gpu.buffer(count("the product", &[rows, columns])?)?;
        let (a, b) = (gpu.buffer_from(&self.a)?, gpu.buffer_from(&self.b)?);
        let step = Step::new(rows, inner, columns);
        Multiplier::new(gpu, &[step])?.record(0, &a, &b, &product)?;
        Ok(product.read()?)
    }
}

/// Where the numbers of a matrix are in a buffer: number (row, column) of matrix `layer` is at
/// `row * rows + column * columns + layer * layers`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct View {
    rows: u32,
    columns: u32,
    layers: u32,
    unused: u32,
}

impl View {
    pub(crate) const fn new(rows: u32, columns: u32, layers: u32) -> Self {
        Self { rows, columns, layers, unused: 0 }
    }
}

/// A multiplication of as many pairs of matrices as there are layers. As long as an offset of a binding is a multiple of.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Step {
    rows: u32,
    inner: u32,
    columns: u32,
    layers: u32,
    a: View,
    b: View,
    product: View,
    scale: f32,
    unused: [u32; 47],
}

impl Step {
    /// One pair of matrices by rows.
    pub(crate) const fn new(rows: u32, inner: u32, columns: u32) -> Self {
        Self {
            rows,
            inner,
            columns,
            layers: 1,
            a: View::new(inner, 1, 0),
            b: View::new(columns, 1, 0),
            product: View::new(columns, 1, 0),
            scale: 1.0,
            unused: [0; 47],
        }
    }

    /// The same for each of `layers` pairs, which lie in the buffers as the views say.
    pub(crate) const fn layers(self, layers: u32, a: View, b: View, product: View) -> Self {
        Self { layers, a, b, product, ..self }
    }

    /// The same, with each number of the product multiplied by `scale`.
    pub(crate) const fn scaled(self, scale: f32) -> Self {
        Self { scale, ..self }
    }
}

/// Records multiplications.
#[derive(Debug)]
pub(crate) struct Multiplier<'a> {
    gpu: &'a Gpu,
    pipeline: Pipeline,
    steps: Buffer<Step>,
    workgroups: Vec<[u32; 3]>,
}

impl<'a> Multiplier<'a> {
    pub(crate) fn new(gpu: &'a Gpu, steps: &[Step]) -> Result<Self, gpu::Error> {
        let workgroups = |step: &Step| [step.columns.div_ceil(TILE), step.rows.div_ceil(TILE), step.layers];
        Ok(Self {
            gpu,
            pipeline: gpu.pipeline(WGSL, "multiply")?,
            steps: gpu.buffer_from(steps)?,
            workgroups: steps.iter().map(workgroups).collect(),
        })
    }

    /// Records a step.
    pub(crate) fn record(&self, step: usize, a: &Buffer<f32>, b: &Buffer<f32>, product: &Buffer<f32>) -> Result<(), gpu::Error> {
        let bindings = [self.steps.range_at(0, step..=step)?, a.at(1), b.at(2), product.at(3)];
        self.gpu.dispatch(&self.pipeline, &bindings, self.workgroups[step])
    }
}
