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

    #[test]
    fn what_cannot_be_answered_is_said() {
        let log = |job: Harness| job.run(main).log_text();
        assert!(log(Harness::new().value(task(vec![0]))).contains("`--with digits=FILE`"));
        assert!(log(Harness::new().value(task(vec![2])).named("digits", digits())).contains("no picture 2"));
        assert!(log(Harness::new().value(task(vec![0])).named("digits", "")).contains("no picture 0; the data has 0"));
        assert!(log(Harness::new().value(task(vec![0])).named("digits", "x")).contains("record 0 is not 64 pixels"));
    }
}
