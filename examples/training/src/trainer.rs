//! Learning: which pictures are taken when, and what a gradient does to the parameters. All of it is computed from the seed and the
//! gradients, so that a training takes the same course wherever the gradients come from.

use chacha20::ChaCha8Rng;
use chacha20::rand_core::{Rng, SeedableRng};

use crate::{Digits, Gradient, Parameters, Task, guess};

/// Of so many pictures one is held out: the network never learns from it, and is judged by it.
const HELD_OUT_EVERY: usize = 5;
/// Pictures of a step.
const BATCH: usize = 128;
/// How far a step goes at the beginning. It goes down to nothing in a straight line.
const RATE: f32 = 0.1;
/// How much of a step's way the next one goes on.
const MOMENTUM: f32 = 0.9;

/// What a training is made of beside the pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// How often each picture is learned from.
    pub epochs: usize,
    /// Jobs of a step. Other shards make other sums, by their last bits.
    pub shards: usize,
    /// Decides over the first parameters, and the order of the pictures.
    pub seed: u64,
}

/// How well the network does after an epoch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// The mean loss over the epoch's pictures, each when it was learned from.
    pub loss: f32,
    /// Which part of those it took for what they show.
    pub learned: f32,
    /// Which part of the pictures that were held out it takes for what they show.
    pub held_out: f32,
}

/// A training that is over.
#[derive(Debug, Clone, PartialEq)]
pub struct Course {
    /// A point an epoch.
    pub points: Vec<Point>,
    /// What was learned.
    pub parameters: Parameters,
}

impl Course {
    /// A digest of every point and parameter: the same course has the same.
    pub fn digest(&self) -> String {
        let points = self.points.iter().flat_map(|point| [point.loss, point.learned, point.held_out]);
        let mut hasher = blake3::Hasher::new();
        for number in points.chain(self.parameters.as_slice().iter().copied()) {
            hasher.update(&number.to_le_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }

    /// The last point's part of the held-out pictures.
    pub fn accuracy(&self) -> f32 {
        self.points.last().map_or(0.0, |point| point.held_out)
    }
}

/// A network that is being trained.
#[derive(Debug)]
pub struct Trainer<'a> {
    digits: &'a Digits,
    plan: Plan,
    parameters: Parameters,
    /// Where the last step went.
    velocity: Parameters,
    /// The numbers of the pictures that are learned from.
    learned: Vec<u16>,
    chance: ChaCha8Rng,
}

/// Other numbers of pictures than can be trained with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pictures} pictures are fewer than a step takes with those held out, or more than a task has numbers for")]
pub struct PicturesError {
    /// How many there are.
    pub pictures: usize,
}

impl<'a> Trainer<'a> {
    /// A training's beginning.
    ///
    /// # Errors
    /// There are too few pictures, or over 65,535.
    pub fn new(digits: &'a Digits, plan: Plan) -> Result<Self, PicturesError> {
        let mut chance = ChaCha8Rng::seed_from_u64(plan.seed);
        let parameters = Parameters::random(|| (chance.next_u32() >> 8) as f32 / (1 << 24) as f32);
        let error = PicturesError { pictures: digits.pictures().len() };
        let count = u16::try_from(error.pictures).map_err(|_| error.clone())?;
        let learned: Vec<u16> = (0..count).filter(|number| !is_held_out((*number).into())).collect();
        if learned.len() < BATCH {
            return Err(error);
        }
        Ok(Self { digits, plan, parameters, velocity: Parameters::zero(), learned, chance })
    }

    /// Steps of the whole training.
    pub fn steps(&self) -> usize {
        self.plan.epochs * (self.learned.len() / BATCH)
    }

    /// Trains. `compute` answers the tasks of a step, in their order; `progress` hears of each step that is done.
    ///
    /// # Errors
    /// The first of `compute`.
    pub async fn run<E>(
        mut self,
        mut compute: impl AsyncFnMut(Vec<Task>) -> Result<Vec<Gradient>, E>,
        mut progress: impl FnMut(),
    ) -> Result<Course, E> {
        let mut points = Vec::with_capacity(self.plan.epochs);
        for epoch in 0..self.plan.epochs {
            let mut sum = Gradient::zero();
            let pictures = self.shuffled();
            for batch in pictures.chunks_exact(BATCH) {
                let gradients = compute(self.tasks(batch)).await?;
                let step = self.step(epoch, &gradients);
                sum.loss += step.loss;
                sum.right += step.right;
                progress();
            }
            let learned = (pictures.len() / BATCH * BATCH) as f32;
            points.push(Point { loss: sum.loss / learned, learned: sum.right as f32 / learned, held_out: self.held_out() });
        }
        Ok(Course { points, parameters: self.parameters })
    }

