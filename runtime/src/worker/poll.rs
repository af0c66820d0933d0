//! WASI's `poll_oneoff`: waiting for time and for standard streams.
//!
//! WASI's own implementation sleeps in real time whatever the guest's clock says, and waits on streams that never block here. Layouts
//! and numbers are those of `wasi_snapshot_preview1`
//! (<https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md>).

use std::time::Duration;

use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p1::wasi_snapshot_preview1::fd_fdstat_get;
use wiggle::GuestMemory;

use super::clock::Clock;
use super::guest::Halted;

/// Subscriptions in one call. Programs wait for a handful; this many fill a page or so of the guest's memory.
const SUBSCRIPTIONS_MAX: usize = 1024;

pub(super) const SUBSCRIPTION_BYTES: usize = 48;
pub(super) const EVENT_BYTES: usize = 32;

const EVENT_CLOCK: u8 = 0;
const EVENT_FD_READ: u8 = 1;
const EVENT_FD_WRITE: u8 = 2;
const CLOCK_REALTIME: u32 = 0;
const CLOCK_MONOTONIC: u32 = 1;
const FLAG_ABSTIME: u16 = 1;
const RIGHT_FD_READ: u64 = 1 << 1;
const RIGHT_FD_WRITE: u64 = 1 << 6;

/// Descriptors that a guest can have: it may close its standard streams and put one in another's place, and opens none.
const DESCRIPTORS: usize = 3;

/// An error number of WASI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Errno(pub(super) u16);

impl Errno {
    pub(super) const SUCCESS: Self = Self(0);
    const TOO_BIG: Self = Self(1);
    pub(super) const BAD_FD: Self = Self(8);
    pub(super) const INVALID: Self = Self(28);
}

/// Why no event is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// The guest learns of it.
    Errno(Errno),
    /// The guest cannot pay for the time.
    Halted,
}

impl From<Errno> for Refused {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl From<Halted> for Refused {
    fn from(_: Halted) -> Self {
        Self::Halted
    }
}

/// What a guest may do with its descriptors: WASI's rights to each, none where it is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Streams([u64; DESCRIPTORS]);

/// WASI's `fdstat`.
#[repr(align(8))]
struct Fdstat([u8; 24]);

impl Streams {
    /// Looks at the descriptors that these subscriptions name.
    pub(super) async fn named_by(subscriptions: &[u8], wasi: &mut WasiP1Ctx) -> wasmtime::Result<Self> {
        let (subscriptions, _) = subscriptions.as_chunks::<SUBSCRIPTION_BYTES>();
        let is_named = |descriptor| {
            let is_stream = |event| matches!(event, EVENT_FD_READ | EVENT_FD_WRITE);
            // More are refused.
            let mut subscriptions = subscriptions.iter().take(SUBSCRIPTIONS_MAX);
            subscriptions.any(|bytes| is_stream(bytes[8]) && number(bytes, 16) == descriptor)
        };
        let mut rights = [0; DESCRIPTORS];
        for (descriptor, rights) in (0..).zip(&mut rights) {
            if is_named(descriptor) {
                let mut stat = Fdstat([0; 24]);
                // Of one that is closed nothing is written.
                fd_fdstat_get(wasi, &mut GuestMemory::Unshared(&mut stat.0), descriptor as i32, 0).await?;
                *rights = long(&stat.0, 8);
            }
        }
        Ok(Self(rights))
    }

    fn ready(&self, descriptor: u32, right: u64) -> Ready {
        let rights = self.0.get(descriptor as usize).copied().unwrap_or_default();
        Ready::Now(if rights & right == 0 { Errno::BAD_FD } else { Errno::SUCCESS })
    }
}

/// What a guest waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Subscription {
    userdata: u64,
    event: u8,
    ready: Ready,
}

/// When a subscription's event happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ready {
    /// Now: streams never block for long, and what cannot be waited for is told at once.
    Now(Errno),
    /// After so much time.
    After(Duration),
}

