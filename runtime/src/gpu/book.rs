//! What a session has on a GPU, and what it may still do: the rules that `guest-sdk/abi.md` states, and the limits of the job.
//!
//! The sandbox keeps a book to answer its guest at once, and the GPU worker keeps one of its own, because a guest may have taken its sandbox
//! over. What a book has let through the adapter takes without a complaint.

use std::collections::BTreeSet;

use adit_protocol::GpuNeed;

use super::wire::{Binding, BindingKind, Shape};

/// Workgroups in one dimension (WebGPU, section 3.6.2: `maxComputeWorkgroupsPerDimension`).
const DIMENSION_MAX: u32 = adit_abi::GPU_DIMENSION_MAX as u32;
/// What an offset of a binding is a multiple of (`minStorageBufferOffsetAlignment`, `minUniformBufferOffsetAlignment`).
const BINDING_ALIGN: u64 = adit_abi::GPU_BINDING_ALIGN as u64;
/// What everything else is a multiple of (WebGPU, section 21.1: copies).
const ALIGN: u64 = adit_abi::GPU_ALIGN as u64;
/// Bytes of a uniform (`maxUniformBufferBindingSize`).
const UNIFORM_BYTES_MAX: u64 = adit_abi::GPU_UNIFORM_BYTES_MAX as u64;
/// Bindings that a dispatch may list: all that a pipeline can use, and some that it does not.
pub(crate) const BINDINGS_MAX: usize = adit_abi::GPU_BINDINGS_MAX as usize;

/// Operations of all pipelines that a job makes: a pipeline that is destroyed makes room for one more, and none for its driver's time. As
/// many as ten of the largest have, which is 13 s of lavapipe's at the worst.
const JOB_OPERATIONS_MAX: u64 = adit_abi::GPU_JOB_OPERATIONS_MAX as u64;
/// What a pipeline counts there at the least: no driver makes one of nothing in no time.
const PIPELINE_OPERATIONS_MIN: u64 = adit_abi::GPU_PIPELINE_OPERATIONS_MIN as u64;

/// A call that is not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// An argument is not what the call takes.
    #[error("{0}")]
    Invalid(String),
    /// A limit of the job would be exceeded.
    #[error("{0}")]
    Limit(String),
}

/// The state of a session.
#[derive(Debug)]
pub(crate) struct Book {
    need: GpuNeed,
    /// Sizes by handle.
    buffers: Vec<Option<u64>>,
    pipelines: Vec<Option<Shape>>,
    memory: u64,
    memory_peak: u64,
    dispatches: u64,
    bytes_moved: u64,
    has_floats: bool,
    /// Operations of all pipelines that there ever were.
    compiled: u64,
}

impl Book {
    pub(crate) fn new(need: GpuNeed) -> Self {
        Self {
            need,
            buffers: Vec::new(),
            pipelines: Vec::new(),
            memory: 0,
            memory_peak: 0,
            dispatches: 0,
            bytes_moved: 0,
            has_floats: false,
            compiled: 0,
        }
    }

    /// What the job may use.
    pub(crate) fn need(&self) -> &GpuNeed {
        &self.need
    }

    pub(crate) fn memory_peak(&self) -> u64 {
        self.memory_peak
    }

    pub(crate) fn dispatches(&self) -> u64 {
        self.dispatches
    }

    pub(crate) fn bytes_moved(&self) -> u64 {
        self.bytes_moved
    }

    /// Whether a pipeline was ever added whose shader computes with floats.
    pub(crate) fn has_floats(&self) -> bool {
        self.has_floats
    }

    /// Makes a buffer, and returns its handle.
    pub(crate) fn create(&mut self, bytes: u64) -> Result<u32, Fault> {
        if bytes == 0 || !bytes.is_multiple_of(ALIGN) {
            return Err(invalid(format!("a buffer of {bytes} bytes; it has at least {ALIGN}, and a multiple of that")));
        }
        within("GPU buffer, in bytes", bytes, self.need.buffer.0)?;
        within("GPU memory, in bytes", self.memory.saturating_add(bytes), self.need.memory.0)?;
        let handle = free_handle("GPU buffers", &mut self.buffers, self.need.buffers)?;
        self.buffers[handle as usize] = Some(bytes);
        self.memory += bytes;
        self.memory_peak = self.memory_peak.max(self.memory);
        Ok(handle)
    }

