//! Money: what each operation does to whom, and random scripts against a model.

use std::collections::BTreeMap;

use adit_ledger::{Account, Appended, Applied, Balance, Books, BooksError, Entry, EntryError, Ledger, Operation, Refused};
use adit_protocol::{
    Attempt, Grant, JobId, Leaf, Microcredits, Outcome, Payout, PublicKey, Receipt, Terms, TransferId, UnixMillis, VoidReason,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use redb::backends::InMemoryBackend;

use crate::disk::Disk;
use crate::fixture::{FIRST, GRANTED, HELD, client, entry_of, gateway, grant, job, node, open, settle, terms};
use crate::steps::{Model, Step, attempt, attempt_cost, costing, customer, hold_of, owner, trying, void};

fn balance(ledger: &Ledger, account: Account) -> Balance {
    ledger.reader().balance(account).unwrap()
}

/// One operation, alone.
fn one(ledger: &mut Ledger, operation: Operation) -> Result<Applied, Refused> {
    ledger.apply(&[operation]).unwrap().remove(0)
}

#[test]
fn settled_job_costs_what_its_receipt_says_and_the_rest_of_its_hold_goes_back() {
    let mut ledger = open(&Disk::default());
    let granted = i128::from(GRANTED);
    assert_eq!(one(&mut ledger, Operation::Hold(hold_of(0, 1_500, 50))), Ok(Applied::Held));
    assert_eq!(balance(&ledger, customer(0)), Balance { posted: granted, held: 1_500 });
    assert_eq!(ledger.reader().holds().unwrap(), [hold_of(0, 1_500, 50)]);

    let settled = one(&mut ledger, settle(costing(0, 1_019, 0)));
    assert_eq!(settled, Ok(Applied::Settled(Appended::New { index: FIRST })));
    assert_eq!(balance(&ledger, customer(0)), Balance { posted: granted - 1_019, held: 0 });
    // A fee of 5 %, rounded down; its remainder is the owner's.
    assert_eq!((balance(&ledger, Account::Fee).posted, balance(&ledger, owner()).posted), (50, 969));
    assert_eq!(balance(&ledger, Account::Issuer).posted, -3 * granted);
    assert!(ledger.reader().holds().unwrap().is_empty());
    one(&mut ledger, Operation::Hold(hold_of(3, 5, 50))).unwrap();
    let foreign = Operation::Void { job: job(3), customer: client(1), reason: VoidReason::Refused, time: UnixMillis(9) };
    assert_eq!(one(&mut ledger, foreign), Err(Refused::ForeignHold { job: job(3) }));
    for account in [customer(0), owner()] {
        assert_eq!(ledger.reader().statement(account, FIRST, 10).unwrap(), [FIRST]);
    }
}

/// A way in which a hold ends.
type End = fn(&mut Ledger) -> Result<Applied, Refused>;

#[test]
fn hold_ends_once_however_it_ends() {
    let ends: [End; 3] = [
        |ledger| one(ledger, settle(costing(0, 1_000, 0))),
        |ledger| one(ledger, void(0, VoidReason::Cancelled)),
        |ledger| one(ledger, Operation::Expire { now: UnixMillis(50) }),
    ];
    for (first, end) in ends.iter().enumerate() {
        let mut ledger = open(&Disk::default());
        one(&mut ledger, Operation::Hold(hold_of(0, 1_500, 50))).unwrap();
        end(&mut ledger).unwrap();
        let (after, size) = (balance(&ledger, customer(0)), ledger.tree().size);
        assert_eq!((after.held, size), (0, FIRST + 1), "{first}");
        for again in ends {
            match again(&mut ledger) {
                Ok(Applied::Expired(none)) => assert!(none.is_empty()),
                Ok(Applied::Settled(Appended::Existing(stored))) => assert_eq!((stored.index, first), (FIRST, 0)),
                Err(Refused::NoHold { .. } | Refused::AlreadySettled { .. }) => {}
                other => panic!("{other:?}"),
            }
            assert_eq!((balance(&ledger, customer(0)), ledger.tree().size), (after, size), "{first}");
        }
    }
}

#[test]
fn hold_is_raised_and_never_lowered() {
    let mut ledger = open(&Disk::default());
    let mut hold = |amount| one(&mut ledger, Operation::Hold(hold_of(0, amount, 50)));
    assert_eq!((hold(100), hold(150), hold(150)), (Ok(Applied::Held), Ok(Applied::Held), Ok(Applied::Before { index: None })));
    assert_eq!(hold(149), Err(Refused::OtherHold { job: job(0) }));
    assert_eq!(
        hold(GRANTED + 1),
        Err(Refused::Insufficient { customer: client(0), available: i128::from(GRANTED) - 150, asked: GRANTED - 149 })
    );
    assert_eq!(balance(&ledger, customer(0)).held, 150);
}

/// The second attempt of a job, which costs so much.
fn second(cost: u64) -> Entry {
    costing(0, cost, 1)
}

#[test]
fn attempts_are_paid_out_of_one_hold_and_the_last_settles_the_job() {
    let mut ledger = open(&Disk::default());
    let granted = i128::from(GRANTED);
    let (cut, lost) = (trying(0, 7, 0), trying(0, 8, 0));
    let costs = [7, 8].map(|number| i128::from(attempt_cost(0, number, 0)));
    one(&mut ledger, Operation::Hold(hold_of(0, 1_500, 50))).unwrap();
    assert_eq!(one(&mut ledger, attempt(cut.clone())), Ok(Applied::Recorded { index: FIRST }));
    let left = 1_500 - costs[0];
    assert_eq!(balance(&ledger, customer(0)), Balance { posted: granted - costs[0], held: left });
    assert_eq!(ledger.reader().holds().unwrap(), [hold_of(0, left as u64, 50)]);
    assert_eq!(one(&mut ledger, attempt(lost.clone())), Ok(Applied::Recorded { index: FIRST + 1 }));
    let left = left - costs[1];
    assert_eq!(one(&mut ledger, settle(second(900))), Ok(Applied::Settled(Appended::New { index: FIRST + 2 })));
    assert_eq!(balance(&ledger, customer(0)), Balance { posted: granted - costs[0] - costs[1] - 900, held: 0 });
    assert_eq!(balance(&ledger, owner()).posted + balance(&ledger, Account::Fee).posted, costs[0] + costs[1] + 900);

    let reader = ledger.reader();
    assert_eq!(reader.attempts(job(0)).unwrap(), [(Attempt(7), FIRST), (Attempt(8), FIRST + 1)]);
    assert_eq!(reader.attempts(job(1)).unwrap(), []);
    assert_eq!(reader.job(job(0)).unwrap().unwrap().receipt, *second(900).receipt.signed());
    let receipts = reader.receipts_of(&client(0), 0, 10).unwrap().rows;
    let due = [&cut, &lost, &second(900)].map(|entry| entry.receipt.signed().clone());
    assert_eq!(receipts, (FIRST..).zip(due).collect::<Vec<_>>());
    for account in [customer(0), owner()] {
        assert_eq!(reader.statement(account, FIRST, 10).unwrap(), [FIRST, FIRST + 1, FIRST + 2]);
    }
    let held = (FIRST..FIRST + 3).map(|index| {
        let leaf = Leaf::from_bytes(&reader.leaf(index).unwrap().unwrap()).unwrap();
        (matches!(leaf, Leaf::Settlement(_)), i128::from(leaf.paid().unwrap().held.0))
    });
    assert_eq!(held.collect::<Vec<_>>(), [(false, 1_500), (false, 1_500 - costs[0]), (true, left)]);
    reader.check_books().unwrap();
}

#[test]
fn attempt_is_paid_once_whatever_it_is_called() {
    let mut ledger = open(&Disk::default());
    one(&mut ledger, Operation::Hold(hold_of(0, 1_500, 50))).unwrap();
    // In the same batch, and later.
    let outcomes = ledger.apply(&[attempt(trying(0, 1, 0)), attempt(trying(0, 1, 0))]).unwrap();
    assert_eq!(outcomes, [Ok(Applied::Recorded { index: FIRST }), Ok(Applied::Before { index: Some(FIRST) })]);
    let (after, size) = (balance(&ledger, customer(0)), ledger.tree().size);
    let paid = Err(EntryError::Paid { job: job(0), attempt: Attempt(1), index: FIRST }.into());
    assert_eq!(one(&mut ledger, attempt(trying(0, 1, 0))), Ok(Applied::Before { index: Some(FIRST) }));
    assert_eq!(one(&mut ledger, attempt(trying(0, 1, 1))), paid);
    assert_eq!(one(&mut ledger, settle(costing(0, 900, 0))), paid);
    assert_eq!((balance(&ledger, customer(0)), ledger.tree().size), (after, size));

    one(&mut ledger, settle(second(900))).unwrap();
    let (after, size) = (balance(&ledger, customer(0)), ledger.tree().size);
    let over = Err(Refused::AlreadySettled { job: job(0), index: FIRST + 1 });
    assert_eq!(one(&mut ledger, attempt(trying(0, 1, 0))), Ok(Applied::Before { index: Some(FIRST) }));
    assert_eq!(one(&mut ledger, attempt(second(900))), over, "what settled the job is paid no second time");
    assert_eq!(one(&mut ledger, attempt(trying(0, 3, 0))), over);
    let conflict = Err(EntryError::Conflict { job: job(0), index: FIRST + 1 }.into());
    assert_eq!(one(&mut ledger, settle(trying(0, 1, 0))), conflict);
    assert_eq!((balance(&ledger, customer(0)), ledger.tree().size), (after, size));
}

#[test]
fn attempt_costs_no_more_than_is_held_by_its_own_customer() {
    let mut ledger = open(&Disk::default());
    let cost = attempt_cost(0, 1, 0);
    assert_eq!(one(&mut ledger, attempt(trying(0, 1, 0))), Err(Refused::NoHold { job: job(0) }));
    one(&mut ledger, Operation::Hold(hold_of(0, cost - 1, 50))).unwrap();
    assert_eq!(one(&mut ledger, attempt(trying(0, 1, 0))), Err(BooksError::OverHold { cost, held: cost - 1 }.into()));
    assert_eq!(ledger.reader().holds().unwrap(), [hold_of(0, cost - 1, 50)]);
    let foreign = trying(0, 1, 0).receipt.receipt().clone();
    let foreign = entry_of(0, Receipt { client: client(1), ..foreign });
    assert_eq!(one(&mut ledger, attempt(foreign)), Err(Refused::ForeignHold { job: job(0) }));
    // Down to nothing: the job goes on, and has to be given more.
    one(&mut ledger, Operation::Hold(hold_of(0, cost, 50))).unwrap();
    one(&mut ledger, attempt(trying(0, 1, 0))).unwrap();
    assert_eq!(ledger.reader().holds().unwrap(), [hold_of(0, 0, 50)]);
    assert_eq!(one(&mut ledger, settle(second(1))), Err(BooksError::OverHold { cost: 1, held: 0 }.into()));
    one(&mut ledger, Operation::Hold(hold_of(0, 1, 50))).unwrap();
    one(&mut ledger, settle(second(1))).unwrap();
    assert_eq!(balance(&ledger, customer(0)), Balance { posted: i128::from(GRANTED - cost) - 1, held: 0 });
    ledger.reader().check_books().unwrap();
}

#[test]
fn attempt_that_was_cut_short_does_not_end_its_job() {
    let mut ledger = open(&Disk::default());
    one(&mut ledger, Operation::Hold(hold_of(0, 1_500, 50))).unwrap();
    let receipt = Receipt { outcome: Outcome::Preempted, ..second(900).receipt.receipt().clone() };
    let cut = entry_of(0, receipt);
    assert_eq!(one(&mut ledger, settle(cut.clone())), Err(BooksError::Interim(job(0)).into()));
    assert_eq!(ledger.reader().holds().unwrap().len(), 1);
    one(&mut ledger, attempt(cut)).unwrap();
}

/// What is ordered is what is held then, so that the next attempt is covered whatever the last one cost.
#[test]
fn hold_is_raised_from_what_paid_attempts_have_left() {
    let mut ledger = open(&Disk::default());
    let cost = attempt_cost(0, 1, 0);
    one(&mut ledger, Operation::Hold(hold_of(0, 500, 50))).unwrap();
    assert_eq!(one(&mut ledger, Operation::Hold(hold_of(0, 500, 50))), Ok(Applied::Before { index: None }));
    one(&mut ledger, attempt(trying(0, 1, 0))).unwrap();
    assert_eq!(balance(&ledger, customer(0)).held, i128::from(500 - cost));
    let less = one(&mut ledger, Operation::Hold(hold_of(0, 499 - cost, 50)));
    assert_eq!(less, Err(Refused::OtherHold { job: job(0) }));
    assert_eq!(one(&mut ledger, Operation::Hold(hold_of(0, 500 - cost, 50))), Ok(Applied::Before { index: None }));
    assert_eq!(one(&mut ledger, Operation::Hold(hold_of(0, 500, 50))), Ok(Applied::Held));
    assert_eq!(one(&mut ledger, Operation::Hold(hold_of(0, 500, 50))), Ok(Applied::Before { index: None }));
    assert_eq!(balance(&ledger, customer(0)), Balance { posted: i128::from(GRANTED - cost), held: 500 });
    let spendable = i128::from(GRANTED - cost) - 500;
    let refused = one(&mut ledger, Operation::Hold(hold_of(0, GRANTED - cost + 1, 50)));
    assert_eq!(refused, Err(Refused::Insufficient { customer: client(0), available: spendable, asked: GRANTED - cost - 499 }));
}

#[test]
fn what_attempts_have_left_goes_back_when_the_job_comes_to_nothing() {
    let ends: [End; 2] =
        [|ledger| one(ledger, void(0, VoidReason::NodesLost)), |ledger| one(ledger, Operation::Expire { now: UnixMillis(50) })];
    for end in ends {
        let disk = Disk::default();
        let mut ledger = open(&disk);
        let cost = i128::from(attempt_cost(0, 1, 0));
        one(&mut ledger, Operation::Hold(hold_of(0, 500, 50))).unwrap();
        one(&mut ledger, attempt(trying(0, 1, 0))).unwrap();
        end(&mut ledger).unwrap();
        let spent = Balance { posted: i128::from(GRANTED) - cost, held: 0 };
        assert_eq!(balance(&ledger, customer(0)), spent);
        let leaf = Leaf::from_bytes(&ledger.reader().leaf(FIRST + 1).unwrap().unwrap()).unwrap();
        assert!(matches!(leaf, Leaf::Void(voided) if i128::from(voided.held.0) == 500 - cost), "{leaf:?}");
        assert_eq!(one(&mut ledger, attempt(trying(0, 2, 0))), Err(Refused::NoHold { job: job(0) }));
        assert_eq!(one(&mut ledger, attempt(trying(0, 1, 0))), Ok(Applied::Before { index: Some(FIRST) }));
        // A gateway that was started anew is given the same job again, and must know how far the attempts were numbered.
        drop(ledger);
        let mut ledger = open(&disk);
        assert_eq!(ledger.reader().attempts(job(0)).unwrap(), [(Attempt(1), FIRST)]);
        one(&mut ledger, Operation::Hold(hold_of(0, 30, 60))).unwrap();
        let paid = Err(EntryError::Paid { job: job(0), attempt: Attempt(1), index: FIRST }.into());
        assert_eq!(one(&mut ledger, settle(costing(0, 30, 0))), paid);
        one(&mut ledger, settle(second(30))).unwrap();
        assert_eq!(balance(&ledger, customer(0)), Balance { posted: spent.posted - 30, held: 0 });
        ledger.reader().check_books().unwrap();
    }
}

#[test]
fn hold_that_expires_later_is_left() {
    let mut ledger = open(&Disk::default());
    for (n, expires) in [(0, 50), (1, 49), (2, 51)] {
        one(&mut ledger, Operation::Hold(hold_of(n, 10, expires))).unwrap();
    }
    let expired = one(&mut ledger, Operation::Expire { now: UnixMillis(50) });
    assert_eq!(expired, Ok(Applied::Expired(vec![(job(1), FIRST), (job(0), FIRST + 1)])));
    assert_eq!(ledger.reader().holds().unwrap(), [hold_of(2, 10, 51)]);
}

#[test]
fn nobody_holds_or_is_paid_more_than_there_is() {
    let mut ledger = open(&Disk::default());
    one(&mut ledger, Operation::Hold(hold_of(0, GRANTED - 10, 50))).unwrap();
    let refused = one(&mut ledger, Operation::Hold(hold_of(3, 11, 50)));
    assert_eq!(refused, Err(Refused::Insufficient { customer: client(0), available: 10, asked: 11 }));
    assert_eq!(one(&mut ledger, Operation::Hold(hold_of(3, 10, 50))), Ok(Applied::Held));

    let cost = costing(1, HELD + 1, 0);
    one(&mut ledger, Operation::Hold(hold_of(1, HELD, 50))).unwrap();
    let refused = one(&mut ledger, settle(cost));
    assert_eq!(refused, Err(BooksError::OverHold { cost: HELD + 1, held: HELD }.into()));
    assert_eq!(ledger.reader().holds().unwrap().len(), 3, "the hold is still there, for a receipt that it covers");
    one(&mut ledger, settle(costing(1, HELD, 0))).unwrap();

    let due = balance(&ledger, owner()).posted;
    let payout = |id, amount: i128| {
        let amount = Microcredits(amount as u64);
        Operation::Payout(Payout { id: TransferId([id; 16]), owner: node().public(), amount, time: UnixMillis(9) })
    };
    let refused = one(&mut ledger, payout(200, due + 1));
    assert_eq!(refused, Err(BooksError::Overdrawn { account: owner(), left: -1, asked: due + 1 }.into()));
    one(&mut ledger, payout(200, due)).unwrap();
    assert_eq!(balance(&ledger, owner()).posted, 0);
}

#[test]
fn order_is_carried_out_once() {
    let mut ledger = open(&Disk::default());
    let again = Grant { time: UnixMillis(99), ..grant(0) };
    assert_eq!(one(&mut ledger, Operation::Grant(again)), Ok(Applied::Before { index: Some(1) }));
    let other = Grant { amount: Microcredits(1), ..grant(0) };
    assert_eq!(one(&mut ledger, Operation::Grant(other)), Err(Refused::OtherOrder { id: grant(0).id, index: 1 }));
    let payout = Payout { id: grant(0).id, owner: client(0), amount: grant(0).amount, time: UnixMillis(2) };
    assert_eq!(one(&mut ledger, Operation::Payout(payout)), Err(Refused::OtherOrder { id: grant(0).id, index: 1 }));
    // In the same batch too.
    let twice = Grant { id: TransferId([77; 16]), ..grant(0) };
    let outcomes = ledger.apply(&[Operation::Grant(twice), Operation::Grant(twice)]).unwrap();
    assert_eq!(outcomes, [Ok(Applied::Recorded { index: FIRST }), Ok(Applied::Before { index: Some(FIRST) })]);
    assert_eq!(balance(&ledger, customer(0)).posted, 2 * i128::from(GRANTED));
}

#[test]
fn nothing_moves_before_the_gateway_has_stated_its_terms() {
    let mut ledger = Ledger::open_with(InMemoryBackend::new(), gateway()).unwrap();
    assert_eq!(one(&mut ledger, Operation::Grant(grant(0))), Err(BooksError::NoTerms.into()));
    assert_eq!(one(&mut ledger, Operation::Hold(hold_of(0, 0, 50))), Err(BooksError::NoTerms.into()));
    let foreign = Terms { gateway: PublicKey([7; 32]), ..terms() };
    assert_eq!(one(&mut ledger, Operation::State(foreign)), Err(BooksError::Terms.into()));
    assert_eq!(one(&mut ledger, Operation::State(terms())), Ok(Applied::Recorded { index: 0 }));
    assert_eq!(
        one(&mut ledger, Operation::State(Terms { time: UnixMillis(5), ..terms() })),
        Ok(Applied::Before { index: Some(0) })
    );
}

const JOBS: u64 = 40;
const STEPS: usize = 400;
const SCRIPTS: u32 = 256;

/// `ADIT_LEDGER_SCRIPTS` is how many scripts are run instead.
fn scripts() -> u32 {
    std::env::var("ADIT_LEDGER_SCRIPTS").ok().map_or(SCRIPTS, |count| count.parse().expect("ADIT_LEDGER_SCRIPTS is a number"))
}

/// Of few amounts, so that the same is asked for again also by chance.
fn amount<const N: usize>(amounts: [u64; N]) -> impl Strategy<Value = u64> {
    prop::sample::select(amounts.to_vec())
}

fn step() -> impl Strategy<Value = Step> {
    let (granted, held, paid_out) = (amount([0, 5_000, 8_999, 8_999]), amount([150, 300, 499]), amount([0, 70, 699]));
    prop_oneof![
        2 => (0..12u8, 0..3u64, granted).prop_map(|(order, customer, amount)| Step::Grant { order, customer, amount }),
        11 => (0..JOBS, held, amount([30, 70, 99])).prop_map(|(job, amount, expires)| Step::Hold { job, amount, expires }),
        8 => (0..JOBS, 0..2u64).prop_map(|(job, variant)| Step::Settle { job, variant }),
        7 => (0..JOBS, 1..5u64, 0..2u64).prop_map(|(job, number, variant)| Step::Attempt { job, number, variant }),
        4 => (0..JOBS).prop_map(|job| Step::Void { job }),
        1 => (0..60u64).prop_map(|now| Step::Expire { now }),
        2 => (0..12u8, paid_out).prop_map(|(order, amount)| Step::Payout { order, amount }),
        1 => prop_oneof![Just(0), Just(50_000), Just(1_000_000), Just(1_000_001)].prop_map(|fee_ppm| Step::State { fee_ppm }),
        // The last few, while a job is still as it was, and any.
        4 => (prop_oneof![0..4usize, 0..200usize], any::<bool>()).prop_map(|(back, is_changed)| Step::Repeat { back, is_changed }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: scripts(), max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    /// Some hundred thousand steps, in batches of every size.
    #[test]
    fn ledger_does_what_plain_maps_would(
        steps in prop::collection::vec(step(), STEPS),
        sizes in prop::collection::vec(1..60usize, STEPS),
    ) {
        let mut ledger = Ledger::open_with(InMemoryBackend::new(), gateway()).unwrap();
        let (mut model, mut books, mut folded) = (Model::default(), Books::default(), 0);
        let (mut rest, mut sizes) = (steps.as_slice(), sizes.iter());
        while !rest.is_empty() {
            let (batch, behind) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
            rest = behind;
            let (operations, wanted): (Vec<_>, Vec<_>) = batch.iter().map(|step| model.step(step)).unzip();
            prop_assert_eq!(ledger.apply(&operations).unwrap(), wanted);
            model.check(&ledger, &mut books, &mut folded);
        }
        prop_assert_eq!(ledger.reader().check_books().unwrap(), books);
    }

    /// What happens to one job or order does not depend on when others have their turn, nor on how often each is asked for.
    #[test]
    fn independent_operations_come_to_the_same_in_any_order((chains, turns) in chains().prop_flat_map(|chains| {
        let turns: Vec<usize> = chains.iter().enumerate().flat_map(|(at, chain)| vec![at; chain.len()]).collect();
        (Just(chains), [Just(turns.clone()).prop_shuffle(), Just(turns).prop_shuffle()])
    })) {
        let ends = turns.map(|turns| end_of(&chains, &turns));
        prop_assert_eq!(&ends[0], &ends[1]);
    }
}

/// Jobs of the chains, and those that are settled before them, so that there is something to pay out.
const CHAINED: u64 = 16;

/// Steps of one job or order each, which have their turns in this order: enough was granted and earned before for all of them.
fn chains() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let attempt = |job| (1..4u64, 0..2u64).prop_map(move |(number, variant)| Step::Attempt { job, number, variant });
    let ending = |job| {
        prop_oneof![
            3 => (0..2u64).prop_map(move |variant| vec![Step::Settle { job, variant }, Step::Settle { job, variant }]),
            1 => Just(vec![Step::Void { job }, Step::Void { job }]),
            1 => Just(Vec::new()),
        ]
    };
    let of_job = move |job| {
        let holds = prop::collection::vec(amount([150, 300, 499]), 1..4);
        (holds, prop::collection::vec(attempt(job), 0..3), ending(job)).prop_map(move |(holds, attempts, ending)| {
            let holds = holds.into_iter().map(|amount| Step::Hold { job, amount, expires: 99 });
            holds.chain(attempts).chain(ending).collect::<Vec<_>>()
        })
    };
    let order = (3..9u8, 0..3u64, amount([0, 70, 699]), any::<bool>()).prop_map(|(order, customer, amount, is_grant)| {
        let step = if is_grant { Step::Grant { order, customer, amount } } else { Step::Payout { order, amount: amount / 7 } };
        vec![step.clone(), step]
    });
    let orders = prop::collection::vec(order, 0..6).prop_map(|mut orders| {
        let mut known = std::collections::BTreeSet::new();
        orders.retain(|order| match order[0] {
            Step::Grant { order, .. } | Step::Payout { order, .. } => known.insert(order),
            _ => unreachable!("these are orders"),
        });
        orders
    });
    let jobs: Vec<_> = (0..CHAINED).map(of_job).collect();
    (jobs, orders).prop_map(|(jobs, orders)| jobs.into_iter().chain(orders).collect())
}

/// What all accounts have, and what is held, after these turns of the chains.
fn end_of(chains: &[Vec<Step>], turns: &[usize]) -> (Vec<(Account, Balance)>, Vec<adit_ledger::Hold>) {
    let mut ledger = Ledger::open_with(InMemoryBackend::new(), gateway()).unwrap();
    let (mut model, mut chains) = (Model::default(), chains.iter().map(|chain| chain.iter()).collect::<Vec<_>>());
    let mut steps = vec![Step::State { fee_ppm: 50_000 }];
    steps.extend((0..3).map(|n| Step::Grant { order: n as u8, customer: n, amount: 100_000 }));
    for job in CHAINED..2 * CHAINED {
        steps.extend([Step::Hold { job, amount: 499, expires: 99 }, Step::Settle { job, variant: 0 }]);
    }
    steps.extend(turns.iter().map(|chain| chains[*chain].next().unwrap().clone()));
    let (operations, wanted): (Vec<_>, Vec<_>) = steps.iter().map(|step| model.step(step)).unzip();
    for outcome in &wanted {
        assert!(
            !matches!(outcome, Err(Refused::Insufficient { .. } | Refused::Books(BooksError::Overdrawn { .. }))),
            "{outcome:?}"
        );
    }
    assert_eq!(ledger.apply(&operations).unwrap(), wanted);
    model.check(&ledger, &mut Books::default(), &mut 0);
    (ledger.reader().balances().unwrap(), ledger.reader().holds().unwrap())
}

/// Scripts mean little if most of their steps are refused, or if none of them is asked for twice.
#[test]
fn scripts_do_more_than_fail() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut done, mut settled, mut voided, mut tried, mut resumed) = (0, 0, 0, 0, 0);
    let mut repeats = BTreeMap::<&str, usize>::new();
    for _ in 0..20 {
        let mut model = Model::default();
        for step in prop::collection::vec(step(), STEPS).new_tree(&mut runner).unwrap().current() {
            let (operation, outcome) = model.step(&step);
            if let Some(what) = repetition(&operation, &outcome) {
                *repeats.entry(what).or_default() += 1;
            }
            done += usize::from(outcome.is_ok());
            settled += usize::from(matches!(outcome, Ok(Applied::Settled(Appended::New { .. }))));
            voided += usize::from(matches!((&step, &outcome), (Step::Void { .. }, Ok(_))));
            tried += usize::from(matches!((&step, &outcome), (Step::Attempt { .. }, Ok(Applied::Recorded { .. }))));
            let is_settled = matches!(outcome, Ok(Applied::Settled(Appended::New { .. })));
            resumed += usize::from(matches!(step, Step::Settle { job, .. } if is_settled && model.has_tried(job)));
        }
    }
    assert!(done > 20 * STEPS / 4 && settled > 20 * 8 && voided > 20 * 5, "{done} {settled} {voided}");
    assert!(tried > 20 * 8 && resumed > 20, "{tried} {resumed}");
    println!("{repeats:?}");
    for (what, floor) in REPEATS {
        assert!(repeats.get(what).is_some_and(|count| *count >= floor), "{what}: {repeats:?}");
    }
}

