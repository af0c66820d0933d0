//! How long the device says that it took: timestamps around each dispatch, and what is made of them.
//!
//! To read timestamps takes a lowly device as long as a small dispatch, so those of single dispatches wait until there are many, or somebody
//! has to know. Until then a dispatch is billed by the clock, which never says less.

use std::mem;
use std::sync::{Arc, Mutex};

use wgpu::{Buffer, BufferUsages, CommandEncoder, MapMode, QuerySet, QuerySetDescriptor, QueryType};

use super::device::{Done, Gpu, checked, lock};
use super::meter::Meter;
use crate::gpu::wire::SessionEnd;

/// Timestamps that are read together.
pub(super) const STAMPS_MAX: u32 = 128;
const STAMP_BYTES: u64 = 8;

/// What lies between two timestamps.
#[derive(Debug)]
pub(super) enum Span {
    /// Copies between buffers, and the clearing of new ones.
    Copies,
    /// A dispatch of so many workgroups.
    Dispatch(Arc<Speed>, u64),
}

/// Timestamps of so many spans: each ends where the next begins.
pub(super) fn stamps_of(spans: &[Span]) -> u32 {
    spans.len() as u32 + 1
}

/// Timestamps of one session.
#[derive(Debug)]
pub(super) struct Stamps {
    pub(super) queries: QuerySet,
    /// How many were taken.
    pub(super) used: u32,
    resolved: Buffer,
    read: Buffer,
    mapped: Arc<Done>,
}

impl Stamps {
    /// Makes room for them.
    ///
    /// # Errors
    /// As for a buffer.
    pub(super) fn make(gpu: &Gpu) -> Result<Self, SessionEnd> {
        let descriptor = QuerySetDescriptor { label: None, ty: QueryType::Timestamp, count: STAMPS_MAX };
        let bytes = u64::from(STAMPS_MAX) * STAMP_BYTES;
        Ok(Self {
            queries: checked(|| gpu.device.create_query_set(&descriptor))?,
            used: 0,
            resolved: gpu.make_buffer(bytes, BufferUsages::QUERY_RESOLVE | BufferUsages::COPY_SRC)?,
            read: gpu.make_buffer(bytes, BufferUsages::MAP_READ | BufferUsages::COPY_DST)?,
            mapped: Arc::default(),
        })
    }

    /// Records that all that were taken can be read after.
    pub(super) fn resolve(&self, encoder: &mut CommandEncoder) {
        let bytes = u64::from(self.used) * STAMP_BYTES;
        encoder.resolve_query_set(&self.queries, 0..self.used, &self.resolved, 0);
        encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.read, 0, bytes);
        encoder.map_buffer_on_submit(&self.read, MapMode::Read, ..bytes, self.mapped.expect_map());
    }

    /// What they say, in ticks; nothing where they cannot be read. To be asked once after [`Self::resolve`], when that is over.
    fn ticks(&self) -> Option<Vec<u64>> {
        self.mapped.wait_for_maps().ok()?;
        let view = self.read.slice(..u64::from(self.used) * STAMP_BYTES).get_mapped_range().ok()?;
        let ticks = view.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
        drop(view);
        self.read.unmap();
        Some(ticks)
    }
}

/// A submission, as its session knows it.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) done: Arc<Done>,
    /// The first of its timestamps.
    pub(super) first: u32,
    pub(super) spans: Vec<Span>,
    /// The timestamps that it makes readable, of itself and of those before.
    pub(super) resolving: Option<Stamps>,
}

/// Submissions that are over, and billed by the clock alone.
#[derive(Debug, Default)]
pub(super) struct Unsettled(Vec<Over>);

#[derive(Debug)]
struct Over {
    first: u32,
    spans: Vec<Span>,
    wall_ns: u64,
}

impl Unsettled {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a submission that is over. What it took per dispatch is what the clock says, in equal parts, until more is known; of one that is not
    /// `stamped` it never is.
    pub(super) fn add(&mut self, first: u32, spans: Vec<Span>, wall_ns: u64, stamped: bool) {
        let even = wall_ns / spans.len().max(1) as u64;
        spans.iter().for_each(|span| span.note(even));
        if stamped && !spans.is_empty() {
            self.0.push(Over { first, spans, wall_ns });
        }
    }

    /// Bills all by what their timestamps say, where that is less.
    pub(super) fn settle(&mut self, stamps: &Stamps, tick_ns: f32, meter: &Meter) {
        let over = mem::take(&mut self.0);
        let Some(ticks) = stamps.ticks() else { return };
        meter.take_back(over.iter().fold(0, |sum: u64, over| sum.saturating_add(over.settle(&ticks, tick_ns))));
    }
}

