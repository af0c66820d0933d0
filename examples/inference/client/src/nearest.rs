/// A passage's place in the list, and how near it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Nearest {
    pub(crate) at: usize,
    /// Of the angle between the two embeddings: 1 where they point the same way.
    pub(crate) cosine: f32,
}

/// The `top` of `embeddings` that are nearest to `question`, nearest first. All of them have length 1.
pub(crate) fn nearest(question: &[f32], embeddings: &[f32], top: usize) -> Vec<Nearest> {
    let cosine = |embedding: &[f32]| embedding.iter().zip(question).map(|(a, b)| a * b).sum();
    let embeddings = embeddings.chunks_exact(question.len()).enumerate();
    let mut all: Vec<Nearest> = embeddings.map(|(at, embedding)| Nearest { at, cosine: cosine(embedding) }).collect();
    all.sort_by(|one, other| other.cosine.total_cmp(&one.cosine));
    all.truncate(top);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_comes_first_and_no_more_than_are_asked_for() {
        let embeddings = [0.0, 1.0, 0.6, 0.8, 1.0, 0.0, -1.0, 0.0];
        let found = |top| nearest(&[1.0, 0.0], &embeddings, top).iter().map(|found| found.at).collect::<Vec<_>>();
        assert_eq!(found(2), [2, 1]);
        assert_eq!(found(9), [2, 1, 0, 3]);
        assert_eq!(nearest(&[1.0, 0.0], &[], 3), []);
    }
}