/// Waits for the first of the guest's subscriptions, and returns the events that happened then, ready for the guest's memory.
pub(super) async fn poll(subscriptions: &[u8], clock: &Clock, streams: Streams) -> Result<Vec<[u8; EVENT_BYTES]>, Refused> {
    let (subscriptions, _) = subscriptions.as_chunks::<SUBSCRIPTION_BYTES>();
    match subscriptions.len() {
        0 => return Err(Errno::INVALID.into()),
        1..=SUBSCRIPTIONS_MAX => {}
        _ => return Err(Errno::TOO_BIG.into()),
    }
    let subscriptions: Vec<_> = subscriptions.iter().map(|bytes| Subscription::read(bytes, clock, streams)).collect();
    let wait = subscriptions.iter().map(Subscription::wait).min().unwrap_or_default();
    if !wait.is_zero() {
        clock.sleep(wait).await?;
    }
    Ok(subscriptions.iter().filter(|s| s.wait() <= wait).map(Subscription::event).collect())
}

impl Subscription {
    fn read(bytes: &[u8; SUBSCRIPTION_BYTES], clock: &Clock, streams: Streams) -> Self {
        let event = bytes[8];
        let ready = match event {
            EVENT_CLOCK => clock_ready(bytes, clock),
            EVENT_FD_READ => streams.ready(number(bytes, 16), RIGHT_FD_READ),
            EVENT_FD_WRITE => streams.ready(number(bytes, 16), RIGHT_FD_WRITE),
            _ => Ready::Now(Errno::INVALID),
        };
        Self { userdata: long(bytes, 0), event, ready }
    }

    fn wait(&self) -> Duration {
        match self.ready {
            Ready::Now(_) => Duration::ZERO,
            Ready::After(wait) => wait,
        }
    }

    fn event(&self) -> [u8; EVENT_BYTES] {
        let error = match self.ready {
            Ready::Now(error) => error,
            Ready::After(_) => Errno::SUCCESS,
        };
        let is_stream = self.event != EVENT_CLOCK && error == Errno::SUCCESS;
        let mut bytes = [0; EVENT_BYTES];
        bytes[..8].copy_from_slice(&self.userdata.to_le_bytes());
        bytes[8..10].copy_from_slice(&error.0.to_le_bytes());
        bytes[10] = self.event;
        // How many bytes a stream has room for or holds: at least one.
        bytes[16..24].copy_from_slice(&u64::from(is_stream).to_le_bytes());
        bytes
    }
}