/// How often 20 scripts must ask for something again, and for something else under the same id.
const REPEATS: [(&str, usize); 10] = [
    ("a grant again", 20),
    ("a payout again", 15),
    ("an order otherwise", 100),
    ("a hold again", 40),
    ("a hold otherwise", 100),
    ("a settlement again", 40),
    ("a settlement otherwise", 40),
    ("an attempt again", 20),
    ("an attempt otherwise", 20),
    ("terms again", 20),
];

/// What is asked for again, if it is that.
fn repetition(operation: &Operation, outcome: &Result<Applied, Refused>) -> Option<&'static str> {
    Some(match (operation, outcome) {
        (Operation::Grant(_), Ok(Applied::Before { .. })) => "a grant again",
        (Operation::Payout(_), Ok(Applied::Before { .. })) => "a payout again",
        (Operation::Hold(_), Ok(Applied::Before { .. })) => "a hold again",
        (Operation::Attempt(_), Ok(Applied::Before { .. })) => "an attempt again",
        (Operation::State(_), Ok(Applied::Before { .. })) => "terms again",
        (_, Ok(Applied::Settled(Appended::Existing(_)))) => "a settlement again",
        (_, Err(Refused::OtherOrder { .. })) => "an order otherwise",
        (_, Err(Refused::OtherHold { .. })) => "a hold otherwise",
        (Operation::Attempt(_), Err(Refused::Entry(EntryError::Paid { .. }))) => "an attempt otherwise",
        (_, Err(Refused::Entry(EntryError::Conflict { .. }))) => "a settlement otherwise",
        _ => return None,
    })
}

/// Jobs are not mixed up by the fixtures.
#[test]
fn fixtures_tell_jobs_apart() {
    let jobs: std::collections::BTreeSet<JobId> = (0..JOBS).map(job).collect();
    assert_eq!(jobs.len() as u64, JOBS);
}
