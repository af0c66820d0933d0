//! The training of `cargo xtask example training`, on this machine alone.

use std::convert::Infallible;

use adit_example_training::{Course, Digits, Plan, Task, Trainer};

/// [`Course::digest`] of it. What is meant to change a number on the way changes this; nothing else may, on no machine and no network.
const DIGEST: &str = "fd2ef792c255a5fc3eff3631a14b6907faf68f905d100803381889fc31590396";

const PLAN: Plan = Plan { epochs: 12, shards: 4, seed: 0 };

fn train(digits: &Digits, plan: Plan) -> Course {
    let answer = |task: Task| task.run(digits).unwrap();
    let compute = async |tasks: Vec<Task>| Ok::<_, Infallible>(tasks.into_iter().map(answer).collect());
    let Ok(course) = pollster::block_on(Trainer::new(digits, plan).unwrap().run(compute, || ()));
    course
}

#[test]
fn network_learns_to_read_97_of_100_digits_that_it_has_not_seen() {
    let course = train(&crate::digits(), PLAN);
    assert!(course.accuracy() >= 0.97, "{:?}", course.points);
    assert_eq!(course.digest(), DIGEST, "{:?}", course.points);
}

#[test]
fn course_is_the_same_on_every_run_and_another_by_another_plan() {
    let digits = crate::digits();
    let short = Plan { epochs: 1, ..PLAN };
    let course = train(&digits, short);
    assert_eq!(train(&digits, short), course);
    assert_ne!(train(&digits, Plan { seed: 1, ..short }).digest(), course.digest());
    assert!(
        (train(&digits, Plan { shards: 3, ..short }).accuracy() - course.accuracy()).abs() < 0.01,
        "sums differ in their last bits"
    );
}
