//! The GPU's calls, to this machine's own: by the rules of the host interface, so that what passes here passes there.

mod book;
mod device;
mod shader;

use std::cell::RefCell;
use std::rc::Rc;

use self::book::Book;
use self::device::Device;
use self::shader::Shape;
use super::{Error, Limits, Record};

/// A GPU with what a guest has on it.
#[derive(Debug, Clone)]
pub(super) struct Session(Rc<RefCell<State>>);

#[derive(Debug)]
struct State {
    book: Book,
    device: Device,
    /// By handle, as in the book.
    buffers: Vec<Option<wgpu::Buffer>>,
    /// By handle, as in the book.
    pipelines: Vec<Option<wgpu::ComputePipeline>>,
}

impl Session {
    pub(super) fn open() -> Result<Self, Error> {
        Self::open_with(Limits::default())
    }

    pub(super) fn open_with(limits: Limits) -> Result<Self, Error> {
        let device = Device::open(&limits)?;
        let state = State { book: Book::new(limits), device, buffers: Vec::new(), pipelines: Vec::new() };
        Ok(Self(Rc::new(RefCell::new(state))))
    }

    /// Whether both are one.
    pub(super) fn is(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    pub(super) fn limits(&self) -> Limits {
        self.0.borrow().book.limits
    }

    pub(super) fn buffer_create(&self, bytes: u64) -> Result<u32, Error> {
        let state = &mut *self.0.borrow_mut();
        let handle = state.book.create(bytes)?;
        put(&mut state.buffers, handle, state.device.buffer(bytes));
        Ok(handle)
    }

    pub(super) fn buffer_destroy(&self, buffer: u32) -> Result<(), Error> {
        let state = &mut *self.0.borrow_mut();
        state.book.destroy(buffer)?;
        state.buffers[buffer as usize] = None;
        Ok(())
    }

    pub(super) fn buffer_write(&self, buffer: u32, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        let state = &mut *self.0.borrow_mut();
        state.book.check_range("a write", buffer, offset, bytes.len() as u64)?;
        let buffer = at(&state.buffers, buffer).clone();
        state.device.write(&buffer, offset, bytes);
        Ok(())
    }

    pub(super) fn buffer_read(&self, buffer: u32, offset: u64, bytes: &mut [u8]) -> Result<(), Error> {
        let state = &mut *self.0.borrow_mut();
        state.book.check_range("a read", buffer, offset, bytes.len() as u64)?;
        let buffer = at(&state.buffers, buffer).clone();
        state.device.read(&buffer, offset, bytes);
        Ok(())
    }

    pub(super) fn buffer_copy(&self, from: (u32, u64), to: (u32, u64), bytes: u64) -> Result<(), Error> {
        let state = &mut *self.0.borrow_mut();
        state.book.check_copy(from, to, bytes)?;
        let buffers = (at(&state.buffers, from.0).clone(), at(&state.buffers, to.0).clone());
        state.device.copy((&buffers.0, from.1), (&buffers.1, to.1), bytes);
        Ok(())
    }

    pub(super) fn pipeline_create(&self, wgsl: &str, entry: &str) -> Result<u32, Error> {
        let state = &mut *self.0.borrow_mut();
        state.book.has_room_for_pipeline()?;
        let shape = Shape::of(wgsl, entry, &state.book.limits)?;
        state.book.compiled_with(&shape)?;
        let pipeline = state.device.pipeline(wgsl, entry)?;
        let handle = state.book.add_pipeline(shape)?;
        put(&mut state.pipelines, handle, pipeline);
        Ok(handle)
    }

    pub(super) fn pipeline_destroy(&self, pipeline: u32) -> Result<(), Error> {
        let state = &mut *self.0.borrow_mut();
        state.book.drop_pipeline(pipeline)?;
        state.pipelines[pipeline as usize] = None;
        Ok(())
    }

    pub(super) fn dispatch(&self, pipeline: u32, bindings: &[Record], workgroups: [u32; 3]) -> Result<(), Error> {
        let state = &mut *self.0.borrow_mut();
        let bound = state.book.dispatch(pipeline, bindings, workgroups)?;
        let bound: Vec<_> = bound.iter().map(|record| (record, at(&state.buffers, record.buffer))).collect();
        state.device.dispatch(at(&state.pipelines, pipeline), &bound, workgroups);
        Ok(())
    }

    pub(super) fn submit(&self) -> Result<(), Error> {
        self.0.borrow_mut().device.submit();
        Ok(())
    }

    pub(super) fn finish(&self) -> Result<(), Error> {
        self.0.borrow_mut().device.finish();
        Ok(())
    }
}

fn put<T>(slots: &mut Vec<Option<T>>, handle: u32, thing: T) {
    let handle = handle as usize;
    if slots.len() <= handle {
        slots.resize_with(handle + 1, || None);
    }
    slots[handle] = Some(thing);
}

/// What the book knows under this handle.
fn at<T>(slots: &[Option<T>], handle: u32) -> &T {
    slots[handle as usize].as_ref().expect("the book has this handle")
}
