use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Bytes on one line at once, for a sender that no bandwidth limits: what 1 Gbit/s has under way in half a second. Over it packets are
/// dropped as those that a full queue has no room for.
const UNDER_WAY_BYTES_MAX: u64 = 64 << 20;

/// What packets meet in one direction.
///
/// A packet first passes the bottleneck, then may be lost, then travels: its delay begins when its last byte has left the bottleneck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leg {
    /// How long each packet travels at least.
    pub delay: Duration,
    /// How much longer it may travel: each packet another part of it, drawn evenly.
    pub jitter: Duration,
    /// How many of a million packets are lost.
    pub loss_ppm: u32,
    /// How many bytes pass the bottleneck in a second, at least 1; nothing where there is none.
    pub bytes_per_second: Option<u64>,
    /// A packet is dropped where more bytes than these wait before the bottleneck.
    pub queue_bytes: u64,
    /// Whether a packet waits for one that was sent before it and that jitter holds up. Without that, jitter puts packets out of order.
    pub keeps_order: bool,
}

/// A leg that changes nothing. Its queue, for those who add a bottleneck, is that of a home box: 256 KiB.
impl Default for Leg {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            loss_ppm: 0,
            bytes_per_second: None,
            queue_bytes: 256 * 1024,
            keeps_order: true,
        }
    }
}

impl Leg {
    /// Whether the packet of this number, counted from 0, is lost on a line with this seed. Nothing else decides it, so a run's losses
    /// are the next run's too.
    pub fn loses(&self, seed: u64, number: u64) -> bool {
        draw(seed, number, Purpose::Loss) % 1_000_000 < u64::from(self.loss_ppm)
    }

    fn jitter_of(&self, seed: u64, number: u64) -> Duration {
        let part = draw(seed, number, Purpose::Jitter) >> 32;
        Duration::from_nanos(((self.jitter.as_nanos() * u128::from(part)) >> 32) as u64)
    }
}

/// What became of the packets of one direction so far.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Packets that came.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets that went on to whom they were sent to.
    pub delivered: u64,
    /// Their bytes.
    pub delivered_bytes: u64,
    /// Packets that were lost, as [`Leg::loss_ppm`] says.
    pub lost: u64,
    /// Packets that the queue before the bottleneck had no room for.
    pub dropped: u64,
}

/// One direction: packets go in by `handle`, and come out by `poll` when it is their time. It has no clock: time comes in as an argument,
/// and never goes back.
#[derive(Debug)]
pub struct Line<P> {
    leg: Leg,
    seed: u64,
    counts: Counts,
    /// When the bottleneck has passed all that it was given.
    free_at: Option<Instant>,
    /// When the last of all packets under way arrives.
    last_due: Option<Instant>,
    /// By when they arrive, and then by number, so that those of one moment keep their order.
    under_way: BTreeMap<(Instant, u64), (P, u64)>,
    under_way_bytes: u64,
}

impl<P> Line<P> {
    /// A line whose losses and jitter are those of `seed`.
    pub fn new(leg: Leg, seed: u64) -> Self {
        Self {
            leg,
            seed,
            counts: Counts::default(),
            free_at: None,
            last_due: None,
            under_way: BTreeMap::new(),
            under_way_bytes: 0,
        }
    }

    /// Changes what packets meet from now on. Those under way are left as they are, and so is the queue before the bottleneck.
    pub fn set(&mut self, leg: Leg) {
        self.leg = leg;
    }

    /// Takes in a packet of so many bytes.
    pub fn handle(&mut self, now: Instant, packet: P, bytes: u64) {
        let number = self.counts.packets;
        self.counts.packets += 1;
        self.counts.bytes += bytes;
        let Some(passed) = self.pass(now, bytes) else {
            self.counts.dropped += 1;
            return;
        };
        if self.leg.loses(self.seed, number) {
            self.counts.lost += 1;
            return;
        }
        let mut due = passed + self.leg.delay + self.leg.jitter_of(self.seed, number);
        if self.leg.keeps_order {
            due = self.last_due.map_or(due, |last| last.max(due));
        }
        self.last_due = self.last_due.max(Some(due));
        self.under_way.insert((due, number), (packet, bytes));
        self.under_way_bytes += bytes;
    }

    /// When the next packet arrives; nothing where none is under way.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.under_way.first_key_value().map(|((due, _), _)| *due)
    }

    /// The next packet that has arrived by now.
    pub fn poll(&mut self, now: Instant) -> Option<P> {
        let next = self.under_way.first_entry().filter(|entry| entry.key().0 <= now)?;
        let (packet, bytes) = next.remove();
        self.under_way_bytes -= bytes;
        self.counts.delivered += 1;
        self.counts.delivered_bytes += bytes;
        Some(packet)
    }

    /// What became of the packets so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// When a packet has passed the bottleneck; nothing where it finds no room before it.
    fn pass(&mut self, now: Instant, bytes: u64) -> Option<Instant> {
        if self.under_way_bytes + bytes > UNDER_WAY_BYTES_MAX {
            return None;
        }
        let Some(rate) = self.leg.bytes_per_second else { return Some(now) };
        let rate = rate.max(1);
        let begins = self.free_at.map_or(now, |free| free.max(now));
        if bytes_in(begins - now, rate) > self.leg.queue_bytes {
            return None;
        }
        let passed = begins + time_of(bytes, rate);
        self.free_at = Some(passed);
        Some(passed)
    }
}

