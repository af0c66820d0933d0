//! How fast one may come to the door: submissions and questions of a key and of an address, connections of an address. Time comes in as
//! an argument.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use adit_protocol::{PublicKey, Refusal};

/// Who is known at a table at once, in 56 to 100 bytes each: four times the clients that may be connected. Whoever is forgotten for
/// others had nothing to forget, see [`Table`].
const KNOWN_MAX: usize = 16_384;

/// How often a full table is searched for those who may be forgotten, which takes some hundred microseconds.
const SWEEP_EVERY: Duration = Duration::from_millis(100);

/// Questions of one key in a second, by weight, and to be told of a job. To leaf through a million receipts takes a minute and more.
const QUESTIONS_PER_KEY: NonZeroU32 = NonZeroU32::new(1_000).expect("not zero");

/// The same from one address. So many are answered in a part of the gateway's thread.
const QUESTIONS_PER_ADDRESS: NonZeroU32 = NonZeroU32::new(2_000).expect("not zero");

/// How many seconds' worth of a rate may come at once.
const BURST_SECONDS: u32 = 2;

/// The longest time to come back after. A queue of those who were told would be over by then, or will never be.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

/// How many may come in a second; twice as many at once.
///
/// The defaults keep one from taking all of the gateway's thread, and nobody from working: an operator sets what customers shall have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimits {
    /// Submissions of one key; nothing for as many as like. 20,000: some times what one client reaches that waits for its results.
    pub submissions_per_key: Option<NonZeroU32>,
    /// Submissions from one address, an IPv6 one counted by its first 64 bits. 40,000: a gateway's thread takes no more, and behind one
    /// address may be a company.
    pub submissions_per_address: Option<NonZeroU32>,
    /// Connections from one address, tried or made. 1,000: their handshakes are about half of a core's work. Twice as many may come at once,
    /// as after a restart.
    pub connections_per_address: Option<NonZeroU32>,
}

impl Default for RateLimits {
    fn default() -> Self {
        Self {
            submissions_per_key: NonZeroU32::new(20_000),
            submissions_per_address: NonZeroU32::new(40_000),
            connections_per_address: NonZeroU32::new(1_000),
        }
    }
}

/// What to do with somebody who wants to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    Enter,
    /// Come again from the address that was named, so that nobody uses up what another's address may have.
    Prove,
    Refuse,
}

/// The tables of all who come.
#[derive(Debug)]
pub(crate) struct Door {
    keys: Table<PublicKey>,
    addresses: Table<Block>,
    asking_keys: Table<PublicKey>,
    asking_addresses: Table<Block>,
    /// Of addresses that anybody may have written on a packet.
    unproven: Table<Block>,
    proven: Table<Block>,
}

impl Door {
    pub(crate) fn new(limits: &RateLimits) -> Self {
        Self {
            keys: Table::new(limits.submissions_per_key, KNOWN_MAX),
            addresses: Table::new(limits.submissions_per_address, KNOWN_MAX),
            asking_keys: Table::new(Some(QUESTIONS_PER_KEY), KNOWN_MAX),
            asking_addresses: Table::new(Some(QUESTIONS_PER_ADDRESS), KNOWN_MAX),
            unproven: Table::new(limits.connections_per_address, KNOWN_MAX),
            proven: Table::new(limits.connections_per_address, KNOWN_MAX),
        }
    }

    /// Lets a submission in, whatever becomes of it then, or says when to try again. Who is sent away uses up nothing.
    pub(crate) fn submission(&mut self, now: Instant, key: PublicKey, address: IpAddr) -> Result<(), Refusal> {
        let limited = |wait: Duration| Refusal::RateLimited { retry_after_ms: wait.as_nanos().div_ceil(1_000_000) as u64 };
        let block = Block::of(address);
        self.keys.check(now, key).map_err(limited)?;
        self.addresses.check(now, block).map_err(limited)?;
        self.keys.take(now, key);
        self.addresses.take(now, block);
        Ok(())
    }

    /// Lets a question in that weighs as much as so many, or says when its turn is. Who comes too soon uses up nothing.
    pub(crate) fn question(&mut self, now: Instant, key: PublicKey, address: IpAddr, weight: u32) -> Result<(), Duration> {
        let block = Block::of(address);
        self.asking_keys.check(now, key)?;
        self.asking_addresses.check(now, block)?;
        self.asking_keys.take_many(now, key, weight);
        self.asking_addresses.take_many(now, block, weight);
        Ok(())
    }