    /// The pictures in another order; what is left over when batches are cut off is not learned from this time.
    fn shuffled(&mut self) -> Vec<u16> {
        for last in (1..self.learned.len()).rev() {
            let other = (u64::from(self.chance.next_u32()) * (last as u64 + 1)) >> 32;
            self.learned.swap(last, other as usize);
        }
        self.learned.clone()
    }

    fn tasks(&self, batch: &[u16]) -> Vec<Task> {
        let shards = batch.chunks(batch.len().div_ceil(self.plan.shards));
        shards.map(|shard| Task { parameters: self.parameters.as_slice().to_vec(), pictures: shard.to_vec() }).collect()
    }

    /// Moves the parameters against the mean of the shards' gradients, which are added in their order.
    fn step(&mut self, epoch: usize, gradients: &[Gradient]) -> Gradient {
        let mut sum = Gradient::zero();
        gradients.iter().for_each(|gradient| sum.add(gradient));
        let rate = RATE * (1.0 - epoch as f32 / self.plan.epochs as f32) / BATCH as f32;
        let moved = self.velocity.as_mut_slice().iter_mut().zip(self.parameters.as_mut_slice());
        for ((velocity, parameter), slope) in moved.zip(sum.slopes.as_slice()) {
            *velocity = MOMENTUM * *velocity - rate * slope;
            *parameter += *velocity;
        }
        sum
    }

    fn held_out(&self) -> f32 {
        let pictures = self.digits.pictures().iter().enumerate().filter(|(number, _)| is_held_out(*number));
        let (mut all, mut right) = (0, 0);
        for (_, picture) in pictures {
            all += 1;
            right += u32::from(guess(&self.parameters, picture) == picture.digit);
        }
        right as f32 / all as f32
    }
}

fn is_held_out(number: usize) -> bool {
    number % HELD_OUT_EVERY == HELD_OUT_EVERY - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All black, and of each digit as many.
    fn digits() -> Digits {
        let record = |n: u8| [[0; 64].as_slice(), &[n % 10]].concat();
        Digits::from_bytes(&(0..200).flat_map(record).collect::<Vec<u8>>()).unwrap()
    }

    const PLAN: Plan = Plan { epochs: 2, shards: 4, seed: 0 };

    #[test]
    fn pictures_are_learned_from_or_held_out_and_each_once() {
        let digits = digits();
        let mut trainer = Trainer::new(&digits, PLAN).unwrap();
        let (first, second) = (trainer.shuffled(), trainer.shuffled());
        assert_ne!(first, second);
        for mut batch in [first, second] {
            batch.sort_unstable();
            assert_eq!(batch, (0..200).filter(|number| number % 5 != 4).collect::<Vec<u16>>());
        }
    }

    #[test]
    fn batch_is_cut_into_shards() {
        let digits = digits();
        let batch: Vec<u16> = (0..128).collect();
        for (shards, sizes) in [(1, vec![128]), (4, vec![32; 4]), (3, vec![43, 43, 42]), (128, vec![1; 128])] {
            let tasks = Trainer::new(&digits, Plan { shards, ..PLAN }).unwrap().tasks(&batch);
            assert_eq!(tasks.iter().map(|task| task.pictures.len()).collect::<Vec<_>>(), sizes);
            assert_eq!(tasks.iter().flat_map(|task| task.pictures.clone()).collect::<Vec<_>>(), batch);
        }
    }

    #[test]
    fn every_step_is_heard_of_and_a_failure_ends_the_training() {
        let digits = digits();
        let (mut asked, mut heard) = (0, 0);
        let compute = async |tasks: Vec<Task>| {
            asked += 1;
            if asked > 1 { Err("no more") } else { Ok(tasks.iter().map(|_| Gradient::zero()).collect()) }
        };
        let trainer = Trainer::new(&digits, PLAN).unwrap();
        assert_eq!(trainer.steps(), 2);
        assert_eq!(pollster::block_on(trainer.run(compute, || heard += 1)), Err("no more"));
        assert_eq!(heard, 1);
    }

    #[test]
    fn too_few_pictures_are_refused() {
        let few = Digits::from_bytes(&digits().to_bytes()[..158 * 65]).unwrap();
        assert_eq!(Trainer::new(&few, PLAN).unwrap_err(), PicturesError { pictures: 158 });
        assert!(Trainer::new(&Digits::from_bytes(&digits().to_bytes()[..159 * 65]).unwrap(), PLAN).is_ok());
    }
}