fn bytes_in(time: Duration, rate: u64) -> u64 {
    u64::try_from(time.as_nanos() * u128::from(rate) / NANOS).unwrap_or(u64::MAX)
}

/// Rounded up: a bottleneck never passes more than its rate.
fn time_of(bytes: u64, rate: u64) -> Duration {
    let nanos = (u128::from(bytes) * NANOS).div_ceil(u128::from(rate));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

const NANOS: u128 = 1_000_000_000;

/// What a number is drawn for: the two are independent, so that a line with jitter loses what one without it loses.
#[derive(Debug, Clone, Copy)]
enum Purpose {
    Loss = 1,
    Jitter = 2,
}

/// A random number by its place alone (SplitMix64 of seed and place), whatever was drawn before it.
fn draw(seed: u64, number: u64, purpose: Purpose) -> u64 {
    mix(mix(seed ^ mix(purpose as u64)).wrapping_add(number))
}

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014): one step and its finaliser.
pub(crate) fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: u64 = 42;
    const MS: Duration = Duration::from_millis(1);

    /// Sends so many packets, one each `gap`, and tells when each arrived, counted from the first's departure, in order of arrival.
    fn send(line: &mut Line<u64>, count: u64, bytes: u64, gap: Duration) -> Vec<(u64, Duration)> {
        let begun = Instant::now();
        let mut arrived = Vec::new();
        let mut take = |line: &mut Line<u64>, now| {
            while let Some(at) = line.poll_timeout().filter(|at| *at <= now) {
                assert!(line.poll(at - Duration::from_nanos(1)).is_none(), "nothing comes before its time");
                arrived.push((line.poll(at).unwrap(), at - begun));
            }
        };
        for n in 0..count {
            let now = begun + gap * n as u32;
            take(line, now);
            line.handle(now, n, bytes);
        }
        take(line, begun + Duration::from_secs(3_600));
        assert_eq!(line.under_way_bytes, 0);
        arrived
    }

    #[test]
    fn clear_line_passes_everything_on_at_once_and_in_order() {
        let mut line = Line::new(Leg::default(), SEED);
        let arrived = send(&mut line, 1_000, 1_200, Duration::ZERO);
        assert_eq!(arrived, (0..1_000).map(|n| (n, Duration::ZERO)).collect::<Vec<_>>());
        let want = Counts { packets: 1_000, bytes: 1_200_000, delivered: 1_000, delivered_bytes: 1_200_000, lost: 0, dropped: 0 };
        assert_eq!(line.counts(), want);
    }

    #[test]
    fn every_packet_takes_exactly_the_delay() {
        let mut line = Line::new(Leg { delay: 50 * MS, ..Leg::default() }, SEED);
        for (n, at) in send(&mut line, 100, 1_200, MS) {
            assert_eq!(at, 50 * MS + n as u32 * MS);
        }
    }

    #[test]
    fn jitter_spreads_evenly_over_its_whole_width_and_reorders_only_where_it_may() {
        for keeps_order in [false, true] {
            let leg = Leg { delay: 20 * MS, jitter: 10 * MS, keeps_order, ..Leg::default() };
            let arrived = send(&mut Line::new(leg, SEED), 10_000, 100, MS);
            assert_eq!(arrived.is_sorted_by_key(|(n, _)| *n), keeps_order);
            assert_eq!(arrived.len(), 10_000);
            let travelled: Vec<Duration> = arrived.iter().map(|(n, at)| *at - MS * *n as u32).collect();
            assert!(travelled.iter().all(|time| (20 * MS..30 * MS).contains(time)));
            if !keeps_order {
                let mut tenths = [0u32; 10];
                travelled.iter().for_each(|time| tenths[(*time - 20 * MS).as_millis() as usize] += 1);
                // A thousand in each, give or take five times the deviation that chance gives.
                assert!(tenths.iter().all(|count| count.abs_diff(1_000) < 150), "{tenths:?}");
            }
        }
    }

    #[test]
    fn losses_are_those_of_the_seed_whenever_the_packets_come() {
        let leg = Leg { loss_ppm: 20_000, ..Leg::default() };
        let survivors = |leg: Leg, seed, gap| -> Vec<u64> {
            let mut line = Line::new(leg, seed);
            let mut arrived: Vec<u64> = send(&mut line, 100_000, 1_200, gap).into_iter().map(|(n, _)| n).collect();
            assert_eq!(line.counts().lost + arrived.len() as u64, 100_000);
            arrived.sort_unstable();
            arrived
        };
        let first = survivors(leg, SEED, Duration::ZERO);
        assert_eq!(first, survivors(leg, SEED, MS));
        assert_eq!(first, survivors(Leg { jitter: 30 * MS, delay: MS, keeps_order: false, ..leg }, SEED, MS));
        assert_eq!(first, (0..100_000).filter(|n| !leg.loses(SEED, *n)).collect::<Vec<_>>());
        // 2 % of 100,000, give or take what chance gives; and this number exactly, on every machine.
        assert_eq!(100_000 - first.len(), 1_975);
        assert_ne!(first, survivors(leg, SEED + 1, Duration::ZERO));
    }

    #[test]
    fn loss_of_nothing_and_of_everything_are_exact() {
        for (loss_ppm, lost) in [(0, 0), (1_000_000, 10_000)] {
            let mut line = Line::new(Leg { loss_ppm, ..Leg::default() }, SEED);
            send(&mut line, 10_000, 100, MS);
            assert_eq!(line.counts().lost, lost);
        }
    }

    #[test]
    fn bottleneck_passes_its_rate_and_drops_what_its_queue_has_no_room_for() {
        // 1 kB packets, one each millisecond, into half of that: 500 kB/s.
        let leg = Leg { delay: 30 * MS, bytes_per_second: Some(500_000), queue_bytes: 50_000, ..Leg::default() };
        let mut line = Line::new(leg, SEED);
        let arrived = send(&mut line, 10_000, 1_000, MS);
        let counts = line.counts();
        assert_eq!(counts.delivered + counts.dropped, 10_000);
        // In 10 s of sending 5,000 pass, and the queue of 50 kB after them.
        assert!((5_049..=5_052).contains(&counts.delivered), "{counts:?}");
        for (passed, (_, at)) in arrived.iter().enumerate() {
            assert!(*at >= 30 * MS + 2 * MS * (passed as u32 + 1), "packet {passed} at {at:?} is faster than the bottleneck");
        }
        // It never stands still either, and the queue holds nobody up for longer than it has bytes: 100 ms, and the packet's own 2.
        for pair in arrived.windows(2) {
            assert_eq!(pair[1].1 - pair[0].1, 2 * MS);
        }
        let slowest = arrived.iter().map(|(n, at)| *at - MS * *n as u32).max().unwrap();
        assert!(slowest <= 30 * MS + 100 * MS + 2 * MS, "{slowest:?}");
    }

    #[test]
    fn idle_bottleneck_passes_a_packet_larger_than_its_queue_and_saves_nothing_up() {
        let leg = Leg { bytes_per_second: Some(1_000), queue_bytes: 100, ..Leg::default() };
        let mut line = Line::new(leg, SEED);
        // One each two seconds: each takes one, however long nothing was sent before.
        let arrived = send(&mut line, 5, 1_000, 2_000 * MS);
        assert!(arrived.iter().all(|(n, at)| *at == 2_000 * MS * *n as u32 + 1_000 * MS), "{arrived:?}");
        assert_eq!(line.counts().dropped, 0);
    }

    #[test]
    fn changed_conditions_are_met_by_those_that_come_after() {
        let begun = Instant::now();
        let mut line = Line::new(Leg { delay: 10 * MS, keeps_order: false, ..Leg::default() }, SEED);
        line.handle(begun, "before", 100);
        line.set(Leg { delay: 2 * MS, keeps_order: false, ..Leg::default() });
        line.handle(begun, "after", 100);
        assert_eq!(line.poll_timeout(), Some(begun + 2 * MS));
        assert_eq!(line.poll(begun + 2 * MS), Some("after"));
        assert_eq!(line.poll(begun + 9 * MS), None);
        assert_eq!(line.poll(begun + 10 * MS), Some("before"));
        // In order, the later one waits.
        line.set(Leg { delay: 10 * MS, ..Leg::default() });
        line.handle(begun, "before", 100);
        line.set(Leg::default());
        line.handle(begun, "after", 100);
        assert_eq!(line.poll(begun + 9 * MS), None);
        assert_eq!([line.poll(begun + 10 * MS), line.poll(begun + 10 * MS)], [Some("before"), Some("after")]);
    }

    #[test]
    fn what_is_under_way_is_bounded() {
        let mut line = Line::new(Leg { delay: Duration::from_secs(60), ..Leg::default() }, SEED);
        let now = Instant::now();
        for n in 0..1_100 {
            line.handle(now, n, 64 << 10);
        }
        assert_eq!((line.counts().dropped, line.under_way_bytes), (1_100 - 1_024, UNDER_WAY_BYTES_MAX));
    }
}