fn clock_ready(bytes: &[u8; SUBSCRIPTION_BYTES], clock: &Clock) -> Ready {
    let timeout = Duration::from_nanos(long(bytes, 24));
    let is_absolute = u16::from_le_bytes([bytes[40], bytes[41]]) & FLAG_ABSTIME != 0;
    match number(bytes, 16) {
        CLOCK_REALTIME if is_absolute => Ready::After(timeout.saturating_sub(clock.wall())),
        CLOCK_MONOTONIC if is_absolute => Ready::After(timeout.saturating_sub(clock.monotonic())),
        CLOCK_REALTIME | CLOCK_MONOTONIC => Ready::After(timeout),
        _ => Ready::Now(Errno::INVALID),
    }
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use adit_protocol::UnixMillis;

    use super::*;
    use crate::meter::UNITS_PER_FUEL;
    use crate::unchecked::MeterPage;

    const SECOND: u64 = 1_000_000_000;

    /// As a guest finds them.
    const OPEN: Streams = Streams([RIGHT_FD_READ, RIGHT_FD_WRITE, RIGHT_FD_WRITE]);

    fn clock() -> Clock {
        let page = MeterPage::alone();
        page.start(0, i64::MAX as u64, 0);
        Clock::Virtual { start: UnixMillis(5_000), page: page.into() }
    }

    fn subscription(userdata: u64, event: u8, id: u32, timeout: u64, flags: u16) -> [u8; SUBSCRIPTION_BYTES] {
        let mut bytes = [0; SUBSCRIPTION_BYTES];
        bytes[..8].copy_from_slice(&userdata.to_le_bytes());
        bytes[8] = event;
        bytes[16..20].copy_from_slice(&id.to_le_bytes());
        bytes[24..32].copy_from_slice(&timeout.to_le_bytes());
        bytes[40..42].copy_from_slice(&flags.to_le_bytes());
        bytes
    }

    /// Userdata and error number of each event, and where the monotonic clock stands after.
    async fn check(subscriptions: &[[u8; SUBSCRIPTION_BYTES]], events: &[(u64, u16)], elapsed: u64) {
        let clock = clock();
        let got = poll(subscriptions.as_flattened(), &clock, OPEN).await.unwrap();
        let got: Vec<_> =
            got.iter().map(|e| (u64::from_le_bytes(e[..8].try_into().unwrap()), u16::from_le_bytes([e[8], e[9]]))).collect();
        assert_eq!(got, events);
        assert_eq!(clock.monotonic(), Duration::from_nanos(elapsed));
    }

    #[tokio::test]
    async fn first_subscriptions_decide() {
        let relative = |userdata, seconds| subscription(userdata, 0, 1, seconds * SECOND, 0);
        check(&[relative(7, 3)], &[(7, 0)], 3 * SECOND).await;
        check(&[relative(1, 3), relative(2, 2), relative(3, 2)], &[(2, 0), (3, 0)], 2 * SECOND).await;
        // Streams are always ready.
        check(&[relative(1, 3), subscription(2, 1, 0, 0, 0), subscription(3, 2, 2, 0, 0)], &[(2, 0), (3, 0)], 0).await;
        // The wall clock stands at 5 s.
        check(&[subscription(1, 0, 0, 6 * SECOND, 1)], &[(1, 0)], SECOND).await;
        check(&[subscription(1, 0, 0, 4 * SECOND, 1)], &[(1, 0)], 0).await;
        check(&[subscription(1, 0, 1, 4 * SECOND, 1)], &[(1, 0)], 4 * SECOND).await;
    }

    #[tokio::test]
    async fn who_cannot_pay_for_the_time_is_halted() {
        let clock = clock();
        let Clock::Virtual { page, .. } = &clock else { unreachable!("it is virtual") };
        page.start(0, 4 * UNITS_PER_FUEL, 0);
        let sleep = async |ns| poll(&subscription(1, 0, 1, ns, 0), &clock, OPEN).await.map(|events| events.len());
        assert_eq!(sleep(4).await, Ok(1));
        assert_eq!(sleep(1).await, Err(Refused::Halted));
        assert_eq!(sleep(u64::MAX).await, Err(Refused::Halted));
        assert!(clock.monotonic() >= Duration::from_secs(1 << 25));
    }

    #[tokio::test]
    async fn what_cannot_be_waited_for_is_told_at_once() {
        check(&[subscription(1, 1, 1, 0, 0), subscription(2, 2, 9, 0, 0)], &[(1, 8), (2, 8)], 0).await;
        check(&[subscription(1, 0, 2, SECOND, 0), subscription(2, 9, 0, 0, 0)], &[(1, 28), (2, 28)], 0).await;
        assert_eq!(poll(&[], &clock(), OPEN).await, Err(Errno::INVALID.into()));
        let many = [subscription(1, 0, 1, 0, 0)].repeat(SUBSCRIPTIONS_MAX + 1);
        assert_eq!(poll(many.as_flattened(), &clock(), OPEN).await, Err(Errno::TOO_BIG.into()));
        assert_eq!(poll(many[1..].as_flattened(), &clock(), OPEN).await.unwrap().len(), SUBSCRIPTIONS_MAX);
    }
}