    /// Gives a buffer back.
    pub(crate) fn destroy(&mut self, buffer: u32) -> Result<(), Fault> {
        self.memory -= self.bytes_of(buffer)?;
        self.buffers[buffer as usize] = None;
        Ok(())
    }

    /// Counts a write of so many bytes.
    pub(crate) fn write(&mut self, buffer: u32, offset: u64, bytes: u64) -> Result<(), Fault> {
        self.check_range("a write", buffer, offset, bytes)?;
        self.bytes_moved = self.bytes_moved.saturating_add(bytes);
        Ok(())
    }

    /// Counts a read of so many bytes.
    pub(crate) fn read(&mut self, buffer: u32, offset: u64, bytes: u64) -> Result<(), Fault> {
        self.check_range("a read", buffer, offset, bytes)?;
        self.bytes_moved = self.bytes_moved.saturating_add(bytes);
        Ok(())
    }

    /// Checks a copy between buffers. It stays on the GPU, so it is not counted.
    pub(crate) fn copy(&self, from: u32, from_offset: u64, to: u32, to_offset: u64, bytes: u64) -> Result<(), Fault> {
        self.check_range("a copy's source", from, from_offset, bytes)?;
        self.check_range("a copy's target", to, to_offset, bytes)?;
        if from == to { Err(invalid(format!("a copy from buffer {from} to itself"))) } else { Ok(()) }
    }

    /// Whether one more pipeline may be added: to be asked before it is made.
    pub(crate) fn has_room_for_pipeline(&mut self) -> Result<(), Fault> {
        free_handle("GPU pipelines", &mut self.pipelines, self.need.pipelines).map(drop)
    }

    /// Adds a pipeline that was made, and returns its handle.
    pub(crate) fn add_pipeline(&mut self, shape: Shape) -> Result<u32, Fault> {
        let handle = free_handle("GPU pipelines", &mut self.pipelines, self.need.pipelines)?;
        self.compiled = compiled(self.compiled, &shape)?;
        self.has_floats |= shape.has_floats;
        self.pipelines[handle as usize] = Some(shape);
        Ok(handle)
    }

    /// Gives a pipeline back.
    pub(crate) fn drop_pipeline(&mut self, pipeline: u32) -> Result<(), Fault> {
        self.shape_of(pipeline)?;
        self.pipelines[pipeline as usize] = None;
        Ok(())
    }

    /// Counts a dispatch. Returns the bindings that the pipeline uses, with the sizes of those that had none, by binding.
    pub(crate) fn dispatch(&mut self, pipeline: u32, bindings: &[Binding], workgroups: [u32; 3]) -> Result<Vec<Binding>, Fault> {
        let bound = self.bound(pipeline, bindings)?;
        if let Some(most) = workgroups.iter().find(|count| **count > DIMENSION_MAX) {
            return Err(Fault::Limit(format!("{most} workgroups in one dimension; a dispatch has at most {DIMENSION_MAX}")));
        }
        let all = workgroups.iter().map(|count| u64::from(*count)).product();
        within("workgroups of a dispatch", all, self.need.workgroups)?;
        within("GPU dispatches", self.dispatches + 1, self.need.dispatches)?;
        self.dispatches += 1;
        Ok(bound)
    }

    /// Whether a pipeline may write to what is bound to a binding.
    pub(crate) fn is_written(&self, pipeline: u32, binding: u32) -> bool {
        let shape = self.shape_of(pipeline).ok();
        shape.is_some_and(|shape| shape.bindings.iter().any(|of| of.binding == binding && of.kind == BindingKind::ReadWrite))
    }