impl Over {
    /// Notes what each of its spans took, by the timestamps of its session, and says how much less that is in all than what the clock says.
    fn settle(&self, ticks: &[u64], tick_ns: f32) -> u64 {
        let ticks = &ticks[self.first as usize..][..self.spans.len() + 1];
        let mut stamped_ns = 0_u64;
        for (span, [began, ended]) in self.spans.iter().zip(ticks.array_windows()) {
            let ns = nanoseconds(ended.saturating_sub(*began), tick_ns).min(self.wall_ns);
            span.note(ns);
            stamped_ns = stamped_ns.saturating_add(ns);
        }
        self.wall_ns.saturating_sub(stamped_ns)
    }
}

fn nanoseconds(ticks: u64, tick_ns: f32) -> u64 {
    (ticks as f64 * f64::from(tick_ns)) as u64
}

impl Span {
    fn note(&self, ns: u64) {
        if let Self::Dispatch(speed, workgroups) = self {
            *lock(&speed.0) = Some(Seen { ns, workgroups: (*workgroups).max(1) });
        }
    }
}

/// How long a pipeline took when it was last seen.
#[derive(Debug, Default)]
pub(super) struct Speed(Mutex<Option<Seen>>);

#[derive(Debug, Clone, Copy)]
struct Seen {
    ns: u64,
    workgroups: u64,
}

impl Speed {
    /// How long a dispatch of so many workgroups may take, as far as that can be known.
    pub(super) fn expected_ns(&self, workgroups: u64) -> Option<u64> {
        let seen = (*lock(&self.0))?;
        let times = workgroups.div_ceil(seen.workgroups).max(1);
        Some(seen.ns.saturating_mul(times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(wall_ns: u64, first: u32, workgroups: &[u64]) -> (Over, Vec<Arc<Speed>>) {
        let speeds: Vec<_> = workgroups.iter().map(|_| Arc::<Speed>::default()).collect();
        let spans = speeds.iter().zip(workgroups).map(|(speed, count)| Span::Dispatch(Arc::clone(speed), *count)).collect();
        (Over { first, spans, wall_ns }, speeds)
    }

    #[test]
    fn smaller_of_clock_and_timestamps_is_billed() {
        // What the clock says, the timestamps in ticks of 2 ns from the second on, and what is billed.
        let rows: [(u64, &[u64], u64); 7] = [
            (1_000, &[100, 400], 600),
            (1_000, &[100, 600], 1_000),
            (1_000, &[100, 100_000], 1_000),
            (1_000, &[100, 200, 300, 400], 600),
            // Each may be as long as the clock says, and all of them together too.
            (1_000, &[100, 500, 900], 1_000),
            (1_000, &[0, u64::MAX], 1_000),
            // A device's clock that runs backwards has told nothing.
            (1_000, &[400, 100], 0),
        ];
        for (wall_ns, ticks, billed) in rows {
            let (over, _) = over(wall_ns, 1, &vec![1; ticks.len() - 1]);
            let ticks = [&[7], ticks].concat();
            assert_eq!(wall_ns - over.settle(&ticks, 2.0), billed, "{ticks:?}");
        }
    }

    #[test]
    fn speed_of_a_pipeline_is_what_the_timestamps_say() {
        let mut unsettled = Unsettled::default();
        let (Over { first, spans, wall_ns }, speeds) = over(1_000, 0, &[10, 20]);
        unsettled.add(first, spans, wall_ns, true);
        // In equal parts, until more is known.
        assert_eq!([&speeds[0], &speeds[1]].map(|speed| speed.expected_ns(40)), [Some(2_000), Some(1_000)]);
        unsettled.0[0].settle(&[0, 50, 350], 2.0);
        assert_eq!([&speeds[0], &speeds[1]].map(|speed| speed.expected_ns(40)), [Some(400), Some(1_200)]);
        assert_eq!(Speed::default().expected_ns(1), None);
    }

    #[test]
    fn nothing_is_kept_of_what_has_no_timestamps() {
        let mut unsettled = Unsettled::default();
        let (Over { first, spans, wall_ns }, speeds) = over(1_000, 0, &[10]);
        unsettled.add(first, spans, wall_ns, false);
        assert!(unsettled.is_empty() && speeds[0].expected_ns(10) == Some(1_000));
    }
}
