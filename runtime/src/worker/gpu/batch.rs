//! What is recorded until it is submitted.

use std::sync::Arc;

use wgpu::{BindGroup, Buffer, CommandBuffer, CommandEncoder, ComputePassDescriptor, ComputePassTimestampWrites, MapMode};

use super::device::{Done, Gpu, Pipeline, checked};
use super::stamps::{STAMPS_MAX, Sent, Span, Stamps, stamps_of};
use crate::gpu::wire::SessionEnd;

/// Dispatches that travel together.
const DISPATCHES_MAX: usize = 32;
/// Bytes that a submission copies, so that it does not take long.
const COPIED_BYTES_MAX: u64 = 64 << 20;
/// Commands of a submission, of whatever kind. Each takes memory of this process until the submission is over, and a little of the device's
/// time however little it does.
const COMMANDS_MAX: usize = 2048;
const _: () = assert!(DISPATCHES_MAX < COMMANDS_MAX);

/// Commands of one submission, and the timestamps around them.
#[derive(Debug)]
pub(super) struct Batch {
    encoder: CommandEncoder,
    stamps: Option<Stamps>,
    /// Its first timestamp: those before are of submissions before.
    first: u32,
    spans: Vec<Span>,
    /// Whether the last span is one of copies that are billed by their time, and still open.
    is_copying: bool,
    dispatches: usize,
    copied_bytes: u64,
    commands: usize,
    done: Arc<Done>,
}

impl Batch {
    /// Begins a recording, whose timestamps go behind those that `stamps` has.
    pub(super) fn begin(gpu: &Gpu, stamps: Option<Stamps>) -> Result<Self, SessionEnd> {
        Ok(Self {
            encoder: checked(|| gpu.device.create_command_encoder(&Default::default()))?,
            first: stamps.as_ref().map_or(0, |stamps| stamps.used),
            stamps,
            spans: Vec::new(),
            is_copying: false,
            dispatches: 0,
            copied_bytes: 0,
            commands: 0,
            done: Arc::default(),
        })
    }

    /// Whether it should go before more comes.
    pub(super) fn is_full(&self) -> bool {
        // A dispatch and the copies around it are three spans.
        let stamps_left = STAMPS_MAX - self.first - stamps_of(&self.spans);
        self.dispatches >= DISPATCHES_MAX
            || self.copied_bytes >= COPIED_BYTES_MAX
            || self.commands >= COMMANDS_MAX
            || stamps_left < 3
    }

    pub(super) fn has_dispatches(&self) -> bool {
        self.dispatches > 0
    }

    /// Records a copy of at least one byte between buffers of the guest's, which is billed by its time.
    pub(super) fn copy(&mut self, from: &Buffer, from_offset: u64, to: &Buffer, to_offset: u64, bytes: u64) {
        self.begin_copies();
        self.move_bytes(from, from_offset, to, to_offset, bytes);
    }

    /// Records that a new buffer is cleared, which is billed by its time.
    pub(super) fn clear(&mut self, buffer: &Buffer, bytes: u64) {
        self.begin_copies();
        self.copied_bytes += bytes;
        self.commands += 1;
        self.encoder.clear_buffer(buffer, 0, None);
    }

    /// Records a copy on the way to the guest or from it, which is paid for in fuel, by its bytes. No timestamp is taken for it: each is a
    /// stop of the device, and most that guests do is small. Between two dispatches it is part of the second's time, and behind copies of theirs.
    pub(super) fn move_bytes(&mut self, from: &Buffer, from_offset: u64, to: &Buffer, to_offset: u64, bytes: u64) {
        self.copied_bytes += bytes;
        self.commands += 1;
        self.encoder.copy_buffer_to_buffer(from, from_offset, to, to_offset, bytes);
    }

    /// Has the first bytes of `buffer` mapped for reading when all is done.
    pub(super) fn map(&mut self, buffer: &Buffer, bytes: u64) {
        self.encoder.map_buffer_on_submit(buffer, MapMode::Read, ..bytes, self.done.expect_map());
    }

    /// Has `buffer` mapped for writing when all is done, and says so to `mapped`.
    pub(super) fn map_for_writing(&mut self, buffer: &Buffer, mapped: impl FnOnce(bool) + Send + 'static) {
        self.encoder.map_buffer_on_submit(buffer, MapMode::Write, .., move |result| mapped(result.is_ok()));
    }

    /// Records a dispatch.
    pub(super) fn dispatch(&mut self, pipeline: &Pipeline, group: &BindGroup, workgroups: [u32; 3]) {
        self.end_copies();
        let is_first = self.spans.is_empty();
        let all = workgroups.iter().map(|count| u64::from(*count)).product();
        self.spans.push(Span::Dispatch(Arc::clone(&pipeline.speed), all));
        self.dispatches += 1;
        self.commands += 1;
        let timestamp_writes = self.stamps.as_ref().map(|stamps| ComputePassTimestampWrites {
            query_set: &stamps.queries,
            // Else it is the end of what came before.
            beginning_of_pass_write_index: is_first.then_some(self.first),
            end_of_pass_write_index: Some(self.first + self.spans.len() as u32),
        });
        let mut pass = self.encoder.begin_compute_pass(&ComputePassDescriptor { label: None, timestamp_writes });
        pass.set_pipeline(&pipeline.compute);
        pass.set_bind_group(0, group, &[]);
        pass.dispatch_workgroups(workgroups[0], workgroups[1], workgroups[2]);
    }

    /// Ends the recording: what is submitted, what is to be known of it, and the timestamps that are not read yet.
    pub(super) fn finish(mut self) -> Result<(CommandBuffer, Sent, Option<Stamps>), SessionEnd> {
        self.end_copies();
        let Self { mut encoder, mut stamps, first, spans, done, .. } = self;
        let mut resolving = None;
        if let Some(open) = &mut stamps
            && !spans.is_empty()
        {
            open.used = first + stamps_of(&spans);
            // One dispatch's are read with those of later ones: that costs as much as the dispatch. Those of many are needed to know which of
            // them took long.
            if spans.len() > 1 || open.used > STAMPS_MAX / 2 {
                open.resolve(&mut encoder);
                resolving = stamps.take();
            }
        }
        let commands = checked(|| encoder.finish())?;
        Ok((commands, Sent { done, first, spans, resolving }, stamps))
    }

    /// What is recorded is dropped; the timestamps of what came before are not.
    pub(super) fn abandon(self) -> Option<Stamps> {
        self.stamps
    }

    /// Timestamps, of which those of what came before are there.
    pub(super) fn stamps(&self) -> Option<&Stamps> {
        self.stamps.as_ref()
    }

    fn begin_copies(&mut self) {
        if !self.is_copying {
            if self.spans.is_empty() {
                self.stamp(self.first);
            }
            self.spans.push(Span::Copies);
            self.is_copying = true;
        }
    }

    fn end_copies(&mut self) {
        if self.is_copying {
            self.stamp(self.first + self.spans.len() as u32);
            self.is_copying = false;
        }
    }

    /// Notes the time when all that came before is done: a pass that does nothing else, because copies have no timestamps of their own.
    fn stamp(&mut self, at: u32) {
        let Some(stamps) = &self.stamps else { return };
        let timestamp_writes = Some(ComputePassTimestampWrites {
            query_set: &stamps.queries,
            beginning_of_pass_write_index: Some(at),
            end_of_pass_write_index: None,
        });
        drop(self.encoder.begin_compute_pass(&ComputePassDescriptor { label: None, timestamp_writes }));
    }
}
