//! BERT's encoder (arXiv:1810.04805), and of what it says of each piece the mean, as sentence-transformers make a text's embedding.

use serde::Deserialize;

use crate::Blob;
use crate::functions::{gelu, map, normalise_rows, softmax, sum};
use crate::matrix::{Panels, Rows, add_product};
use crate::weights::{Table, Weights, WeightsError};

/// A model's sizes: the part of its `config.json` that is used here.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Config {
    /// Numbers that describe a piece, and a text.
    pub hidden_size: usize,
    /// Layers, one after the other.
    pub num_hidden_layers: usize,
    /// Parts in which a layer looks at pieces, each on its own.
    pub num_attention_heads: usize,
    /// Numbers between the two products of a layer's second half.
    pub intermediate_size: usize,
    /// What is added to a variance.
    pub layer_norm_eps: f32,
    /// Positions in a text that have a place in the weights.
    pub max_position_embeddings: usize,
    /// Pieces that have a place in the weights.
    pub vocab_size: usize,
    /// What stands between the two products. Only `gelu` is known here.
    pub hidden_act: String,
}

/// Why a configuration is of no model that runs here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// It is no JSON, or lacks something.
    #[error("the model's configuration cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// The function between the products is another one.
    #[error("the model has the activation `{0}`; only `gelu` is known here")]
    Activation(String),
    /// A size is zero, too large, or no multiple of another.
    #[error("the model's sizes do not fit together: {0}")]
    Sizes(&'static str),
}

impl Config {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn from_json(json: &[u8]) -> Result<Self, ConfigError> {
        let config: Self = serde_json::from_slice(json)?;
        if config.hidden_act != "gelu" {
            return Err(ConfigError::Activation(config.hidden_act));
        }
        let Self { hidden_size, num_hidden_layers, num_attention_heads, intermediate_size, .. } = config;
        let sizes = [hidden_size, num_hidden_layers, num_attention_heads, intermediate_size, config.vocab_size];
        // Far over any model that fits into a job, and their products far under what a number holds.
        if sizes.iter().any(|size| !(1..=1 << 20).contains(size)) || hidden_size.max(intermediate_size) > 1 << 14 {
            return Err(ConfigError::Sizes("each is at least 1, a layer's width at most 16384, and the others at most 1048576"));
        }
        if hidden_size % num_attention_heads != 0 {
            return Err(ConfigError::Sizes("hidden_size is no multiple of num_attention_heads"));
        }
        if !(2..=1 << 14).contains(&config.max_position_embeddings) {
            return Err(ConfigError::Sizes("max_position_embeddings is not from 2 to 16384"));
        }
        Ok(config)
    }
}

/// A model that is ready. The table of pieces stays where it is, since a text needs few of its rows.
#[derive(Debug)]
pub(crate) struct Model<B> {
    config: Config,
    weights: Weights<B>,
    pieces: Table,
    /// What is added to a piece by its position, `hidden_size` numbers each.
    positions: Vec<f32>,
    norm: Norm,
    layers: Vec<Layer>,
}

#[derive(Debug)]
struct Layer {
    /// Queries, keys and values side by side: one product makes them all.
    attention: Linear,
    attention_output: Linear,
    attention_norm: Norm,
    up: Linear,
    down: Linear,
    norm: Norm,
}

#[derive(Debug)]
struct Linear {
    weight: Panels,
    bias: Vec<f32>,
}

#[derive(Debug)]
struct Norm {
    weight: Vec<f32>,
    bias: Vec<f32>,
    epsilon: f32,
}