    /// Judges somebody who wants to connect and whose address is proven or not.
    pub(crate) fn connection(&mut self, now: Instant, address: IpAddr, is_proven: bool) -> Entry {
        let (table, otherwise) = match is_proven {
            true => (&mut self.proven, Entry::Refuse),
            false => (&mut self.unproven, Entry::Prove),
        };
        let block = Block::of(address);
        match table.check(now, block) {
            Ok(()) => {
                table.take(now, block);
                Entry::Enter
            }
            Err(_) => otherwise,
        }
    }
}

/// What one subscriber's machines have: an IPv4 address, or the 64 bits of network of an IPv6 one, under which anybody has as many
/// addresses as there are (RFC 4291, section 2.5.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Block {
    V4([u8; 4]),
    V6([u8; 8]),
}

impl Block {
    pub(crate) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.octets()),
            IpAddr::V6(address) => Self::V6(*address.octets().first_chunk().expect("an address has 16 bytes")),
        }
    }
}

/// A bucket for each who comes, of a bounded number. Only a full bucket is dropped, which a new one would be too: nobody gets his own
/// filled by coming under many names. Where all are in use, those who are new share one.
#[derive(Debug)]
struct Table<K> {
    rate: Option<Rate>,
    buckets: HashMap<K, Bucket>,
    max: usize,
    shared: Option<Bucket>,
    /// When it was searched last for full ones.
    swept: Option<Instant>,
}

impl<K: Copy + Eq + Hash> Table<K> {
    fn new(per_second: Option<NonZeroU32>, max: usize) -> Self {
        Self { rate: per_second.map(Rate::new), buckets: HashMap::new(), max, shared: None, swept: None }
    }

    /// How long to wait until there is something to take, where there is nothing now. The next one who asks waits longer.
    fn check(&mut self, now: Instant, key: K) -> Result<(), Duration> {
        let Some(rate) = self.rate else { return Ok(()) };
        self.bucket(now, key).check(now, rate)
    }

    /// Takes one of what [`Table::check`] found.
    fn take(&mut self, now: Instant, key: K) {
        self.take_many(now, key, 1);
    }

    /// Takes so many, though there be less: the next has to wait for that.
    fn take_many(&mut self, now: Instant, key: K, count: u32) {
        if let Some(rate) = self.rate {
            self.bucket(now, key).take(now, rate.interval * count);
        }
    }

    fn bucket(&mut self, now: Instant, key: K) -> &mut Bucket {
        if self.buckets.len() >= self.max && !self.buckets.contains_key(&key) {
            self.sweep(now);
            if self.buckets.len() >= self.max {
                return self.shared.get_or_insert_with(|| Bucket::full(now));
            }
        }
        self.buckets.entry(key).or_insert_with(|| Bucket::full(now))
    }

    fn sweep(&mut self, now: Instant) {
        if self.swept.is_none_or(|swept| now.saturating_duration_since(swept) >= SWEEP_EVERY) {
            self.swept = Some(now);
            self.buckets.retain(|_, bucket| bucket.full_at > now);
        }
    }
}

/// How fast a bucket is filled.
#[derive(Debug, Clone, Copy)]
struct Rate {
    /// The time for one.
    interval: Duration,
    /// The time from empty to full.
    window: Duration,
}

impl Rate {
    fn new(per_second: NonZeroU32) -> Self {
        let interval = Duration::from_secs(1) / per_second.get();
        Self { interval, window: interval * per_second.get() * BURST_SECONDS }
    }
}

/// A token bucket, kept as the moment at which it is full again (the generic cell rate algorithm: ITU-T I.371, annex A).
#[derive(Debug, Clone, Copy)]
struct Bucket {
    full_at: Instant,
    /// The latest moment at which somebody was told to come back. The next is told the one after it, so that those who are sent away
    /// together do not come back together.
    promised: Instant,
}

impl Bucket {
    fn full(now: Instant) -> Self {
        Self { full_at: now, promised: now }
    }

    fn check(&mut self, now: Instant, rate: Rate) -> Result<(), Duration> {
        let needed = self.full_at.max(now) + rate.interval;
        if needed <= now + rate.window {
            return Ok(());
        }
        self.promised = (needed - rate.window).max(self.promised + rate.interval).min(now + RETRY_AFTER_MAX);
        Err(self.promised - now)
    }

