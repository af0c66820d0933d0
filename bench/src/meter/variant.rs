//! One program, made ready in several ways.

use adit_runtime::lab::{self, Metered, OptLevel, Options, Strategy};
use anyhow::{Context, Result};
use wasmtime::Config;

/// How a program is counted, and by whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Variant {
    /// Not at all: the shipped engine with the program as it is.
    Bare,
    /// By the engine's own fuel, without a way to stop it from outside.
    Fuel,
    /// By the engine's own fuel, with epochs to stop it.
    FuelAndEpochs,
    /// Not at all, and every NaN made canonical by the engine.
    EngineNan,
    /// By the meter, NaNs left as they are.
    Meter,
    /// As shipped: by the meter, and NaNs made canonical where their bits can be seen.
    MeterNan,
}

/// A module as the engine is to have it.
pub(crate) struct Prepared {
    /// The module.
    pub(crate) wasm: Vec<u8>,
    /// The name of the meter's memory, where there is one.
    pub(crate) meter: Option<String>,
}

impl Variant {
    /// What the tables call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Fuel => "fuel",
            Self::FuelAndEpochs => "fuel+epochs",
            Self::EngineNan => "engine nan",
            Self::Meter => "meter",
            Self::MeterNan => "meter+nan",
        }
    }

    /// The shipped engine, with what this variant changes.
    pub(crate) fn config(self) -> Config {
        let mut config = lab::config(Strategy::Cranelift, OptLevel::Speed);
        config.consume_fuel(self.has_engine_fuel()).epoch_interruption(self == Self::FuelAndEpochs);
        config.cranelift_nan_canonicalization(self == Self::EngineNan);
        config
    }

    /// What becomes of the module before the engine sees it.
    pub(crate) fn prepare(self, wasm: &[u8]) -> Result<Prepared> {
        let canonical_nan = match self {
            Self::Bare | Self::Fuel | Self::FuelAndEpochs | Self::EngineNan => {
                return Ok(Prepared { wasm: wasm.to_vec(), meter: None });
            }
            Self::Meter => false,
            Self::MeterNan => true,
        };
        let options = Options { canonical_nan, ..Options::default() };
        let Metered { wasm, facts, .. } = lab::instrument(wasm, &options).context("the meter")?;
        Ok(Prepared { wasm, meter: Some(facts.meter_export) })
    }

    /// Whether the engine's own fuel has to be filled up.
    pub(crate) fn has_engine_fuel(self) -> bool {
        matches!(self, Self::Fuel | Self::FuelAndEpochs)
    }

    /// Whether a store stops at an epoch.
    pub(crate) fn has_epochs(self) -> bool {
        self == Self::FuelAndEpochs
    }
}
