use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{ByteCount, SpecError, UnfitReason, limits};

/// What a job needs of a GPU, and the most that it may take of it. A guest learns nothing else of the GPU that it runs on: two adapters
/// that can do this much look the same to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GpuNeed {
    /// Bytes of all of its buffers together.
    pub memory: ByteCount,
    /// Bytes of the largest of them.
    pub buffer: ByteCount,
    /// Buffers at one time.
    pub buffers: u32,
    /// Pipelines at one time.
    pub pipelines: u32,
    /// Dispatches over the whole job.
    pub dispatches: u64,
    /// Workgroups of one dispatch, over all three dimensions.
    pub workgroups: u64,
    /// Invocations of one workgroup.
    pub invocations: u32,
    /// Bytes of memory that the invocations of one workgroup share.
    pub workgroup_memory: u32,
    /// How results of this job may be compared with those of another run.
    pub comparison: Comparison,
}

impl Default for GpuNeed {
    /// What nearly every adapter of the last ten years can do (the default limits of WebGPU, section 3.6.2), with 256 MiB.
    fn default() -> Self {
        Self {
            memory: ByteCount(256 << 20),
            buffer: ByteCount(128 << 20),
            buffers: 64,
            pipelines: 64,
            dispatches: 1 << 20,
            workgroups: 1 << 24,
            invocations: 256,
            workgroup_memory: 16 * 1024,
            comparison: Comparison::Class,
        }
    }
}

impl GpuNeed {
    /// Each bound of [`crate::limits`] that concerns it: what it is called, what is asked, and the most that anyone may ask.
    pub(crate) fn rows(&self) -> [(&'static str, u64, u64); 8] {
        [
            ("the GPU memory limit in bytes", self.memory.0, limits::GPU_MEMORY_BYTES_MAX),
            ("the size of the largest GPU buffer in bytes", self.buffer.0, self.memory.0),
            ("the number of GPU buffers", self.buffers.into(), limits::GPU_BUFFERS_MAX.into()),
            ("the number of GPU pipelines", self.pipelines.into(), limits::GPU_PIPELINES_MAX.into()),
            ("the number of GPU dispatches", self.dispatches, limits::GPU_DISPATCHES_MAX),
            ("the workgroups of a GPU dispatch", self.workgroups, limits::GPU_WORKGROUPS_MAX),
            ("the invocations of a GPU workgroup", self.invocations.into(), limits::GPU_INVOCATIONS_MAX.into()),
            ("the memory of a GPU workgroup in bytes", self.workgroup_memory.into(), limits::GPU_WORKGROUP_BYTES_MAX.into()),
        ]
    }

    /// # Errors
    /// [`SpecError`] names the first bound that is exceeded.
    pub fn check(&self) -> Result<(), SpecError> {
        SpecError::first_of(self.rows())
    }
}

/// By which rule the results of two runs of a job on a GPU are the same results.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Comparison {
    /// Bit for bit, whatever the adapters: no shader computes with floats. A job that declares this cannot make one that does.
    Exact,
    /// Bit for bit between adapters of one class; between others nothing is said.
    #[default]
    Class,
    /// The output is an array of `f32` (IEEE 754-2019 binary32, little-endian), and each number lies within the tolerance.
    Tolerance(Tolerance),
}

impl Comparison {
    /// The rule's name as scripts read it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Class => "class",
            Self::Tolerance(_) => "tolerance",
        }
    }

    /// The rule that holds for a run: a job whose shaders turned out to compute with no floats is comparable between any adapters,
    /// whatever it declared.
    pub fn held(self, has_floats: bool) -> Self {
        if has_floats { self } else { Self::Exact }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tolerance(tolerance) => write!(f, "{tolerance}"),
            _ => f.write_str(self.name()),
        }
    }
}

impl FromStr for Comparison {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "exact" => Ok(Self::Exact),
            "class" => Ok(Self::Class),
            _ => text.parse().map(Self::Tolerance),
        }
    }
}

