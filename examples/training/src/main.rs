//! The job: parameters and the numbers of pictures in, the sum of their gradients out. The pictures are a named input.
#![forbid(unsafe_code)]

use adit_example_training::{Answer, Digits, DigitsError, Task, TaskError};
use adit_guest::{MissingInput, named};

#[adit_guest::job]
fn gradient(task: Task) -> Result<Answer, Error> {
    let digits = Digits::from_bytes(&named("digits")?.to_vec())?;
    Ok(task.run(&digits)?.into())
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Missing(#[from] MissingInput),
    #[error(transparent)]
    Digits(#[from] DigitsError),
    #[error(transparent)]
    Task(#[from] TaskError),
}

#[cfg(test)]
mod tests {
    use adit_example_training::Parameters;
    use adit_guest::testing::Harness;

    use super::*;

    /// Two pictures.
    fn digits() -> Vec<u8> {
        [vec![3; 64], vec![1], vec![9; 64], vec![2]].concat()
    }

    fn task(pictures: Vec<u16>) -> Task {
        let mut chance = (0..7).cycle();
        let parameters = Parameters::random(|| chance.next().map_or(0.0, |n| n as f32 / 6.0));
        Task { parameters: parameters.as_slice().to_vec(), pictures }
    }

    #[test]
    fn job_answers_with_the_gradient() {
        let told = Harness::new().value(task(vec![1, 0])).named("digits", digits()).run(main);
        let want = task(vec![1, 0]).run(&Digits::from_bytes(&digits()).unwrap()).unwrap();
        assert_eq!(told.value::<Answer>().unwrap().gradient(), Ok(want));
    }

    /// As a guest on a node makes it: `training_makes_the_bytes_of_its_native_test` in the runtime's tests.
    #[test]
    fn answer_has_the_same_bytes_everywhere() {
        let picture =
            |n: u32| (0..64).map(move |at| ((n * 64 + at).wrapping_mul(2_654_435_761) >> 16) as u8 % 17).chain([n as u8]);
        let digits: Vec<u8> = (0..10).flat_map(picture).collect();
        let parameters = (0..Parameters::COUNT).map(|n| (n * 7919 % 1009) as f32 / 2048.0 - 0.25).collect();
        let output =
            Harness::new().value(Task { parameters, pictures: (0..10).collect() }).named("digits", digits).run(main).output;
        assert_eq!(blake3::hash(&output).to_hex().as_str(), "6c34a3d01cc3e955aa8954c20de2bfc6fd9bb42917660a94ad7b8dc8a456d256");
    }

    #[test]
    fn what_cannot_be_answered_is_said() {
        let log = |job: Harness| job.run(main).log_text();
        assert!(log(Harness::new().value(task(vec![0]))).contains("`--with digits=FILE`"));
        assert!(log(Harness::new().value(task(vec![2])).named("digits", digits())).contains("no picture 2"));
        assert!(log(Harness::new().value(task(vec![0])).named("digits", "")).contains("no picture 0; the data has 0"));
        assert!(log(Harness::new().value(task(vec![0])).named("digits", "x")).contains("record 0 is not 64 pixels"));
    }
}
