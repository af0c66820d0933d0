//! Scripts on a disk that fails at each of its operations in turn. Whatever survives the power cut, the ledger opens, no acknowledged
//! operation is missing, no batch is half there, nothing is done twice, and the script can be finished.
//!
//! `ADIT_CRASH_POINTS=1000000 cargo test -p adit-ledger --release --test it crash::` goes on with random scripts until so many states of
//! the disk were checked; `ADIT_CRASH_FROM` is the first script's seed.

use std::collections::HashSet;

use adit_ledger::{Appended, Applied, EntryError, Ledger, Operation, Refused};
use adit_protocol::Digest;

use crate::disk::{Disk, Fault, Survivors};
use crate::fixture::{Rng, gateway};
use crate::script::{Script, empty};
use crate::steps::Step;

/// How many jobs the scripts have.
const JOBS: u64 = 40;
/// Different states of the disk that are checked in every run of the tests.
const POINTS_MIN: usize = 5_000;

fn holds(jobs: std::ops::Range<u64>, amount: u64, expires: u64) -> impl Iterator<Item = Step> {
    jobs.map(move |job| Step::Hold { job, amount, expires })
}

fn settles(jobs: std::ops::Range<u64>) -> impl Iterator<Item = Step> {
    jobs.map(|job| Step::Settle { job, variant: 0 })
}

/// Every kind of operation and every way to refuse one; holds that end in a later batch than they began in, or in the same; batches of
/// many sizes, so that trees split and the file grows.
pub(crate) fn script() -> Script {
    let grant = |order, customer, amount| Step::Grant { order, customer, amount };
    let hold = |job, amount, expires| Step::Hold { job, amount, expires };
    let settle = |job, variant| Step::Settle { job, variant };
    let payout = |order, amount| Step::Payout { order, amount };
    let state = |fee_ppm| Step::State { fee_ppm };
    let attempt = |job, number, variant| Step::Attempt { job, number, variant };
    let unpaid = |job, reason_bytes| Step::Unpaid { job, reason_bytes };
    let begin = [state(50_000), grant(0, 0, 60_000), grant(1, 1, 60_000), grant(2, 2, 60_000)];
    let batches = [
        (false, begin.to_vec()),
        (false, vec![grant(0, 0, 60_000), grant(0, 0, 1), state(50_000), state(1_000_001)]),
        (false, vec![hold(0, 400, 90)]),
        (
            false,
            vec![hold(0, 450, 90), hold(0, 450, 90), hold(0, 449, 90), hold(1, 70_000, 90), hold(1, 20, 50), hold(2, 400, 50)],
        ),
        (false, vec![settle(0, 0), settle(0, 0), settle(0, 1), settle(1, 0), settle(39, 0), hold(0, 450, 90)]),
        (false, holds(3..20, 450, 55).collect()),
        (true, vec![Step::Void { job: 2 }, Step::Void { job: 2 }, Step::Void { job: 0 }]),
        (false, settles(3..15).chain([state(0), settle(15, 1)]).collect()),
        (false, vec![payout(3, 200), payout(3, 200), payout(3, 201), payout(4, 9_000), payout(0, 1)]),
        (false, vec![Step::Expire { now: 50 }]),
        (
            false,
            vec![
                hold(1, 450, 90),
                settle(1, 0),
                hold(2, 450, 90),
                Step::Void { job: 2 },
                hold(2, 450, 10),
                Step::Expire { now: 20 },
            ],
        ),
        (
            false,
            vec![
                hold(36, 450, 90),
                attempt(36, 1, 0),
                attempt(36, 1, 0),
                attempt(36, 1, 1),
                settle(36, 0),
                hold(37, 450, 90),
                attempt(37, 1, 0),
                hold(38, 20, 90),
                attempt(38, 1, 0),
                attempt(39, 1, 0),
            ],
        ),
        (
            true,
            vec![
                attempt(36, 2, 0),
                hold(36, 450, 90),
                settle(36, 3),
                attempt(36, 1, 0),
                attempt(36, 4, 0),
                Step::Void { job: 37 },
                attempt(37, 2, 0),
                hold(37, 300, 95),
                attempt(37, 2, 0),
            ],
        ),
        (false, vec![unpaid(3, 20)]),
        (true, holds(20..36, 410, 95).chain([unpaid(4, 2_048), unpaid(4, 2_049), unpaid(3, 0)]).collect()),
        (false, settles(16..28).chain([hold(28, 450, 95)]).chain(settles(28..31)).collect()),
        (false, vec![Step::Expire { now: 95 }, grant(5, 0, 7), payout(6, 900)]),
    ];
    Script::new(JOBS, &batches)
}

