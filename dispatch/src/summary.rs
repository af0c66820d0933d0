use adit_protocol::{ByteCount, Price, PublicKey};

use crate::class::{Offered, Profiles};

/// Bytes of QUIC's first window.
const SLOW_START_BYTES: u128 = 14_720;

/// What a search reads of a node. Of most nodes that it looks at nothing is in the processor's caches, and what else a node is made of lies in
/// many places; so this lies in two cache lines, which come together, and in the first of them what rules a node out and what its times are
/// predicted from.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(128))]
pub(crate) struct Summary {
    pub(crate) leases: u32,
    pub(crate) room: Room,
    pub(crate) profiles: Profiles,
    pub(crate) is_barred: bool,
    /// Whether its reputation is not whole, or its owner declined a client or takes one at a time: what that says today is asked of the node.
    pub(crate) has_record: bool,
    pub(crate) memory: ByteCount,
    /// Predicted time that a lease which is sent now waits there, in microseconds.
    pub(crate) queue_us: u64,
    /// Fuel per second of one slot.
    pub(crate) speed: u64,
    pub(crate) line: Line,
    /// The sketches of all that is known there: what is not in it need not be looked for.
    pub(crate) known_sketch: u64,
    pub(crate) price: Price,
    pub(crate) key: PublicKey,
}
const _: () = assert!(size_of::<Summary>() == 128);

/// Whether a node has room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// It offers no slots.
    Never,
    /// It is full, or takes no jobs.
    NotNow,
    Open,
}

/// The way to a node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line {
    pub(crate) rtt_us: u64,
    pub(crate) bytes_per_second: u64,
}

impl Summary {
    /// That of a place where no node is.
    pub(crate) const VACANT: Self = Self {
        leases: 0,
        room: Room::Never,
        profiles: Profiles::NONE,
        is_barred: false,
        has_record: false,
        memory: ByteCount(0),
        queue_us: 0,
        speed: 1,
        line: Line { rtt_us: 0, bytes_per_second: 1 },
        known_sketch: 0,
        price: Price { per_compute_minute: 0, per_gib_compute_minute: 0, per_gib_in: 0, per_gib_out: 0, per_gpu_minute: 0 },
        key: PublicKey([0; 32]),
    };

    pub(crate) fn offered(&self) -> Offered {
        let Self { room, profiles, memory, price, .. } = *self;
        Offered { has_slots: room != Room::Never, profiles, memory, price }
    }

    /// Whether it gets jobs now, trusted or not.
    pub(crate) fn is_open(&self) -> bool {
        self.room == Room::Open
    }

    /// Microseconds that some fuel takes there.
    pub(crate) fn run_us(&self, fuel: u64) -> u64 {
        run_us(fuel, self.speed)
    }
}

impl Line {
    /// What the round trips of a fetch take: that of the request, and one for each doubling of QUIC's window (RFC 9002, section 7.2: it
    /// begins with 14,720 bytes) until it is as large as the path or as what is to be sent.
    pub(crate) fn fetch_trips_us(&self, bytes: u64) -> u64 {
        let path = u128::from(self.bytes_per_second) * u128::from(self.rtt_us) / 1_000_000;
        let window = u128::from(bytes).min(path) / SLOW_START_BYTES;
        let doublings = window.checked_ilog2().map_or(0, |log| log + 1);
        self.rtt_us.saturating_mul(1 + u64::from(doublings))
    }

    /// Predicted time to bring so many bytes there, in microseconds.
    pub(crate) fn fetch_us(&self, bytes: u64) -> u64 {
        if bytes == 0 {
            return 0;
        }
        let sending_us = u128::from(bytes) * 1_000_000 / u128::from(self.bytes_per_second);
        self.fetch_trips_us(bytes).saturating_add(u64::try_from(sending_us).unwrap_or(u64::MAX))
    }
}

/// Microseconds that some fuel takes at a speed.
pub(crate) fn run_us(fuel: u64, per_second: u64) -> u64 {
    u64::try_from(u128::from(fuel) * 1_000_000 / u128::from(per_second.max(1))).unwrap_or(u64::MAX)
}
