//! What a guest has on the GPU, and what it may still do: the rules of `abi.md`, which the host keeps too.

use std::collections::BTreeSet;

use super::super::{Error, Limits, Record};
use super::shader::{BindingShape, Kind, Shape};

/// Workgroups in one dimension.
const DIMENSION_MAX: u32 = adit_abi::GPU_DIMENSION_MAX as u32;
/// What an offset of a binding is a multiple of.
const BINDING_ALIGN: u64 = adit_abi::GPU_BINDING_ALIGN as u64;
/// What everything else is a multiple of.
const ALIGN: u64 = 4;
/// Bytes of a uniform.
const UNIFORM_BYTES_MAX: u64 = adit_abi::GPU_UNIFORM_BYTES_MAX as u64;
/// Bindings that a dispatch may list.
const BINDINGS_MAX: usize = adit_abi::GPU_BINDINGS_MAX as usize;
/// Operations of all pipelines that a job makes.
const JOB_OPERATIONS_MAX: u64 = adit_abi::GPU_JOB_OPERATIONS_MAX as u64;
/// What a pipeline counts there at the least.
const PIPELINE_OPERATIONS_MIN: u64 = adit_abi::GPU_PIPELINE_OPERATIONS_MIN as u64;

#[derive(Debug)]
pub(super) struct Book {
    pub(super) limits: Limits,
    /// Sizes by handle.
    buffers: Vec<Option<u64>>,
    pipelines: Vec<Option<Shape>>,
    memory: u64,
    dispatches: u64,
    /// Operations of all pipelines that there ever were.
    compiled: u64,
}