/// How far apart two numbers may be that count as one: `absolute + relative x |reference|`. Integers, so that a specification has one
/// encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tolerance {
    /// In 10^-9.
    pub absolute_e9: u64,
    /// In 10^-9 of the reference.
    pub relative_e9: u64,
}

/// What the parts of a tolerance are in.
const E9: f64 = 1e9;

impl Tolerance {
    /// Whether `value` counts as `reference`. Not a number counts as not a number alone, an infinity as itself alone.
    pub fn holds(&self, reference: f32, value: f32) -> bool {
        if reference.is_nan() || value.is_nan() || reference.is_infinite() || value.is_infinite() {
            return reference.is_nan() && value.is_nan() || reference == value;
        }
        let most = self.absolute_e9 as f64 / E9 + self.relative_e9 as f64 / E9 * f64::from(reference).abs();
        (f64::from(value) - f64::from(reference)).abs() <= most
    }

    /// Whether the output `value` counts as the output `reference`; where not, the first byte of the number that does not.
    ///
    /// # Errors
    /// Where in the outputs they differ. Outputs that are no arrays of `f32`, or not equally long, differ where the shorter ends.
    pub fn compare(&self, reference: &[u8], value: &[u8]) -> Result<(), usize> {
        let (numbers, rest) = reference.as_chunks::<4>();
        let (others, other_rest) = value.as_chunks::<4>();
        let differs = |(a, b): (&[u8; 4], &[u8; 4])| !self.holds(f32::from_le_bytes(*a), f32::from_le_bytes(*b));
        match numbers.iter().zip(others).position(differs) {
            Some(index) => Err(index * 4),
            None if reference.len() == value.len() && rest == other_rest => Ok(()),
            None => Err(numbers.len().min(others.len()) * 4),
        }
    }
}

impl fmt::Display for Tolerance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.absolute_e9 as f64 / E9, self.relative_e9 as f64 / E9)
    }
}

impl FromStr for Tolerance {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let part = |text: &str| {
            let number: f64 = text.trim().parse().ok()?;
            // At most what fits, and no less than what can be said.
            (0.0..=1e9).contains(&number).then(|| (number * E9).round() as u64)
        };
        let (absolute, relative) = text.split_once(',').unwrap_or((text, "0"));
        match (part(absolute), part(relative)) {
            (Some(absolute_e9), Some(relative_e9)) => Ok(Self { absolute_e9, relative_e9 }),
            _ => Err(format!(
                "`{text}` is not how GPU results compare; write `exact`, `class`, or a tolerance `ABSOLUTE[,RELATIVE]` such as `1e-6,1e-5`"
            )),
        }
    }
}

/// What a node's GPU gives one job.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GpuOffer {
    /// The adapter's class: kind, maker, driver, and a mark of model and driver's version, such as `software/mesa/llvmpipe/5d41402a`. At
    /// most [`limits::GPU_CLASS_BYTES_MAX`].
    pub class: String,
    /// Bytes of all buffers of a job.
    pub memory: ByteCount,
    /// Bytes of the largest buffer.
    pub buffer: ByteCount,
    /// Invocations of one workgroup.
    pub invocations: u32,
    /// Bytes of memory that the invocations of one workgroup share.
    pub workgroup_memory: u32,
}

impl GpuOffer {
    /// Whether a job that needs `need` can run on it.
    pub fn fits(&self, need: &GpuNeed) -> bool {
        self.unfit(need).is_none()
    }

    /// What a job needs and it does not have.
    pub fn unfit(&self, need: &GpuNeed) -> Option<UnfitReason> {
        if need.memory > self.memory {
            Some(UnfitReason::GpuMemory)
        } else if need.buffer > self.buffer {
            Some(UnfitReason::GpuBuffer)
        } else if need.invocations > self.invocations {
            Some(UnfitReason::GpuInvocations)
        } else if need.workgroup_memory > self.workgroup_memory {
            Some(UnfitReason::GpuWorkgroupMemory)
        } else {
            None
        }
    }
}

