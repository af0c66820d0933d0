//! The gradient beside PyTorch's and beside differences, its bytes, and a whole training.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

mod training;

use adit_example_training::{Digits, Gradient, Parameters, Picture, Task, TaskError};
use serde_json::Value;

/// BLAKE3 of the gradient of [`noise`] at [`parameters`]. What is meant to change the arithmetic changes this; nothing else may, on
/// no machine.
const DIGEST: &str = "9d1ab9630bb32487b39c58e13211c1cbb698c3e206251b321758f032b6e21482";

fn digits() -> Digits {
    let file = &include_bytes!("../../data/digits.csv.gz")[..];
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(file), &mut text).unwrap();
    Digits::from_csv(&text).unwrap()
}

/// The pictures of `reference/gradient.py`: of chance, since in a blank corner several places of the 2x2 are the largest, and either may
/// have the slope.
fn noise() -> Vec<Picture> {
    let pixel = |n: u32| (n.wrapping_mul(2_654_435_761) >> 16) as u8 % 17;
    let picture = |n: u32| Picture { pixels: std::array::from_fn(|at| pixel(n * 64 + at as u32)), digit: (n % 10) as u8 };
    (0..48).map(picture).collect()
}

/// The parameters of `reference/gradient.py`.
fn parameters() -> Parameters {
    let numbers = (0..Parameters::COUNT).map(|n| ((n * 7919 % 1009) as f64 / 1009.0 - 0.5) * 0.5);
    let numbers: Vec<f32> = numbers.map(|number| number as f32).collect();
    Parameters::from_slice(&numbers).unwrap()
}

fn length(numbers: impl Iterator<Item = f32>) -> f64 {
    numbers.map(|number| f64::from(number).powi(2)).sum::<f64>().sqrt()
}

#[test]
fn gradient_is_that_of_pytorch() {
    let told: Value = serde_json::from_str(include_str!("../../reference/gradient.json")).unwrap();
    let want: &[[u8; 4]] = include_bytes!("../../reference/gradient.f32").as_chunks().0;
    let gradient = Gradient::of(&parameters(), &noise());
    assert!((f64::from(gradient.loss) / told["loss"].as_f64().unwrap() - 1.0).abs() < 1e-6, "{}", gradient.loss);
    assert_eq!(u64::from(gradient.right), told["right"].as_u64().unwrap());
    let ours = gradient.slopes.as_slice();
    assert_eq!(ours.len(), want.len());
    let want = || want.iter().map(|bytes| f32::from_le_bytes(*bytes));
    let apart = length(ours.iter().zip(want()).map(|(ours, want)| ours - want)) / length(want());
    assert!(apart < 1e-6, "{apart:e}");
}

#[test]
fn gradient_is_how_the_loss_changes() {
    let digits = digits();
    let (pictures, begin) = (digits.pictures().iter().step_by(37), parameters());
    let loss = |parameters: &Parameters| f64::from(Gradient::of(parameters, pictures.clone()).loss);
    let slopes = Gradient::of(&begin, pictures.clone()).slopes;
    // Along the gradient the loss grows by its length, in each of the six groups of parameters.
    for (from, to) in [(0, 72), (72, 80), (80, 1232), (1232, 1248), (1248, 3808), (3808, 3818)] {
        let part = || slopes.as_slice()[from..to].iter().copied();
        let size = length(part());
        let moved = |by: f64| {
            let mut parameters = begin;
            let along = parameters.as_mut_slice()[from..to].iter_mut().zip(part());
            along.for_each(|(parameter, slope)| *parameter += (f64::from(slope) / size * by) as f32);
            loss(&parameters)
        };
        let change = (moved(1e-3) - moved(-1e-3)) / 2e-3;
        assert!((change / size - 1.0).abs() < 0.02, "parameters {from} to {to}: {change} for {size}");
    }
}

#[test]
fn gradient_has_the_same_bytes_everywhere() {
    let gradient = Gradient::of(&parameters(), &noise());
    let mut hasher = blake3::Hasher::new();
    for number in gradient.slopes.as_slice().iter().chain([&gradient.loss]) {
        hasher.update(&number.to_le_bytes());
    }
    assert_eq!(hasher.finalize().to_hex().as_str(), DIGEST);
}

#[test]
fn data_is_all_of_scikit_learns() {
    let digits = digits();
    let mut counts = [0; 10];
    digits.pictures().iter().for_each(|picture| counts[usize::from(picture.digit)] += 1);
    // As `sklearn.datasets.load_digits` counts them.
    assert_eq!(counts, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
}

#[test]
fn task_of_other_sizes_is_refused() {
    let digits = digits();
    let task = |parameters: usize, pictures: &[u16]| Task { parameters: vec![0.0; parameters], pictures: pictures.to_vec() };
    assert_eq!(task(3817, &[0]).run(&digits), Err(TaskError::Parameters { given: 3817 }));
    assert_eq!(task(3818, &[0, 1797]).run(&digits), Err(TaskError::Picture { picture: 1797, there: 1797 }));
    assert_eq!(task(3818, &[]).run(&digits), Ok(Gradient::zero()));
}