impl Book {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, buffers: Vec::new(), pipelines: Vec::new(), memory: 0, dispatches: 0, compiled: 0 }
    }

    /// Makes a buffer, and returns its handle.
    pub(super) fn create(&mut self, bytes: u64) -> Result<u32, Error> {
        if bytes == 0 || !bytes.is_multiple_of(ALIGN) {
            return Err(invalid(format!("a buffer of {bytes} bytes; it has at least {ALIGN}, and a multiple of that")));
        }
        within("GPU buffer, in bytes", bytes, self.limits.buffer)?;
        within("GPU memory, in bytes", self.memory.saturating_add(bytes), self.limits.memory)?;
        let handle = free_handle("GPU buffers", &mut self.buffers, self.limits.buffers)?;
        self.buffers[handle as usize] = Some(bytes);
        self.memory += bytes;
        Ok(handle)
    }

    /// Gives a buffer back.
    pub(super) fn destroy(&mut self, buffer: u32) -> Result<(), Error> {
        self.memory -= self.bytes_of(buffer)?;
        self.buffers[buffer as usize] = None;
        Ok(())
    }

    /// Whether a part of a buffer may be written or read.
    pub(super) fn check_range(&self, what: &str, buffer: u32, offset: u64, bytes: u64) -> Result<(), Error> {
        let size = self.bytes_of(buffer)?;
        let is_inside = offset.checked_add(bytes).is_some_and(|end| end <= size);
        if !is_inside || !offset.is_multiple_of(ALIGN) || !bytes.is_multiple_of(ALIGN) {
            return Err(invalid(format!(
                "{what} of {bytes} bytes at {offset} of a buffer of {size}; multiples of {ALIGN}, within it"
            )));
        }
        Ok(())
    }

    /// Whether a copy between two places, each a buffer and an offset, may be made.
    pub(super) fn check_copy(&self, from: (u32, u64), to: (u32, u64), bytes: u64) -> Result<(), Error> {
        self.check_range("a copy's source", from.0, from.1, bytes)?;
        self.check_range("a copy's target", to.0, to.1, bytes)?;
        if from.0 == to.0 { Err(invalid(format!("a copy from buffer {} to itself", from.0))) } else { Ok(()) }
    }

    /// Whether one more pipeline may be added: to be asked before it is made.
    pub(super) fn has_room_for_pipeline(&mut self) -> Result<(), Error> {
        free_handle("GPU pipelines", &mut self.pipelines, self.limits.pipelines).map(drop)
    }

    /// Operations of all that was compiled, with a pipeline more: to be asked before a driver sees it.
    pub(super) fn compiled_with(&self, shape: &Shape) -> Result<u64, Error> {
        let all = self.compiled + shape.operations.max(PIPELINE_OPERATIONS_MIN);
        within("operations of all pipelines that were made", all, JOB_OPERATIONS_MAX)?;
        Ok(all)
    }

    /// Adds a pipeline that was made, and returns its handle.
    pub(super) fn add_pipeline(&mut self, shape: Shape) -> Result<u32, Error> {
        let handle = free_handle("GPU pipelines", &mut self.pipelines, self.limits.pipelines)?;
        self.compiled = self.compiled_with(&shape)?;
        self.pipelines[handle as usize] = Some(shape);
        Ok(handle)
    }

    /// Gives a pipeline back.
    pub(super) fn drop_pipeline(&mut self, pipeline: u32) -> Result<(), Error> {
        self.shape_of(pipeline)?;
        self.pipelines[pipeline as usize] = None;
        Ok(())
    }

    /// Counts a dispatch. Returns the bindings that the pipeline uses, each with its size.
    pub(super) fn dispatch(&mut self, pipeline: u32, given: &[Record], workgroups: [u32; 3]) -> Result<Vec<Record>, Error> {
        let bound = self.bound(pipeline, given)?;
        if let Some(most) = workgroups.iter().find(|count| **count > DIMENSION_MAX) {
            return Err(Error::Limit(format!("{most} workgroups in one dimension; a dispatch has at most {DIMENSION_MAX}")));
        }
        let all = workgroups.iter().map(|count| u64::from(*count)).product();
        within("workgroups of a dispatch", all, self.limits.workgroups)?;
        within("GPU dispatches", self.dispatches + 1, self.limits.dispatches)?;
        self.dispatches += 1;
        Ok(bound)
    }

    /// What is bound to each binding that a pipeline uses.
    fn bound(&self, pipeline: u32, given: &[Record]) -> Result<Vec<Record>, Error> {
        let shape = self.shape_of(pipeline)?;
        if given.len() > BINDINGS_MAX {
            return Err(invalid(format!("{} bindings; a dispatch lists at most {BINDINGS_MAX}", given.len())));
        }
        let mut seen = BTreeSet::new();
        if let Some(twice) = given.iter().find(|record| !seen.insert(record.binding)) {
            return Err(invalid(format!("binding {} is given twice", twice.binding)));
        }
        let bound = shape.bindings.iter().map(|wanted| self.fit(wanted, given)).collect::<Result<Vec<_>, _>>()?;
        check_writers(&shape.bindings, &bound)?;
        Ok(bound)
    }

    /// What is given for one binding, with its size.
    fn fit(&self, wanted: &BindingShape, given: &[Record]) -> Result<Record, Error> {
        let BindingShape { binding, kind, bytes_min } = *wanted;
        let given = given.iter().find(|record| record.binding == binding);
        let given = given.ok_or_else(|| invalid(format!("binding {binding} is used by the shader and not given")))?;
        let given = self.resolve(given)?;
        let bytes = given.bytes;
        if bytes < bytes_min {
            return Err(invalid(format!("binding {binding} has {bytes} bytes; the shader's type has at least {bytes_min}")));
        }
        if kind == Kind::Uniform && bytes > UNIFORM_BYTES_MAX {
            return Err(invalid(format!("binding {binding} has {bytes} bytes; a uniform has at most {UNIFORM_BYTES_MAX}")));
        }
        Ok(given)
    }

    /// A binding with its size, within its buffer.
    fn resolve(&self, given: &Record) -> Result<Record, Error> {
        let size = self.bytes_of(given.buffer)?;
        let Record { binding, offset, .. } = *given;
        if !offset.is_multiple_of(BINDING_ALIGN) {
            return Err(invalid(format!("binding {binding} is at {offset}, which is no multiple of {BINDING_ALIGN}")));
        }
        let bytes = if given.bytes == 0 { size.saturating_sub(offset) } else { given.bytes };
        let is_inside = offset.checked_add(bytes).is_some_and(|end| end <= size);
        if bytes == 0 || !bytes.is_multiple_of(ALIGN) || !is_inside {
            return Err(invalid(format!("binding {binding} is {bytes} bytes at {offset} of a buffer of {size}")));
        }
        Ok(Record { bytes, ..*given })
    }

    fn bytes_of(&self, buffer: u32) -> Result<u64, Error> {
        let bytes = self.buffers.get(buffer as usize).copied().flatten();
        bytes.ok_or_else(|| invalid(format!("there is no buffer {buffer}")))
    }

    fn shape_of(&self, pipeline: u32) -> Result<&Shape, Error> {
        let shape = self.pipelines.get(pipeline as usize).and_then(Option::as_ref);
        shape.ok_or_else(|| invalid(format!("there is no pipeline {pipeline}")))
    }
}

/// A buffer that is bound for writing is bound once.
fn check_writers(shapes: &[BindingShape], bound: &[Record]) -> Result<(), Error> {
    let pairs = || shapes.iter().zip(bound);
    for (shape, record) in pairs().filter(|(shape, _)| shape.kind == Kind::ReadWrite) {
        if pairs().any(|(other, record_2)| other.binding != shape.binding && record_2.buffer == record.buffer) {
            return Err(invalid(format!("buffer {} is bound for writing, and bound twice", record.buffer)));
        }
    }
    Ok(())
}

fn invalid(message: String) -> Error {
    Error::Invalid(message)
}

fn within(what: &str, value: u64, limit: u64) -> Result<(), Error> {
    if value <= limit { Ok(()) } else { Err(Error::Limit(format!("{what}: {value}, over the job's limit of {limit}"))) }
}

/// The lowest handle that names nothing.
fn free_handle<T>(what: &str, slots: &mut Vec<Option<T>>, limit: u32) -> Result<u32, Error> {
    let free = slots.iter().position(Option::is_none).unwrap_or(slots.len());
    within(what, free as u64 + 1, limit.into())?;
    if free == slots.len() {
        slots.push(None);
    }
    Ok(free as u32)
}
