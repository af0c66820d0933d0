//! Weights from measurements: the table under which every kernel's nanoseconds per fuel are as equal as can be.
//!
//! A kernel's fuel is the sum over items of count times weight, its error the logarithm of fuel over nanoseconds. The weights are the
//! exponentials of what is solved for, so none can become zero or negative. What is lowered is the norm of the errors, squared, and a
//! small price for leaving the old weights, which keeps those near of which the kernels say little. Squares forgive one
//! large error for many small ones, while a table is judged by its worst kernel: so the norm's exponent rises from 2 to 8.

/// The norms' exponents, one after the other, each from where the one before came to: the last alone would be stuck early.
const EXPONENTS: [f64; 3] = [2.0, 4.0, 8.0];
/// Steps of each.
const STEPS: usize = 300;
/// Errors below this part of the largest weigh as much as one of this part: a kernel that fits is not forgotten.
const SHARE_MIN: f64 = 0.05;

/// One kernel.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    /// Nanoseconds that it took.
    pub(crate) ns: f64,
    /// How often each item was executed.
    pub(crate) counts: Vec<f64>,
}

/// The weights, in fuel, that fit `samples` best near `start`. What is not `free` keeps its weight, and so does what weighs nothing.
/// `stiffness` is the price of a weight that becomes e times what it was, in squared errors.
pub(crate) fn fit(samples: &[Sample], start: &[f64], free: &[bool], stiffness: f64) -> Vec<f64> {
    let mut logs = vec![0.0; start.len()];
    for exponent in EXPONENTS {
        for _ in 0..STEPS {
            step(samples, start, free, &mut logs, exponent, stiffness);
        }
    }
    weights(start, &logs)
}

fn weights(start: &[f64], logs: &[f64]) -> Vec<f64> {
    start.iter().zip(logs).map(|(start, log)| start * log.exp()).collect()
}

fn fuel(sample: &Sample, start: &[f64], logs: &[f64]) -> f64 {
    sample.counts.iter().zip(weights(start, logs)).map(|(count, weight)| count * weight).sum()
}

fn error(sample: &Sample, start: &[f64], logs: &[f64]) -> f64 {
    (fuel(sample, start, logs) / sample.ns).ln()
}

fn loss(samples: &[Sample], start: &[f64], logs: &[f64], exponent: f64, stiffness: f64) -> f64 {
    let errors = samples.iter().map(|sample| error(sample, start, logs).abs().powf(exponent));
    errors.sum::<f64>().powf(2.0 / exponent) + stiffness * logs.iter().map(|log| log * log).sum::<f64>()
}

/// One step of Gauss and Newton over squares that are weighted by the errors, as far as it leads downwards.
fn step(samples: &[Sample], start: &[f64], free: &[bool], logs: &mut [f64], exponent: f64, stiffness: f64) {
    let n = logs.len();
    let errors: Vec<f64> = samples.iter().map(|sample| error(sample, start, logs)).collect();
    let worst = errors.iter().fold(f64::MIN_POSITIVE, |worst, error| worst.max(error.abs()));
    let (mut matrix, mut slope) = (vec![vec![0.0; n]; n], vec![0.0; n]);
    for (sample, error) in samples.iter().zip(&errors) {
        let emphasis = (error.abs() / worst).max(SHARE_MIN).powf(exponent - 2.0);
        let total = fuel(sample, start, logs);
        // How the error moves with each logarithm: the item's share of the kernel's fuel.
        let weights = weights(start, logs);
        let share = |n: usize| if free[n] { sample.counts[n] * weights[n] / total } else { 0.0 };
        let shares: Vec<f64> = (0..n).map(share).collect();
        for (row, a) in shares.iter().enumerate() {
            slope[row] += emphasis * a * error;
            for (column, b) in shares.iter().enumerate() {
                matrix[row][column] += emphasis * a * b;
            }
        }
    }
    for (n, log) in logs.iter().enumerate() {
        slope[n] += stiffness * log;
        matrix[n][n] += stiffness;
    }
    let before = loss(samples, start, logs, exponent, stiffness);
    let mut whole = solve(matrix, slope);
    whole.iter_mut().zip(free).filter(|(_, free)| !**free).for_each(|(by, _)| *by = 0.0);
    for part in [1.0, 0.5, 0.2, 0.1, 0.03, 0.01, 0.001] {
        let moved: Vec<f64> = logs.iter().zip(&whole).map(|(log, by)| log - (part * by).clamp(-0.5, 0.5)).collect();
        if loss(samples, start, &moved, exponent, stiffness) < before {
            logs.copy_from_slice(&moved);
            return;
        }
    }
}

/// Solves a system whose matrix is symmetric and positive, by elimination.
fn solve(mut matrix: Vec<Vec<f64>>, mut right: Vec<f64>) -> Vec<f64> {
    let n = right.len();
    for pivot in 0..n {
        let (above, below) = matrix.split_at_mut(pivot + 1);
        let line = &above[pivot];
        for (row, cells) in below.iter_mut().enumerate() {
            let factor = cells[pivot] / line[pivot];
            cells.iter_mut().zip(line).for_each(|(cell, above)| *cell -= factor * above);
            right[pivot + 1 + row] -= factor * right[pivot];
        }
    }
    for row in (0..n).rev() {
        let known: f64 = (row + 1..n).map(|column| matrix[row][column] * right[column]).sum();
        right[row] = (right[row] - known) / matrix[row][row];
    }
    right
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(ns: f64, counts: &[f64]) -> Sample {
        Sample { ns, counts: counts.to_vec() }
    }

    #[test]
    fn weights_that_explain_everything_are_found() {
        let truth = [0.25, 3.0, 10.0];
        let rows = [[100.0, 1.0, 0.0], [10.0, 30.0, 1.0], [5.0, 0.0, 40.0], [50.0, 50.0, 50.0]];
        let samples: Vec<Sample> =
            rows.iter().map(|row| sample(row.iter().zip(truth).map(|(count, weight)| count * weight).sum(), row)).collect();
        for (found, truth) in fit(&samples, &[1.0; 3], &[true; 3], 1e-6).iter().zip(truth) {
            assert!((found / truth - 1.0).abs() < 0.01, "{found} {truth}");
        }
    }

    #[test]
    fn an_item_of_which_nothing_is_known_keeps_its_weight() {
        let samples = [sample(20.0, &[10.0, 0.0, 7.0]), sample(40.0, &[20.0, 0.0, 3.0])];
        let found = fit(&samples, &[1.0, 5.0, 0.0], &[true; 3], 1e-4);
        assert_eq!((found[1], found[2]), (5.0, 0.0));
        assert!((found[0] - 2.0).abs() < 0.01, "{found:?}");
    }

    #[test]
    fn an_item_that_is_not_free_keeps_its_weight() {
        let found = fit(&[sample(40.0, &[10.0, 10.0])], &[1.0, 1.0], &[true, false], 1e-6);
        assert_eq!(found[1], 1.0);
        assert!((found[0] - 3.0).abs() < 0.01, "{found:?}");
    }

    #[test]
    fn the_worst_kernel_counts_more_than_the_mean() {
        // One item, and three kernels at 1, 1 and 4 ns: between the extremes lies 2, while the mean of the logarithms lies at 1.6.
        let samples = [sample(1.0, &[1.0]), sample(1.0, &[1.0]), sample(4.0, &[1.0])];
        let found = fit(&samples, &[1.0], &[true], 1e-9)[0];
        assert!((1.75..2.1).contains(&found), "{found}");
    }
}
