use crate::Blob;
use crate::model::{Config, ConfigError, Model};
use crate::tokenizer::{Tokenizer, VocabularyError};
use crate::weights::WeightsError;

/// The most pieces of a text that are looked at, its beginning and its end among them; what is over it is cut off. The models of
/// sentence-transformers have such a limit beside their weights, all-MiniLM-L6-v2 this one.
const PIECES_MAX: usize = 256;
/// Pieces that go through the model together: enough that what is read of the weights is used often, and a few MB in memory.
const BATCH_PIECES: usize = 512;

/// A model and its vocabulary: makes embeddings of texts.
#[derive(Debug)]
pub struct Embedder<B> {
    tokenizer: Tokenizer,
    model: Model<B>,
}

/// Why there are no embeddings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbedError {
    /// The configuration is of no model that runs here.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The vocabulary is none.
    #[error(transparent)]
    Vocabulary(#[from] VocabularyError),
    /// The vocabulary has more pieces than the model.
    #[error("the vocabulary has {vocabulary} pieces and the model {model}; they do not belong together")]
    OtherVocabulary {
        /// Pieces of the vocabulary.
        vocabulary: usize,
        /// Pieces of the model.
        model: usize,
    },
    /// The weights are not those of the configuration, or cannot be read.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}

impl<B: Blob> Embedder<B> {
    /// Reads a model: its `config.json`, its `vocab.txt`, and its weights in the format safetensors.
    ///
    /// # Errors
    /// See [`EmbedError`].
    pub fn load(config: &[u8], vocabulary: &[u8], weights: B) -> Result<Self, EmbedError> {
        let config = Config::from_json(config)?;
        let tokenizer = Tokenizer::new(vocabulary)?;
        if tokenizer.pieces() > config.vocab_size {
            return Err(EmbedError::OtherVocabulary { vocabulary: tokenizer.pieces(), model: config.vocab_size });
        }
        Ok(Self { tokenizer, model: Model::load(config, weights)? })
    }

    /// How many numbers an embedding has.
    pub fn width(&self) -> usize {
        self.model.config().hidden_size
    }

    /// The ids of a text's pieces, as the model gets them.
    pub fn pieces(&self, text: &str) -> Vec<u32> {
        self.tokenizer.ids(text, PIECES_MAX.min(self.model.config().max_position_embeddings))
    }

    /// The embeddings of `texts`, one after the other: each [`width`](Self::width) numbers with length 1, so that the product of two
    /// says how much alike their texts are. `progress` hears how many are done.
    ///
    /// A text's embedding does not depend on the others.
    ///
    /// # Errors
    /// Where weights cannot be read.
    pub fn embed(&self, texts: &[&str], mut progress: impl FnMut(usize)) -> Result<Vec<f32>, EmbedError> {
        let mut embeddings = Vec::with_capacity(texts.len() * self.width());
        let mut texts = texts.iter().map(|text| self.pieces(text)).peekable();
        while texts.peek().is_some() {
            let mut pieces = 0;
            let batch = std::iter::from_fn(|| {
                texts.next_if(|text| {
                    pieces += text.len();
                    pieces <= BATCH_PIECES
                })
            });
            embeddings.append(&mut self.model.embed(&batch.collect::<Vec<_>>())?);
            progress(embeddings.len() / self.width());
        }
        Ok(embeddings)
    }
}

// Else a long text would never be taken into a batch.
const _: () = assert!(PIECES_MAX <= BATCH_PIECES);
