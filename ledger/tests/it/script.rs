//! A script of batches of every kind of operation, what each comes to, and what a ledger has to answer after any number of them.

use std::collections::HashMap;

use adit_ledger::{
    Account, Appended, Applied, Balance, CommitError, Entry, Ledger, Operation, Reader, Refused, StoredJob, TreeHead,
};
use ct_merkle::mem_backed_tree::MemoryBackedTree;
use redb::Database;
use sha2_11::Sha256;

use crate::answers::{Answer, Question, first_wrong};
use crate::disk::{Disk, Fault, Survivors};
use crate::fixture::{client, gateway, stored};
use crate::steps::{Model, Step, cost, costing, customer, owner, trying};

/// How many orders there are.
const ORDERS: u8 = 12;
/// How many jobs the scripts of [`any`] have.
const JOBS: u64 = 16;
/// Of how many bytes they are made.
const BYTES_MAX: usize = 1_200;

/// A script, which begins on a ledger without leaves.
pub(crate) struct Script {
    batches: Vec<Batch>,
    /// What is answered after each number of batches.
    due: Vec<Vec<(Question, Answer)>>,
}

/// One transaction.
pub(crate) struct Batch {
    pub(crate) operations: Vec<Operation>,
    /// What becomes of each.
    pub(crate) outcomes: Vec<Result<Applied, Refused>>,
    /// Whether the ledger is closed and opened before it.
    reopens: bool,
}

impl Script {
    /// The script of these batches; `true` where the ledger is closed and opened before one. Jobs have numbers below `jobs`.
    pub(crate) fn new(jobs: u64, batches: &[(bool, Vec<Step>)]) -> Self {
        let (mut model, mut models) = (Model::default(), vec![Model::default()]);
        let mut script = Self { batches: Vec::new(), due: Vec::new() };
        for (reopens, steps) in batches {
            let (operations, outcomes) = steps.iter().map(|step| model.step(step)).unzip();
            script.batches.push(Batch { operations, outcomes, reopens: *reopens });
            models.push(model.clone());
        }
        let disk = empty();
        assert_eq!(script.run(&disk, 0), script.len());
        let leaves = leaves(open(&disk).reader());
        let (roots, mut entries) = (roots(&leaves), HashMap::new());
        script.due = models.iter().map(|model| due(model, jobs, &leaves, &roots, &mut entries)).collect();
        script
    }

    /// How many batches it has.
    pub(crate) fn len(&self) -> usize {
        self.batches.len()
    }

    /// What is answered after so many batches.
    pub(crate) fn due(&self, batches: usize) -> &[(Question, Answer)] {
        &self.due[batches]
    }

    pub(crate) fn batches(&self) -> &[Batch] {
        &self.batches
    }

    /// Runs from a batch on until the disk fails. Returns how many batches are acknowledged then, those before included.
    pub(crate) fn run(&self, disk: &Disk, from: usize) -> usize {
        let open = || Ledger::open_with(disk.backend(), gateway());
        let Ok(mut ledger) = open() else { return from };
        for (acknowledged, batch) in self.batches.iter().enumerate().skip(from) {
            if batch.reopens {
                drop(ledger);
                let Ok(opened) = open() else { return acknowledged };
                ledger = opened;
            }
            match ledger.apply(&batch.operations) {
                Ok(outcomes) => assert_eq!(outcomes, batch.outcomes, "batch {acknowledged}"),
                Err(error) => {
                    self.check_stopped(ledger, disk, error, acknowledged);
                    return acknowledged;
                }
            }
        }
        self.len()
    }

    /// Checks that a ledger whose disk failed leaves that alone from there on, and that its reader, which may have no answer, has no
    /// wrong one.
    fn check_stopped(&self, mut ledger: Ledger, disk: &Disk, error: CommitError, acknowledged: usize) {
        assert!(matches!(error, CommitError::Failed { .. }), "{error}");
        let operations = disk.operations();
        let again = ledger.apply(&self.batches[acknowledged].operations).unwrap_err();
        assert!(matches!(again, CommitError::Stopped { .. }), "{again}");
        // Before the first run there is nothing yet to compare to.
        for (question, due) in self.due.get(acknowledged).into_iter().flatten() {
            if let Ok(answer) = question.ask(ledger.reader()) {
                assert_eq!(answer, *due, "{question:?} after a failure");
            }
        }
        drop(ledger);
        assert_eq!(disk.operations(), operations, "a stopped ledger leaves the disk alone");
    }