/// A script by a seed.
fn random(seed: u64) -> Script {
    let mut rng = Rng(seed);
    let mut batches = vec![(false, vec![Step::State { fee_ppm: 50_000 }])];
    batches[0].1.extend((0..3).map(|n| Step::Grant { order: n as u8, customer: n, amount: 9_000 }));
    for _ in 0..4 + rng.below(12) {
        let steps = (0..1 + rng.below(40)).map(|_| Step::draw(JOBS, |bound| rng.below(bound))).collect();
        batches.push((rng.below(4) == 0, steps));
    }
    Script::new(JOBS, &batches)
}

/// A script, and the states of the disk at which it was checked.
struct Crashes {
    script: Script,
    /// Where it begins: a crash while the ledger is made is the file's business.
    empty: Vec<u8>,
    /// Of each state, with how much was acknowledged.
    checked: HashSet<(Digest, usize)>,
    /// Of those, how many were followed by the rest of the script.
    finished: usize,
}

impl Crashes {
    fn of(script: Script) -> Self {
        Self { script, empty: empty().image(), checked: HashSet::new(), finished: 0 }
    }

    /// How many operations of the disk the whole script takes.
    fn operations(&self) -> u64 {
        let disk = Disk::with_image(self.empty.clone());
        assert_eq!(self.script.run(&disk, 0), self.script.len());
        disk.operations()
    }

    /// Lets the `n`th operation fail, and checks what may be left then.
    fn fail_at(&mut self, n: u64, fault: Fault, survivors: impl IntoIterator<Item = Survivors>) {
        let disk = Disk::with_image(self.empty.clone());
        disk.fail_at(n, fault);
        let acknowledged = self.script.run(&disk, 0);
        for survivors in survivors {
            self.check(&disk.after_power_cut(survivors), acknowledged);
        }
    }

    /// Checks a state of the disk, unless it was checked before.
    fn check(&mut self, disk: &Disk, acknowledged: usize) {
        if !self.checked.insert((disk.digest(), acknowledged)) {
            return;
        }
        let batches = self.script.check(disk, acknowledged);
        if self.checked.len().is_multiple_of(8) {
            self.script.check_end(disk, batches);
            self.finished += 1;
        }
    }
}

/// What may be left where much is not synced: nothing, everything, and some of the ways between.
fn survivors(n: u64, torn: u64) -> impl Iterator<Item = Survivors> {
    let ways = (0..torn).map(move |way| Survivors::Torn(n << 8 | way));
    [Survivors::Nothing, Survivors::Everything].into_iter().chain(ways)
}

/// A second failure, while the ledger is opened after the first one.
fn fail_again(crashes: &mut Crashes, n: u64) {
    let first = Disk::with_image(crashes.empty.clone());
    first.fail_at(n, Fault::Dead);
    let acknowledged = crashes.script.run(&first, 0);
    let image = first.after_power_cut(Survivors::Torn(n)).image();
    for m in 1.. {
        let second = Disk::with_image(image.clone());
        second.fail_at(m, Fault::Dead);
        drop(Ledger::open_with(second.backend(), gateway()));
        if second.operations() < m {
            break;
        }
        crashes.check(&second.after_power_cut(Survivors::Torn(m)), acknowledged);
    }
}

#[test]
fn disk_that_fails_at_any_operation_loses_nothing_acknowledged() {
    let mut crashes = Crashes::of(script());
    let operations = crashes.operations();
    for n in 1..=operations {
        crashes.fail_at(n, Fault::Dead, survivors(n, 16));
        crashes.fail_at(n, Fault::Once, survivors(!n, 8));
    }
    (1..=operations).step_by(3).for_each(|n| fail_again(&mut crashes, n));
    let checked = crashes.checked.len();
    println!("{operations} operations, {checked} states of the disk, {} of them to the script's end", crashes.finished);
    assert!(checked >= POINTS_MIN, "only {checked} different states of the disk were checked");
}

