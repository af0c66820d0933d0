//! A layer of self-attention with several heads (Vaswani et al. 2017, "Attention Is All You Need", section 3.2):
//! `softmax(Q K^T / sqrt(d)) V` for each head, between four products with weights. Nothing is read back in between.

use adit_guest::gpu::{self, Buffer, Gpu};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::error::{check_len, count};
use crate::grid::grid;
use crate::matmul::{Multiplier, Step, View};

const WGSL: &str = include_str!("softmax.wgsl");

/// A layer and what it is applied to: the job's input. Matrices are by rows, and a token's row is multiplied by a weight's columns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    /// Rows of the input.
    pub tokens: u32,
    /// Values of a token.
    pub width: u32,
    /// Heads, which share a token's values evenly.
    pub heads: u32,
    /// `tokens` x `width`.
    pub input: Vec<f32>,
    /// What makes queries of tokens, `width` x `width`.
    pub query: Vec<f32>,
    /// What makes keys of tokens.
    pub key: Vec<f32>,
    /// What makes values of tokens.
    pub value: Vec<f32>,
    /// What is made of the heads' results.
    pub output: Vec<f32>,
}

impl Layer {
    /// What the layer makes of its input: `tokens` x `width`.
    ///
    /// # Errors
    /// The matrices have other sizes than they say, or are more than the job may have on the GPU.
    pub fn compute(&self, gpu: &Gpu) -> Result<Vec<f32>, Error> {
        self.check()?;
        if self.input.is_empty() {
            return Ok(Vec::new());
        }
        let Self { tokens, heads, .. } = *self;
        let comparisons = count("all heads' comparisons", &[heads, tokens, tokens])?;
        let multiplier = Multiplier::new(gpu, &self.steps())?;
        let rows = || gpu.buffer::<f32>(self.input.len());
        let input = gpu.buffer_from(&self.input)?;
        let project = |weights: &[f32], from: &Buffer<f32>| -> Result<_, gpu::Error> {
            let to = rows()?;
            multiplier.record(PROJECT, from, &gpu.buffer_from(weights)?, &to)?;
            Ok(to)
        };
        let (queries, keys, values) = (project(&self.query, &input)?, project(&self.key, &input)?, project(&self.value, &input)?);
        let shares = gpu.buffer(comparisons)?;
        multiplier.record(COMPARE, &queries, &keys, &shares)?;
        softmax(gpu, &shares, heads * tokens, tokens)?;
        let mixed = rows()?;
        multiplier.record(MIX, &shares, &values, &mixed)?;
        Ok(project(&self.output, &mixed)?.read()?)
    }

    fn check(&self) -> Result<(), Error> {
        let Self { tokens, width, heads, .. } = *self;
        check_len("the input", &self.input, [tokens, width])?;
        check_len("the weights of queries", &self.query, [width, width])?;
        check_len("the weights of keys", &self.key, [width, width])?;
        check_len("the weights of values", &self.value, [width, width])?;
        check_len("the weights of the output", &self.output, [width, width])?;
        if heads == 0 || !width.is_multiple_of(heads) {
            return Err(Error::Heads { heads, width });
        }
        Ok(())
    }

    /// The multiplications, in the places that the constants below name.
    fn steps(&self) -> [Step; 3] {
        let Self { tokens, width, heads, .. } = *self;
        let head = width / heads;
        // A head's part of each token's row, and the head's own matrix of one row for each token.
        let (part, own) = (View::new(width, 1, head), View::new(tokens, 1, tokens * tokens));
        let turned = View::new(1, width, head);
        [
            Step::new(tokens, width, width),
            Step::new(tokens, head, tokens).layers(heads, part, turned, own).scaled(1.0 / (head as f32).sqrt()),
            Step::new(tokens, tokens, head).layers(heads, own, part, part),
        ]
    }
}

/// Rows by weights.
const PROJECT: usize = 0;
/// Each query by each key, for each head.
const COMPARE: usize = 1;
/// Shares by values, for each head.
const MIX: usize = 2;

/// Has each row of `columns` numbers become shares of 1: `exp(x)` over the row's sum of them.
fn softmax(gpu: &Gpu, numbers: &Buffer<f32>, rows: u32, columns: u32) -> Result<(), gpu::Error> {
    let pipeline = gpu.pipeline(WGSL, "softmax")?;
    let size = gpu.buffer_from(&[rows, columns])?;
    gpu.dispatch(&pipeline, &[size.at(0), numbers.at(1)], grid(rows))
}