    /// Takes what comes in within a time.
    fn take(&mut self, now: Instant, time: Duration) {
        self.full_at = self.full_at.max(now) + time;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MS: Duration = Duration::from_millis(1);

    fn per_second(count: u32) -> Option<NonZeroU32> {
        NonZeroU32::new(count)
    }

    fn table(count: u32, max: usize) -> Table<u32> {
        Table::new(per_second(count), max)
    }

    /// How many of so many that come at once get in.
    fn admitted(table: &mut Table<u32>, now: Instant, key: u32, count: u32) -> u32 {
        (0..count).map(|_| u32::from(table.check(now, key).map(|()| table.take(now, key)).is_ok())).sum()
    }

    #[test]
    fn burst_passes_and_then_the_rate() {
        let begun = Instant::now();
        let mut table = table(10, 8);
        for (after, want) in [
            (Duration::ZERO, 20),
            (Duration::ZERO, 0),
            (99 * MS, 0),
            (100 * MS, 1),
            (100 * MS, 0),
            (1_100 * MS, 10),
            // Two seconds' worth and no more, however long nobody came.
            (3_600 * SECOND, 20),
        ] {
            assert_eq!(admitted(&mut table, begun + after, 1, 100), want, "after {after:?}");
        }
    }

    #[test]
    fn over_any_time_no_more_pass_than_the_rate_and_one_burst() {
        for rate in [1, 3, 7, 1_000, 20_000] {
            let (begun, mut table) = (Instant::now(), table(rate, 8));
            let passed: u32 = (0..100).map(|n| admitted(&mut table, begun + SECOND * n / 10, 1, rate.div_ceil(3) + 1)).sum();
            let most = rate * (2 + 10);
            assert!(passed <= most && passed >= rate * 9, "{passed} at {rate} a second in ten");
        }
    }

    #[test]
    fn heavy_questions_take_as_many_turns_as_they_weigh() {
        let (now, [one, other]) = (Instant::now(), [1, 2].map(|n| PublicKey([n; 32])));
        let address = |n| IpAddr::from([192, 0, 2, n]);
        let mut door = Door::new(&RateLimits::default());
        let asked = |door: &mut Door, key, n, weight| {
            (0..5_000).take_while(|_| door.question(now, key, address(n), weight).is_ok()).count()
        };
        assert_eq!(asked(&mut door, one, 1, 1), 2_000);
        assert_eq!(asked(&mut door, one, 2, 1), 0, "a key is one from wherever it asks");
        assert_eq!(asked(&mut door, other, 1, 1), 2_000, "an address may ask as much as two keys");
        let third = PublicKey([3; 32]);
        assert_eq!(asked(&mut door, third, 1, 1), 0);
        // The last one may weigh more than is left, which those after it wait for.
        assert_eq!(asked(&mut door, third, 2, 999), 3);
        let wait = door.question(now, third, address(2), 1).unwrap_err();
        assert!(wait > Duration::from_millis(997), "it owes as much: {wait:?}");
        assert!(door.question(now + wait, third, address(2), 1).is_ok());
    }

    #[test]
    fn those_who_are_sent_away_are_told_one_moment_after_another() {
        let (now, mut table) = (Instant::now(), table(10, 8));
        admitted(&mut table, now, 1, 20);
        let waits: Vec<Duration> = (0..400).map(|_| table.check(now, 1).unwrap_err()).collect();
        for (n, wait) in waits.iter().enumerate() {
            assert_eq!(*wait, (100 * MS * (n as u32 + 1)).min(RETRY_AFTER_MAX));
        }
        // Who comes when told gets in.
        for wait in &waits[..250] {
            assert_eq!(admitted(&mut table, now + *wait, 1, 1), 1);
        }
        // And being sent away uses up nothing.
        assert_eq!(admitted(&mut table, now + 3_600 * SECOND, 1, 100), 20);
    }

    #[test]
    fn one_does_not_use_up_anothers() {
        let (now, mut table) = (Instant::now(), table(10, 8));
        assert_eq!(admitted(&mut table, now, 1, 100), 20);
        assert_eq!(admitted(&mut table, now, 2, 100), 20);
        assert_eq!(admitted(&mut table, now, 1, 100), 0);
    }

    #[test]
    fn many_names_do_not_make_a_table_forget_who_has_used_his_up() {
        let (begun, mut table) = (Instant::now(), table(10, 64));
        assert_eq!(admitted(&mut table, begun, 0, 100), 20);
        // All places taken by names in use, and then a thousand names that share what one may have.
        let strangers: u32 = (1..1_064).map(|name| admitted(&mut table, begun, name, 1)).sum();
        assert_eq!(strangers, 63 + 20);
        assert_eq!(table.buckets.len(), 64);
        assert_eq!(admitted(&mut table, begun + 50 * MS, 0, 100), 0);
        // Whoever came once is forgotten as soon as that makes no difference; who has used up his, not before his is full.
        assert_eq!(admitted(&mut table, begun + 150 * MS, 7_777, 100), 20);
        assert_eq!(table.buckets.len(), 2);
        assert_eq!(admitted(&mut table, begun + 150 * MS, 0, 100), 1);
    }

    #[test]
    fn full_table_is_not_searched_at_each_stranger() {
        let (begun, mut table) = (Instant::now(), table(1_000, 4));
        for name in 0..5 {
            admitted(&mut table, begun, name, 1);
        }
        // All four are full again, but it was looked a moment ago.
        admitted(&mut table, begun + 99 * MS, 9, 1);
        assert!(!table.buckets.contains_key(&9));
        admitted(&mut table, begun + 100 * MS, 9, 1);
        assert_eq!(table.buckets.len(), 1);
    }

    #[test]
    fn without_a_rate_everybody_passes_and_nobody_is_noted() {
        let (now, mut table) = (Instant::now(), Table::new(None, 4));
        assert_eq!(admitted(&mut table, now, 1, 100_000), 100_000);
        assert!(table.buckets.is_empty());
    }

    fn door(key: u32, address: u32, connections: u32) -> Door {
        let limits = RateLimits {
            submissions_per_key: per_second(key),
            submissions_per_address: per_second(address),
            connections_per_address: per_second(connections),
        };
        Door::new(&limits)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn submission_must_pass_by_key_and_by_address() {
        let now = Instant::now();
        let mut door = door(10, 15, 1);
        let mut submit = |key: u8, address: &str, count: u32| -> u32 {
            let one = |_| u32::from(door.submission(now, PublicKey([key; 32]), ip(address)).is_ok());
            (0..count).map(one).sum()
        };
        assert_eq!(submit(1, "192.0.2.1", 25), 20);
        // What the first key was sent away for is not on its address's account.
        assert_eq!(submit(2, "192.0.2.1", 25), 10);
        // The same key elsewhere is the same key; another elsewhere is another in every way.
        assert_eq!(submit(1, "192.0.2.2", 25), 0);
        assert_eq!(submit(3, "192.0.2.2", 25), 20);
    }

    #[test]
    fn refusal_tells_whole_milliseconds_until_there_is_room() {
        let now = Instant::now();
        let mut door = door(3, 1_000, 1);
        for _ in 0..6 {
            door.submission(now, PublicKey([1; 32]), ip("192.0.2.1")).unwrap();
        }
        let refused = door.submission(now, PublicKey([1; 32]), ip("192.0.2.1"));
        assert_eq!(refused, Err(Refusal::RateLimited { retry_after_ms: 334 }));
        assert_eq!(door.submission(now + 334 * MS, PublicKey([1; 32]), ip("192.0.2.1")), Ok(()));
    }

    #[test]
    fn addresses_of_one_subscriber_are_one() {
        for (first, second, same) in [
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("2001:db8::1", "2001:db8::ffff:2", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
        ] {
            assert_eq!(Block::of(ip(first)) == Block::of(ip(second)), same, "{first} {second}");
        }
    }

    #[test]
    fn who_writes_anothers_address_on_packets_does_not_lock_him_out() {
        let now = Instant::now();
        let mut door = door(1, 1, 10);
        let enter = |door: &mut Door, is_proven| door.connection(now, ip("192.0.2.1"), is_proven);
        for _ in 0..20 {
            assert_eq!(enter(&mut door, false), Entry::Enter);
        }
        for _ in 0..1_000 {
            assert_eq!(enter(&mut door, false), Entry::Prove);
        }
        for _ in 0..20 {
            assert_eq!(enter(&mut door, true), Entry::Enter);
        }
        assert_eq!(enter(&mut door, true), Entry::Refuse);
        assert_eq!(door.connection(now, ip("192.0.2.2"), false), Entry::Enter);
    }
}