    /// What is bound to each binding that a pipeline uses.
    fn bound(&self, pipeline: u32, bindings: &[Binding]) -> Result<Vec<Binding>, Fault> {
        let shape = self.shape_of(pipeline)?;
        if bindings.len() > BINDINGS_MAX {
            return Err(invalid(format!("{} bindings; a dispatch lists at most {BINDINGS_MAX}", bindings.len())));
        }
        let mut seen = BTreeSet::new();
        if let Some(twice) = bindings.iter().find(|given| !seen.insert(given.binding)) {
            return Err(invalid(format!("binding {} is given twice", twice.binding)));
        }
        let mut bound = Vec::with_capacity(shape.bindings.len());
        for wanted in &shape.bindings {
            let given = bindings.iter().find(|given| given.binding == wanted.binding);
            let given =
                given.ok_or_else(|| invalid(format!("binding {} is used by the shader and not given", wanted.binding)))?;
            let given = self.resolve(given)?;
            if given.bytes < wanted.bytes_min {
                return Err(invalid(format!(
                    "binding {} has {} bytes; the shader's type has at least {}",
                    wanted.binding, given.bytes, wanted.bytes_min
                )));
            }
            if wanted.kind == BindingKind::Uniform && given.bytes > UNIFORM_BYTES_MAX {
                return Err(invalid(format!(
                    "binding {} has {} bytes; a uniform has at most {UNIFORM_BYTES_MAX}",
                    wanted.binding, given.bytes
                )));
            }
            bound.push(given);
        }
        let is_written = |index: usize| shape.bindings[index].kind == BindingKind::ReadWrite;
        for (index, one) in bound.iter().enumerate() {
            let other = bound.iter().enumerate().find(|(at, other)| *at != index && other.buffer == one.buffer);
            if let Some((at, _)) = other
                && (is_written(index) || is_written(at))
            {
                return Err(invalid(format!("buffer {} is bound for writing, and bound twice", one.buffer)));
            }
        }
        Ok(bound)
    }

    /// A binding with its size, within its buffer.
    fn resolve(&self, given: &Binding) -> Result<Binding, Fault> {
        let size = self.bytes_of(given.buffer)?;
        let Binding { binding, offset, .. } = *given;
        if !offset.is_multiple_of(BINDING_ALIGN) {
            return Err(invalid(format!("binding {binding} is at {offset}, which is no multiple of {BINDING_ALIGN}")));
        }
        let bytes = if given.bytes == 0 { size.saturating_sub(offset) } else { given.bytes };
        let is_inside = offset.checked_add(bytes).is_some_and(|end| end <= size);
        if bytes == 0 || !bytes.is_multiple_of(ALIGN) || !is_inside {
            return Err(invalid(format!("binding {binding} is {bytes} bytes at {offset} of a buffer of {size}")));
        }
        Ok(Binding { bytes, ..*given })
    }

    fn check_range(&self, what: &str, buffer: u32, offset: u64, bytes: u64) -> Result<(), Fault> {
        let size = self.bytes_of(buffer)?;
        let is_inside = offset.checked_add(bytes).is_some_and(|end| end <= size);
        if !is_inside || !offset.is_multiple_of(ALIGN) || !bytes.is_multiple_of(ALIGN) {
            return Err(invalid(format!(
                "{what} of {bytes} bytes at {offset} of a buffer of {size}; multiples of {ALIGN}, within it"
            )));
        }
        Ok(())
    }

    fn bytes_of(&self, buffer: u32) -> Result<u64, Fault> {
        let bytes = self.buffers.get(buffer as usize).copied().flatten();
        bytes.ok_or_else(|| invalid(format!("there is no buffer {buffer}")))
    }

    fn shape_of(&self, pipeline: u32) -> Result<&Shape, Fault> {
        let shape = self.pipelines.get(pipeline as usize).and_then(Option::as_ref);
        shape.ok_or_else(|| invalid(format!("there is no pipeline {pipeline}")))
    }
}

/// Operations of all that a job has had compiled, with a pipeline more; where it may have that.
pub(crate) fn compiled(before: u64, shape: &Shape) -> Result<u64, Fault> {
    let all = before.saturating_add(shape.operations.max(PIPELINE_OPERATIONS_MIN));
    within("operations of all pipelines that were made", all, JOB_OPERATIONS_MAX)?;
    Ok(all)
}

fn invalid(message: String) -> Fault {
    Fault::Invalid(message)
}

fn within(what: &str, value: u64, limit: u64) -> Result<(), Fault> {
    if value <= limit { Ok(()) } else { Err(Fault::Limit(format!("{what}: {value}, over the job's limit of {limit}"))) }
}

/// The lowest handle that names nothing.
fn free_handle<T>(what: &str, slots: &mut Vec<Option<T>>, limit: u32) -> Result<u32, Fault> {
    let free = slots.iter().position(Option::is_none).unwrap_or(slots.len());
    within(what, free as u64 + 1, limit.into())?;
    if free == slots.len() {
        slots.push(None);
    }
    Ok(free as u32)
}

#[cfg(test)]
mod tests {
    use adit_protocol::{ByteCount, Comparison};

