use serde::{Deserialize, Serialize};

use crate::environment::{ENVIRONMENT_SIDE_MAX, Environment};
use crate::model::{Mesh, TRIANGLES_MAX};
use crate::texture::{IMAGE_SIDE_MAX, Image};

/// What a picture is of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Subject {
    /// Quartz, metal and stones on slate, at dusk: all of it is in the program.
    Adit,
    /// A model that stands before an adit: all of it comes with the job.
    Model(Box<Model>),
}

/// A mesh in its surroundings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// What stands in the middle. Its size and place do not matter: it is put on the ground and made to fit.
    pub mesh: Mesh,
    /// What the mesh is painted with, by its texture coordinates, under a clear glaze.
    pub paint: Image,
    /// What the ground is made of.
    pub ground: Image,
    /// The light from all around.
    pub environment: Environment,
}

/// Why a subject cannot be rendered.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SubjectError {
    /// A side is 0 or too long, or the bytes are not three for each texel.
    #[error(
        "an image of {width}x{height} texels and {bytes} bytes; a side must be from 1 to {IMAGE_SIDE_MAX}, with three bytes for each texel"
    )]
    Image {
        /// What it says of itself.
        width: u32,
        /// What it says of itself.
        height: u32,
        /// How many there are.
        bytes: usize,
    },
    /// The side is 0 or too long, or the bytes are not four for each texel.
    #[error(
        "an environment of {side} columns and {bytes} bytes; it must have from 1 to {ENVIRONMENT_SIDE_MAX}, as many rows, and four bytes for each texel"
    )]
    Environment {
        /// What it says of itself.
        side: u32,
        /// How many there are.
        bytes: usize,
    },
    /// None, or too many.
    #[error("a mesh of {0} triangles; it must have from 1 to {TRIANGLES_MAX}")]
    Triangles(usize),
    /// A triangle names a corner that is not there.
    #[error("triangle {triangle} of the mesh has the corner {corner}, but there are only {corners} (from 0)")]
    Corner {
        /// Which, from 0.
        triangle: usize,
        /// Which, from 0.
        corner: u32,
        /// How many there are.
        corners: usize,
    },
    /// Some corners have normals or texture coordinates and others have none.
    #[error("the mesh has {positions} corners, but {count} {what}")]
    Uneven {
        /// How many there are.
        positions: usize,
        /// Normals or texture coordinates.
        what: &'static str,
        /// How many of these.
        count: usize,
    },
    /// A coordinate is no number or too large, or the mesh is of no size.
    #[error("{0}")]
    Shape(&'static str),
}

impl Subject {
    pub(crate) fn check(&self) -> Result<(), SubjectError> {
        let Self::Model(model) = self else { return Ok(()) };
        model.mesh.check()?;
        model.paint.check()?;
        model.ground.check()?;
        model.environment.check()
    }
}
