use serde::{Deserialize, Serialize};

use crate::{Digits, Gradient, Parameters};

/// What a job is asked: the gradient of some pictures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// All parameters, as [`Parameters::as_slice`] has them.
    pub parameters: Vec<f32>,
    /// The pictures, by their numbers in the data.
    pub pictures: Vec<u16>,
}

/// A job's answer, as it is sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    slopes: Vec<f32>,
    loss: f32,
    right: u32,
}

/// Why a task has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// There are other than [`Parameters::COUNT`] parameters.
    #[error("{given} parameters are given, and the network has {}", Parameters::COUNT)]
    Parameters {
        /// How many there are.
        given: usize,
    },
    /// A picture is not in the data.
    #[error("there is no picture {picture}; the data has {there}")]
    Picture {
        /// Its number.
        picture: u16,
        /// How many pictures there are.
        there: usize,
    },
}

impl Task {
    /// The job.
    ///
    /// # Errors
    /// See [`TaskError`].
    pub fn run(&self, digits: &Digits) -> Result<Gradient, TaskError> {
        let parameters =
            Parameters::from_slice(&self.parameters).ok_or(TaskError::Parameters { given: self.parameters.len() })?;
        let all = digits.pictures();
        let find = |number: &u16| all.get(usize::from(*number)).ok_or(TaskError::Picture { picture: *number, there: all.len() });
        let pictures = self.pictures.iter().map(find).collect::<Result<Vec<_>, _>>()?;
        Ok(Gradient::of(&parameters, pictures))
    }
}

impl From<Gradient> for Answer {
    fn from(gradient: Gradient) -> Self {
        Self { slopes: gradient.slopes.as_slice().to_vec(), loss: gradient.loss, right: gradient.right }
    }
}

impl Answer {
    /// The gradient, if it is one.
    ///
    /// # Errors
    /// It has another number of slopes than the network parameters.
    pub fn gradient(&self) -> Result<Gradient, TaskError> {
        let slopes = Parameters::from_slice(&self.slopes).ok_or(TaskError::Parameters { given: self.slopes.len() })?;
        Ok(Gradient { slopes, loss: self.loss, right: self.right })
    }
}