/// What a receipt says of the GPU beside the time that is billed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuRun {
    /// The adapter's class, as offered.
    pub class: String,
    /// By which rule its results can be compared.
    pub comparison: Comparison,
    /// Dispatches that were made.
    pub dispatches: u64,
    /// Bytes that went to its buffers and came back from them.
    pub bytes_moved: ByteCount,
    /// The most bytes that its buffers held at one time.
    pub memory_peak: ByteCount,
}

impl GpuRun {
    /// Whether a job that needs `need` may have done this.
    pub fn is_within(&self, need: &GpuNeed) -> bool {
        self.class.len() <= limits::GPU_CLASS_BYTES_MAX
            && [need.comparison, Comparison::Exact].contains(&self.comparison)
            && self.dispatches <= need.dispatches
            && self.memory_peak <= need.memory
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLERANCE: Tolerance = Tolerance { absolute_e9: 1_000, relative_e9: 10_000 };

    fn bytes(numbers: &[f32]) -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    #[test]
    fn default_need_is_within_every_limit() {
        assert_eq!(GpuNeed::default().check(), Ok(()));
    }

    #[test]
    fn comparison_is_read_as_it_is_written() {
        for rule in [Comparison::Exact, Comparison::Class, Comparison::Tolerance(TOLERANCE)] {
            assert_eq!(rule.to_string().parse(), Ok(rule));
        }
        assert_eq!("0.5".parse(), Ok(Comparison::Tolerance(Tolerance { absolute_e9: 500_000_000, relative_e9: 0 })));
        for wrong in ["", "about", "-1", "nan", "1,2,3", "inf", "1e99"] {
            assert!(wrong.parse::<Comparison>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn tolerance_is_absolute_and_relative() {
        assert!(TOLERANCE.holds(0.0, 0.9e-6) && !TOLERANCE.holds(0.0, 1.1e-6));
        assert!(TOLERANCE.holds(100.0, 100.000_9) && !TOLERANCE.holds(100.0, 100.002));
        assert!(TOLERANCE.holds(f32::NAN, f32::NAN) && !TOLERANCE.holds(f32::NAN, 0.0) && !TOLERANCE.holds(0.0, f32::NAN));
        assert!(TOLERANCE.holds(f32::INFINITY, f32::INFINITY) && !TOLERANCE.holds(f32::INFINITY, f32::MAX));
        assert!(!TOLERANCE.holds(f32::INFINITY, f32::NEG_INFINITY) && !TOLERANCE.holds(1.0, f32::INFINITY));
    }

    #[test]
    fn outputs_differ_where_the_first_number_does() {
        let reference = bytes(&[1.0, 2.0, 3.0]);
        assert_eq!(TOLERANCE.compare(&reference, &bytes(&[1.0, 2.000_001, 3.0])), Ok(()));
        assert_eq!(TOLERANCE.compare(&reference, &bytes(&[1.0, 2.1, 4.0])), Err(4));
        assert_eq!(TOLERANCE.compare(&reference, &bytes(&[1.0, 2.0])), Err(8));
        assert_eq!(TOLERANCE.compare(&reference, &[reference.clone(), vec![0]].concat()), Err(12));
        assert_eq!(TOLERANCE.compare(b"abc", b"abd"), Err(0));
        assert_eq!(TOLERANCE.compare(b"", b""), Ok(()));
    }

    #[test]
    fn integers_are_comparable_whatever_was_declared() {
        assert_eq!(Comparison::Class.held(false), Comparison::Exact);
        assert_eq!(Comparison::Class.held(true), Comparison::Class);
    }

    #[test]
    fn each_limit_of_an_offer_counts() {
        let need = GpuNeed::default();
        let offer = GpuOffer {
            class: "software/mesa/llvmpipe".into(),
            memory: need.memory,
            buffer: need.buffer,
            invocations: need.invocations,
            workgroup_memory: need.workgroup_memory,
        };
        assert!(offer.fits(&need));
        let over: [fn(&mut GpuNeed); 4] =
            [|n| n.memory.0 += 1, |n| n.buffer.0 += 1, |n| n.invocations += 1, |n| n.workgroup_memory += 1];
        for change in over {
            let mut more = need;
            change(&mut more);
            assert!(!offer.fits(&more), "{more:?}");
        }
    }
}