    /// Checks that a disk holds the acknowledged batches, or one more, and nothing else, and that all of it agrees. Returns how many
    /// batches it holds.
    pub(crate) fn check(&self, disk: &Disk, acknowledged: usize) -> usize {
        let ledger = open(disk);
        let batches = self.check_answers(ledger.reader(), acknowledged);
        assert_eq!(Answer::Tree(ledger.tree()), self.due[batches][0].1, "the ledger's own tree");
        ledger.reader().check_books().unwrap();
        drop(ledger);

        let mut database = Database::builder().create_with_backend(disk.backend()).unwrap();
        assert!(database.check_integrity().unwrap());
        batches
    }

    /// Checks that all answers are those after so many batches, or after one more. Returns after how many.
    pub(crate) fn check_answers(&self, reader: &Reader, acknowledged: usize) -> usize {
        let wrong = |batches: usize| first_wrong(reader, self.due.get(batches)?);
        let are_due = |batches: &usize| *batches <= self.len() && wrong(*batches).is_none();
        (acknowledged..=acknowledged + 1).find(are_due).unwrap_or_else(|| {
            let wrong = (wrong(acknowledged), wrong(acknowledged + 1));
            panic!("neither {acknowledged} batches nor one more: {wrong:?} are answered otherwise")
        })
    }

    /// Checks that the script can be run to its end from there, and that what was done before is not done again.
    pub(crate) fn check_end(&self, disk: &Disk, batches: usize) {
        let mut ledger = open(disk);
        let size = ledger.tree().size;
        let done = self.batches[..batches].iter().flat_map(|batch| batch.operations.iter().zip(&batch.outcomes));
        let (again, indexes): (Vec<_>, Vec<_>) =
            done.filter_map(|(operation, outcome)| Some((operation.clone(), once(operation, outcome)?))).unzip();
        let outcomes = ledger.apply(&again).unwrap();
        assert!(outcomes.iter().map(before).eq(indexes.into_iter().map(Some)), "{outcomes:?}");
        assert_eq!(ledger.tree().size, size, "what is there already is no new leaf");
        drop(ledger);
        assert_eq!(self.run(disk, batches), self.len());
        assert_eq!(first_wrong(open(disk).reader(), &self.due[self.len()]), None);
    }
}

/// What must hold for a script and a fault made of any bytes: whatever is left by the fault holds the acknowledged batches or one more, and
/// the script can be finished. Says whether the fault stopped it.
pub(crate) fn any(bytes: &[u8]) -> bool {
    let mut bytes = bytes.iter().take(BYTES_MAX).map(|byte| u64::from(*byte));
    let mut fault = [0; 4];
    fault.iter_mut().for_each(|part| *part = bytes.next().unwrap_or(0));
    let [kind, at, survivors, seed] = fault;
    let begin = [Step::State { fee_ppm: 50_000 }, Step::Grant { order: 0, customer: 0, amount: 9_000 }];
    let mut batches = vec![(false, begin.to_vec())];
    while let Some(size) = bytes.next() {
        let steps = (0..1 + size % 16).map(|_| Step::draw(JOBS, |below| bytes.next().unwrap_or(0) * below / 256));
        batches.push((size >= 192, steps.collect()));
    }
    let script = Script::new(JOBS, &batches);
    let whole = empty();
    let begun = whole.operations();
    script.run(&whole, 0);

    let disk = empty();
    let fault = [Fault::Dead, Fault::Once, Fault::Full, Fault::NoBlocks, Fault::ReadOnly][kind as usize % 5];
    disk.fail_at(1 + at * (whole.operations() - begun) / 256, fault);
    let acknowledged = script.run(&disk, 0);
    disk.mend();
    let survivors = [Survivors::Nothing, Survivors::Everything, Survivors::Torn(seed)][survivors as usize % 3];
    let left = disk.after_power_cut(survivors);
    let batches = script.check(&left, acknowledged);
    script.check_end(&left, batches);
    acknowledged < script.len()
}

/// What a receipt is of: the attempt that ended its job, or another one by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Settled,
    Attempt(u64),
}

/// The leaf of an operation that was done and is done once, however often it is asked for.
fn once(operation: &Operation, outcome: &Result<Applied, Refused>) -> Option<u64> {
    match (operation, outcome) {
        (Operation::Grant(_) | Operation::Payout(_) | Operation::Attempt(_), Ok(Applied::Recorded { index })) => Some(*index),
        (Operation::Settle(_), Ok(Applied::Settled(appended))) => Some(appended.index()),
        _ => None,
    }
}

