use crate::environment::EnvironmentLight;
use crate::vec3::Vec3;

/// What is around a scene.
#[derive(Debug)]
pub(crate) enum Sky {
    Evening(Evening),
    Photograph(EnvironmentLight),
}

impl Sky {
    /// The light from a unit direction.
    pub(crate) fn radiance(&self, direction: Vec3) -> Vec3 {
        match self {
            Self::Evening(evening) => evening.radiance(direction),
            Self::Photograph(environment) => environment.radiance(direction),
        }
    }

    /// The sky as light that is worth to be asked at each surface: a photograph may have a window or a sun in it, an evening is even enough
    /// to be found by chance.
    pub(crate) fn light(&self) -> Option<&EnvironmentLight> {
        match self {
            Self::Evening(_) => None,
            Self::Photograph(environment) => Some(environment),
        }
    }
}

/// An evening sky, alike above and below the horizon.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Evening {
    /// The radiance straight up.
    pub(crate) zenith: Vec3,
    /// The radiance all along the horizon.
    pub(crate) dusk: Vec3,
    /// What is added at the horizon, most of it where the sun went down.
    pub(crate) sunset: Vec3,
    /// The unit direction to where the sun went down.
    pub(crate) sun: Vec3,
}

impl Evening {
    /// The light from a unit direction.
    pub(crate) fn radiance(&self, direction: Vec3) -> Vec3 {
        let low = 1.0 - direction.y.abs();
        let low_4 = low * low * low * low;
        let glow = 0.5 + 0.5 * direction.dot(self.sun);
        let glow_4 = glow * glow * glow * glow;
        self.zenith.lerp(self.dusk, low_4) + self.sunset * (low_4 * low_4 * low_4 * (0.12 + 0.88 * glow_4))
    }
}