    use super::super::wire::BindingShape;
    use super::*;

    fn need() -> GpuNeed {
        GpuNeed {
            memory: ByteCount(4096),
            buffer: ByteCount(2048),
            buffers: 3,
            pipelines: 2,
            dispatches: 2,
            workgroups: 100,
            comparison: Comparison::Class,
            ..GpuNeed::default()
        }
    }

    fn shape(kinds: &[BindingKind]) -> Shape {
        let bindings = kinds.iter().enumerate();
        let bindings = bindings.map(|(at, kind)| BindingShape { binding: at as u32, kind: *kind, bytes_min: 16 }).collect();
        Shape { bindings, workgroup: [64, 1, 1], has_floats: false, uses_atomic_results: false, operations: 1 }
    }

    fn binding(binding: u32, buffer: u32, offset: u64, bytes: u64) -> Binding {
        Binding { binding, buffer, offset, bytes }
    }

    fn is_limit<T: std::fmt::Debug>(result: Result<T, Fault>) -> bool {
        matches!(result, Err(Fault::Limit(_)))
    }

    fn is_invalid<T: std::fmt::Debug>(result: Result<T, Fault>) -> bool {
        matches!(result, Err(Fault::Invalid(_)))
    }

    #[test]
    fn memory_buffers_and_sizes_have_their_limits() {
        let mut book = Book::new(need());
        assert!(is_invalid(book.create(0)) && is_invalid(book.create(6)));
        assert!(is_limit(book.create(2052)));
        assert_eq!(book.create(2048), Ok(0));
        assert_eq!(book.create(2044), Ok(1));
        assert!(is_limit(book.create(8)), "4096 is all");
        assert_eq!(book.create(4), Ok(2));
        book.destroy(0).unwrap();
        assert!(is_invalid(book.destroy(0)) && is_invalid(book.destroy(77)));
        assert_eq!(book.create(4), Ok(0), "the lowest free handle");
        assert!(is_limit(book.create(4)), "three buffers are all");
        assert_eq!(book.memory_peak(), 4096);
        assert!(is_limit(Book::new(need()).create(u64::MAX - 3)));
    }

    #[test]
    fn ranges_are_aligned_and_within_their_buffer() {
        let mut book = Book::new(need());
        let (a, b) = (book.create(64).unwrap(), book.create(32).unwrap());
        assert_eq!(book.write(a, 60, 4), Ok(()));
        assert_eq!(book.read(a, 0, 64), Ok(()));
        assert_eq!(book.write(a, 64, 0), Ok(()));
        assert_eq!(book.bytes_moved(), 68);
        for (offset, bytes) in [(61, 4), (60, 3), (64, 4), (0, 68), (u64::MAX - 3, 4)] {
            assert!(is_invalid(book.write(a, offset, bytes)) && is_invalid(book.read(a, offset, bytes)), "{offset} {bytes}");
        }
        assert_eq!(book.copy(a, 32, b, 0, 32), Ok(()));
        assert!(is_invalid(book.copy(a, 32, b, 4, 32)) && is_invalid(book.copy(a, 36, b, 0, 32)));
        assert!(is_invalid(book.copy(a, 0, a, 32, 4)), "WebGPU has no copy within a buffer");
        assert_eq!(book.bytes_moved(), 68, "what is refused is not counted");
    }

    #[test]
    fn dispatch_has_what_its_shader_uses_and_no_more() {
        let mut book = Book::new(need());
        let (a, b) = (book.create(1024).unwrap(), book.create(1024).unwrap());
        let pipeline = book.add_pipeline(shape(&[BindingKind::Read, BindingKind::ReadWrite])).unwrap();
        let both = [binding(1, b, 256, 0), binding(0, a, 0, 16), binding(9, a, 0, 4)];
        let bound = book.dispatch(pipeline, &both, [1, 1, 1]).unwrap();
        assert_eq!(bound, [binding(0, a, 0, 16), binding(1, b, 256, 768)]);
        let wrong: [&[Binding]; 9] = [
            &[both[0]],
            &[both[0], both[0], both[1]],
            &[both[0], binding(0, a, 0, 12)],
            &[both[0], binding(0, a, 128, 16)],
            &[both[0], binding(0, a, 0, 18)],
            &[both[0], binding(0, a, 1024, 0)],
            &[both[0], binding(0, a, 768, 512)],
            &[both[0], binding(0, b, 0, 16)],
            &[both[0], binding(0, 7, 0, 16)],
        ];
        for bindings in wrong {
            assert!(is_invalid(book.dispatch(pipeline, bindings, [1, 1, 1])), "{bindings:?}");
        }
        assert!(is_invalid(book.dispatch(5, &both, [1, 1, 1])));
        assert!(is_invalid(book.dispatch(pipeline, &[both[0]; BINDINGS_MAX + 1], [1, 1, 1])));
        assert_eq!(book.dispatches(), 1);
    }