/// The leaf that was there before.
fn before(outcome: &Result<Applied, Refused>) -> Option<u64> {
    match outcome {
        Ok(Applied::Before { index }) => *index,
        Ok(Applied::Settled(Appended::Existing(stored))) => Some(stored.index),
        _ => None,
    }
}

/// A disk with a ledger without leaves, closed.
pub(crate) fn empty() -> Disk {
    let disk = Disk::default();
    drop(open(&disk));
    disk
}

fn open(disk: &Disk) -> Ledger {
    Ledger::open_with(disk.backend(), gateway()).unwrap()
}

fn leaves(reader: &Reader) -> Vec<Vec<u8>> {
    (0..reader.len().unwrap()).map(|index| reader.leaf(index).unwrap().unwrap()).collect()
}

/// The heads of the trees over every number of leaves, by another implementation than the ledger's.
fn roots(leaves: &[Vec<u8>]) -> Vec<TreeHead> {
    let mut tree = MemoryBackedTree::<Sha256, Vec<u8>>::new();
    let mut head = |leaf: Option<&Vec<u8>>| {
        leaf.into_iter().for_each(|leaf| tree.push(leaf.clone()));
        TreeHead { size: tree.len(), root: tree.root().as_bytes().as_slice().try_into().unwrap() }
    };
    std::iter::once(None).chain(leaves.iter().map(Some)).map(&mut head).collect()
}

/// What a ledger has to answer that has done what the model has: first what tells numbers of batches apart.
fn due(
    model: &Model,
    jobs: u64,
    leaves: &[Vec<u8>],
    roots: &[TreeHead],
    entries: &mut HashMap<(u64, Kind, u64), Entry>,
) -> Vec<(Question, Answer)> {
    let mut entry = |n, kind, variant| {
        let make = || match kind {
            Kind::Settled => costing(n, cost(n, variant), variant),
            Kind::Attempt(number) => trying(n, number, variant),
        };
        entries.entry((n, kind, variant)).or_insert_with(make).clone()
    };
    let mut accounts = vec![Account::Issuer, Account::Fee];
    accounts.extend((0..3).map(customer));
    accounts.push(owner());
    accounts.sort();
    let balance = |account: &Account| (*account, Balance { posted: model.posted(*account), held: model.held(*account) });
    let balances = accounts.iter().map(balance).filter(|(_, balance)| *balance != Balance::default()).collect();
    let mut holds: Vec<_> = model.holds.values().copied().collect();
    holds.sort_by_key(|hold| hold.job);
    let mut due = vec![
        (Question::Tree, Answer::Tree(roots[model.next as usize])),
        (Question::Balances, Answer::Balances(balances)),
        (Question::Holds, Answer::Holds(holds)),
        (Question::Unpaid, Answer::Unpaid((0..).zip(model.unpaid.iter().cloned()).collect())),
    ];
    due.extend((0..ORDERS).map(|n| (Question::Order(n), Answer::Index(model.orders.get(&n).map(|(_, index)| *index)))));
    let statement = |account: Account| model.statements.get(&account).cloned().unwrap_or_default();
    due.extend(accounts.iter().map(|account| (Question::Statement(*account), Answer::Indexes(statement(*account)))));
    for n in 0..jobs {
        let job = model
            .settled
            .get(&n)
            .map(|(index, variant)| StoredJob { index: *index, ..stored(0, &entry(n, Kind::Settled, *variant)) });
        due.push((Question::Job(n), Answer::Job(job.map(Box::new))));
        let attempts = model.attempts.range((n, 0)..=(n, u64::MAX)).map(|((_, number), (index, _))| (*number as u32, *index));
        due.push((Question::Attempts(n), Answer::Attempts(attempts.collect())));
    }
    // Those of the other clients are found in the same way.
    let settled = model.settled.iter().map(|(n, (index, variant))| (*n, *index, Kind::Settled, *variant));
    let attempts = model.attempts.iter().map(|((n, number), (index, variant))| (*n, *index, Kind::Attempt(*number), *variant));
    let mut receipts: Vec<_> = settled.chain(attempts).filter(|(n, ..)| client(*n) == client(0)).collect();
    receipts.sort_by_key(|(_, index, ..)| *index);
    let receipts =
        receipts.into_iter().map(|(n, index, kind, variant)| (index, entry(n, kind, variant).receipt.signed().clone()));
    due.push((Question::Receipts(0), Answer::Receipts(receipts.collect())));
    for (index, leaf) in leaves.iter().enumerate() {
        let leaf = (index < model.next as usize).then(|| leaf.clone());
        due.push((Question::Leaf(index as u64), Answer::Bytes(leaf)));
    }
    due
}