/// The script of the test above would mean little if it left something out.
#[test]
fn script_has_every_kind_of_operation_and_of_outcome() {
    let script = script();
    let done = || script.batches().iter().flat_map(|batch| batch.operations.iter().zip(&batch.outcomes));
    /// Whether an operation came to this.
    type Kind = fn(&Operation, &Result<Applied, Refused>) -> bool;
    let kinds: [(&str, Kind); 30] = [
        ("terms", |o, r| matches!((o, r), (Operation::State(_), Ok(Applied::Recorded { .. })))),
        ("the same terms", |o, r| matches!((o, r), (Operation::State(_), Ok(Applied::Before { .. })))),
        ("terms refused", |o, r| matches!((o, r), (Operation::State(_), Err(_)))),
        ("grant", |o, r| matches!((o, r), (Operation::Grant(_), Ok(Applied::Recorded { .. })))),
        ("the same grant", |o, r| matches!((o, r), (Operation::Grant(_), Ok(Applied::Before { .. })))),
        ("another grant", |o, r| matches!((o, r), (Operation::Grant(_), Err(Refused::OtherOrder { .. })))),
        ("hold", |_, r| matches!(r, Ok(Applied::Held))),
        ("the same hold", |o, r| matches!((o, r), (Operation::Hold(_), Ok(Applied::Before { .. })))),
        ("a smaller hold", |_, r| matches!(r, Err(Refused::OtherHold { .. }))),
        ("a hold too large", |_, r| matches!(r, Err(Refused::Insufficient { .. }))),
        ("a hold of a settled job", |o, r| matches!((o, r), (Operation::Hold(_), Err(Refused::AlreadySettled { .. })))),
        ("settlement", |_, r| matches!(r, Ok(Applied::Settled(Appended::New { .. })))),
        ("the same settlement", |_, r| matches!(r, Ok(Applied::Settled(Appended::Existing(_))))),
        ("another settlement", |_, r| matches!(r, Err(Refused::Entry(EntryError::Conflict { .. })))),
        ("a settlement over its hold", |o, r| matches!((o, r), (Operation::Settle(_), Err(Refused::Books(_))))),
        ("a settlement without a hold", |o, r| matches!((o, r), (Operation::Settle(_), Err(Refused::NoHold { .. })))),
        ("an attempt", |o, r| matches!((o, r), (Operation::Attempt(_), Ok(Applied::Recorded { .. })))),
        ("the same attempt", |o, r| matches!((o, r), (Operation::Attempt(_), Ok(Applied::Before { .. })))),
        ("another receipt of a paid attempt", |o, r| {
            matches!((o, r), (Operation::Attempt(_), Err(Refused::Entry(EntryError::Paid { .. }))))
        }),
        ("a settlement by a paid attempt", |o, r| {
            matches!((o, r), (Operation::Settle(_), Err(Refused::Entry(EntryError::Paid { .. }))))
        }),
        ("an attempt over its hold", |o, r| matches!((o, r), (Operation::Attempt(_), Err(Refused::Books(_))))),
        ("an attempt at a settled job", |o, r| matches!((o, r), (Operation::Attempt(_), Err(Refused::AlreadySettled { .. })))),
        ("void", |o, r| matches!((o, r), (Operation::Void { .. }, Ok(_)))),
        ("the same void", |o, r| matches!((o, r), (Operation::Void { .. }, Err(Refused::NoHold { .. })))),
        ("expiry", |_, r| matches!(r, Ok(Applied::Expired(expired)) if !expired.is_empty())),
        ("payout", |o, r| matches!((o, r), (Operation::Payout(_), Ok(Applied::Recorded { .. })))),
        ("the same payout", |o, r| matches!((o, r), (Operation::Payout(_), Ok(Applied::Before { .. })))),
        ("an unpaid attempt", |_, r| matches!(r, Ok(Applied::Noted))),
        ("an unpaid attempt of too many words", |o, r| matches!((o, r), (Operation::Unpaid { .. }, Err(Refused::Entry(_))))),
        ("a payout too large", |o, r| matches!((o, r), (Operation::Payout(_), Err(Refused::Books(_))))),
    ];
    for (kind, is) in kinds {
        assert!(done().any(|(operation, outcome)| is(operation, outcome)), "{kind}");
    }
}

/// By command: random scripts, each failing at random operations.
#[test]
fn random_scripts_lose_nothing_acknowledged() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|error| panic!("{name}: {error}")));
    let (points, first) = (number("ADIT_CRASH_POINTS").unwrap_or(200), number("ADIT_CRASH_FROM").unwrap_or(0));
    let (mut checked, mut finished) = (0, 0);
    for seed in first.. {
        if checked >= points {
            println!("{checked} states of the disk in scripts {first} to {}, {finished} to the script's end", seed - 1);
            break;
        }
        println!("script {seed}");
        let mut crashes = Crashes::of(random(seed));
        let (operations, mut rng) = (crashes.operations(), Rng(seed));
        for _ in 0..16 {
            let n = 1 + rng.below(operations);
            match rng.below(3) {
                0 => crashes.fail_at(n, Fault::Once, survivors(rng.next(), 6)),
                1 => fail_again(&mut crashes, n),
                _ => crashes.fail_at(n, Fault::Dead, survivors(rng.next(), 6)),
            }
        }
        checked += crashes.checked.len() as u64;
        finished += crashes.finished;
    }
}