    #[test]
    fn buffer_that_is_only_read_may_be_bound_twice() {
        let mut book = Book::new(need());
        let a = book.create(1024).unwrap();
        let pipeline = book.add_pipeline(shape(&[BindingKind::Read, BindingKind::Read])).unwrap();
        assert!(book.dispatch(pipeline, &[binding(0, a, 0, 0), binding(1, a, 0, 0)], [1, 1, 1]).is_ok());
    }

    #[test]
    fn dispatches_and_workgroups_have_their_limits() {
        let mut book = Book::new(need());
        let pipeline = book.add_pipeline(shape(&[])).unwrap();
        assert!(is_limit(book.dispatch(pipeline, &[], [101, 1, 1])) && is_limit(book.dispatch(pipeline, &[], [51, 2, 1])));
        assert!(is_limit(book.dispatch(pipeline, &[], [u32::MAX; 3])) && is_limit(book.dispatch(pipeline, &[], [65_536, 0, 0])));
        assert_eq!(book.dispatch(pipeline, &[], [50, 2, 1]), Ok(vec![]));
        assert_eq!(book.dispatch(pipeline, &[], [0, 1, 1]), Ok(vec![]));
        assert!(is_limit(book.dispatch(pipeline, &[], [1, 1, 1])), "two are all");
    }

    #[test]
    fn pipelines_have_their_limit_and_floats_are_remembered() {
        let mut book = Book::new(need());
        assert_eq!(book.has_room_for_pipeline(), Ok(()));
        assert_eq!(book.add_pipeline(shape(&[])), Ok(0));
        assert!(!book.has_floats());
        assert_eq!(book.add_pipeline(Shape { has_floats: true, ..shape(&[]) }), Ok(1));
        assert!(is_limit(book.has_room_for_pipeline()) && is_limit(book.add_pipeline(shape(&[]))));
        book.drop_pipeline(1).unwrap();
        assert!(is_invalid(book.drop_pipeline(1)));
        assert!(book.has_floats(), "what it computed with floats may be in the output");
        assert_eq!(book.has_room_for_pipeline(), Ok(()));
    }

    /// A guest that destroyed each pipeline and made the next had its driver compile for ever.
    #[test]
    fn pipelines_of_a_job_have_so_many_operations_together() {
        let of = |operations: u64| Shape { operations, ..shape(&[]) };
        // What is made, each destroyed before the next, and how many operations the last of them may have.
        let rows: [(&[u64], u64); 3] = [
            (&[180_000; 9], 180_000),
            (&[180_000, 1_001, 1_617_999], 1_000),
            // Each counts for a thousand.
            (&[0; 1_799], 1_000),
        ];
        for (made, most) in rows {
            for (operations, is_made) in [(most, true), (most + 1, false)] {
                let mut book = Book::new(need());
                for operations in made {
                    let pipeline = book.add_pipeline(of(*operations)).unwrap();
                    book.drop_pipeline(pipeline).unwrap();
                }
                let last = book.add_pipeline(of(operations));
                assert_eq!((last.is_ok(), is_limit(last)), (is_made, !is_made), "{} and {operations}", made.len());
            }
        }
        assert!(compiled(u64::MAX, &of(u64::MAX)).is_err());
    }

    #[test]
    fn uniforms_are_small() {
        let need = GpuNeed { memory: ByteCount(1 << 20), buffer: ByteCount(1 << 20), ..need() };
        let mut book = Book::new(need);
        let a = book.create(1 << 20).unwrap();
        let pipeline = book.add_pipeline(shape(&[BindingKind::Uniform])).unwrap();
        assert!(is_invalid(book.dispatch(pipeline, &[binding(0, a, 0, 0)], [1, 1, 1])));
        assert!(book.dispatch(pipeline, &[binding(0, a, 0, UNIFORM_BYTES_MAX)], [1, 1, 1]).is_ok());
    }
}