impl<B: Blob> Model<B> {
    /// Reads all of a model but its pieces.
    pub(crate) fn load(config: Config, weights: B) -> Result<Self, WeightsError> {
        let weights = Weights::open(weights)?;
        let width = config.hidden_size;
        let mut positions = weights.read("embeddings.position_embeddings.weight", &[config.max_position_embeddings, width])?;
        // Every text here is the first of its pair, so that its mark goes with the position.
        let first = weights.read("embeddings.token_type_embeddings.weight", &[2, width])?;
        for row in positions.chunks_exact_mut(width) {
            row.iter_mut().zip(&first).for_each(|(value, mark)| *value += mark);
        }
        let pieces = weights.table("embeddings.word_embeddings.weight", config.vocab_size, width)?;
        let norm = Norm::load(&weights, &config, "embeddings.LayerNorm")?;
        let layers = (0..config.num_hidden_layers).map(|n| Layer::load(&weights, &config, &format!("encoder.layer.{n}")));
        let layers = layers.collect::<Result<_, _>>()?;
        Ok(Self { config, weights, pieces, positions, norm, layers })
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// The embeddings of `texts`, each as the ids of its pieces: `hidden_size` numbers with length 1 for each text.
    pub(crate) fn embed(&self, texts: &[Vec<u32>]) -> Result<Vec<f32>, WeightsError> {
        let width = self.config.hidden_size;
        let mut hidden = self.begin(texts)?;
        for layer in &self.layers {
            layer.apply(&self.config, texts, &mut hidden);
        }
        let mut embeddings = vec![0.0; texts.len() * width];
        for (embedding, rows) in embeddings.chunks_exact_mut(width).zip(each(texts, &hidden, width)) {
            mean(rows, embedding);
            let scale = 1.0 / sum(embedding, |value| value * value).sqrt();
            embedding.iter_mut().for_each(|value| *value *= scale);
        }
        Ok(embeddings)
    }

    /// A row for each piece of each text, by what the piece is and where it stands.
    fn begin(&self, texts: &[Vec<u32>]) -> Result<Vec<f32>, WeightsError> {
        let width = self.config.hidden_size;
        let count: usize = texts.iter().map(Vec::len).sum();
        let mut hidden = vec![0.0; count * width];
        let mut rows = hidden.chunks_exact_mut(width);
        for text in texts {
            for ((id, position), row) in text.iter().zip(self.positions.chunks_exact(width)).zip(&mut rows) {
                self.weights.read_row(self.pieces, *id, row)?;
                row.iter_mut().zip(position).for_each(|(value, place)| *value += place);
            }
        }
        self.norm.apply(&mut hidden);
        Ok(hidden)
    }
}

impl Layer {
    fn load<B: Blob>(weights: &Weights<B>, config: &Config, name: &str) -> Result<Self, WeightsError> {
        let Config { hidden_size: width, intermediate_size: inner, .. } = *config;
        let attention = ["query", "key", "value"].map(|part| format!("{name}.attention.self.{part}"));
        Ok(Self {
            attention: Linear::load(weights, &attention, width, width)?,
            attention_output: Linear::load(weights, &[format!("{name}.attention.output.dense")], width, width)?,
            attention_norm: Norm::load(weights, config, &format!("{name}.attention.output.LayerNorm"))?,
            up: Linear::load(weights, &[format!("{name}.intermediate.dense")], width, inner)?,
            down: Linear::load(weights, &[format!("{name}.output.dense")], inner, width)?,
            norm: Norm::load(weights, config, &format!("{name}.output.LayerNorm"))?,
        })
    }

    fn apply(&self, config: &Config, texts: &[Vec<u32>], hidden: &mut [f32]) {
        let width = config.hidden_size;
        let parts = self.attention.apply(hidden, width);
        let mut context = vec![0.0; hidden.len()];
        let mut rest = &mut context[..];
        for (text, parts) in texts.iter().zip(each(texts, &parts, 3 * width)) {
            let context;
            (context, rest) = rest.split_at_mut(text.len() * width);
            attend(parts, config, context);
        }
        self.attention_output.add(&context, hidden);
        self.attention_norm.apply(hidden);

        let mut inner = self.up.apply(hidden, width);
        map(&mut inner, gelu);
        self.down.add(&inner, hidden);
        self.norm.apply(hidden);
    }
}

/// What each piece of one text takes from all of its pieces, by how well its query fits their keys; one head after the other.
fn attend(parts: &[f32], config: &Config, context: &mut [f32]) {
    let width = config.hidden_size;
    let head = width / config.num_attention_heads;
    let parts = Rows::new(parts, 3 * width);
    let count = context.len() / width;
    let scale = 1.0 / (head as f32).sqrt();
    let mut scores = vec![0.0; count * count];
    for first in (0..width).step_by(head) {
        let keys = Panels::transposed(parts.columns(width + first, head));
        scores.fill(0.0);
        add_product(parts.columns(first, head), &keys, &mut scores, count, 0);
        map(&mut scores, |score| score * scale);
        scores.chunks_exact_mut(count).for_each(softmax);
        let values = Panels::of(parts.columns(2 * width + first, head));
        add_product(Rows::new(&scores, count), &values, context, width, first);
    }
}

impl Linear {
    /// Reads `names`' weights and biases, side by side; each has `input` numbers in and `output` out.
    fn load<B: Blob>(weights: &Weights<B>, names: &[String], input: usize, output: usize) -> Result<Self, WeightsError> {
        let (mut weight, mut bias) = (Vec::new(), Vec::new());
        for name in names {
            weight.append(&mut weights.read(&format!("{name}.weight"), &[output, input])?);
            bias.append(&mut weights.read(&format!("{name}.bias"), &[output])?);
        }
        Ok(Self { weight: Panels::transposed(Rows::new(&weight, input)), bias })
    }

    /// What it makes of each row.
    fn apply(&self, rows: &[f32], width: usize) -> Vec<f32> {
        let mut sums = self.bias.repeat(rows.len() / width);
        add_product(Rows::new(rows, width), &self.weight, &mut sums, self.bias.len(), 0);
        sums
    }

    /// Adds what it makes of each row to `sums`.
    fn add(&self, rows: &[f32], sums: &mut [f32]) {
        let width = self.bias.len();
        for row in sums.chunks_exact_mut(width) {
            row.iter_mut().zip(&self.bias).for_each(|(sum, bias)| *sum += bias);
        }
        let height = sums.len() / width;
        add_product(Rows::new(rows, rows.len() / height), &self.weight, sums, width, 0);
    }
}

impl Norm {
    fn load<B: Blob>(weights: &Weights<B>, config: &Config, name: &str) -> Result<Self, WeightsError> {
        let read = |part: &str| weights.read(&format!("{name}.{part}"), &[config.hidden_size]);
        Ok(Self { weight: read("weight")?, bias: read("bias")?, epsilon: config.layer_norm_eps })
    }

    fn apply(&self, rows: &mut [f32]) {
        normalise_rows(rows, &self.weight, &self.bias, self.epsilon);
    }
}

/// Each text's rows of `width` numbers.
fn each<'a>(texts: &'a [Vec<u32>], rows: &'a [f32], width: usize) -> impl Iterator<Item = &'a [f32]> {
    let mut rest = rows;
    texts.iter().map(move |text| {
        let own;
        (own, rest) = rest.split_at(text.len() * width);
        own
    })
}

/// The mean of rows as wide as `means`.
fn mean(rows: &[f32], means: &mut [f32]) {
    let rows = rows.chunks_exact(means.len());
    let count = rows.len() as f32;
    for row in rows {
        means.iter_mut().zip(row).for_each(|(mean, value)| *mean += value);
    }
    means.iter_mut().for_each(|mean| *mean /= count);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_that_no_model_has_are_refused() {
        let json = |change: &str| {
            let rest = r#""hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
                "layer_norm_eps": 1e-12, "max_position_embeddings": 16, "vocab_size": 32, "hidden_act": "gelu""#;
            let (key, _) = change.split_once(':').unwrap_or_default();
            let kept = rest.split(',').filter(|line| key.is_empty() || !line.contains(key));
            let lines: Vec<&str> = kept.chain((!change.is_empty()).then_some(change)).collect();
            Config::from_json(format!("{{{}}}", lines.join(",")).as_bytes())
        };
        assert_eq!(json("").unwrap().hidden_size, 8);
        assert!(matches!(json(r#""hidden_act": "relu""#).unwrap_err(), ConfigError::Activation(name) if name == "relu"));
        for change in [
            r#""hidden_size": 9"#,
            r#""hidden_size": 0"#,
            r#""num_attention_heads": 0"#,
            r#""intermediate_size": 100000"#,
            r#""max_position_embeddings": 1"#,
            r#""vocab_size": 4000000000"#,
        ] {
            assert!(matches!(json(change).unwrap_err(), ConfigError::Sizes(_)), "{change}");
        }
        assert!(matches!(json(r#""hidden_size": -1"#).unwrap_err(), ConfigError::Json(_)));
    }
}
