//! Bits that flip anywhere in the file, and files that are cut short: a start refuses them, the full check finds them, or every answer is
//! as it was.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use adit_ledger::Ledger;

use crate::answers::{Answer, Question, first_wrong};
use crate::crash::script;
use crate::disk::Disk;
use crate::fixture::{Rng, gateway};
use crate::script::empty;

/// Batches of the script that are there: before the holds that are open end.
const BATCHES: usize = 15;
/// redb's header: what the file is, and the two slots, of which each commit writes the other one.
const HEADER_BYTES: usize = 320;
/// Where the slots begin, each with a checksum.
const SLOTS_BEGIN: usize = 64;

/// A ledger with something in every table.
struct Whole {
    /// Its file, closed.
    closed: Vec<u8>,
    /// Its file as a crash leaves it.
    unclosed: Vec<u8>,
    /// All that it can be asked.
    due: Vec<(Question, Answer)>,
}

/// What became of a damaged file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Refused,
    /// By the check of the books.
    Found,
    /// redb has panicked. It trusts a file that was closed, and says so.
    Panicked,
    Unchanged,
    /// Something is answered otherwise, and nothing tells.
    Unfound,
}

type Open = fn(&Disk) -> Option<Ledger>;

const PLAIN: Open = |disk| Ledger::open_with(disk.backend(), gateway()).ok();
const CHECKED: Open = |disk| Ledger::open_checked_with(disk.backend(), gateway()).ok();

impl Whole {
    fn new() -> Self {
        let (script, disk) = (script(), empty());
        let mut ledger = PLAIN(&disk).unwrap();
        for batch in &script.batches()[..BATCHES] {
            ledger.apply(&batch.operations).unwrap();
        }
        let size = ledger.tree().size;
        let mut questions: Vec<Question> = script.due(BATCHES).iter().map(|(question, _)| *question).collect();
        questions.extend((1..3).map(Question::Receipts));
        questions.extend([1, size].map(|width| Question::Tile(0, 0, width as usize)));
        questions.extend((0..size).step_by(7).map(|index| Question::LeafProof(index, size)));
        questions.extend((1..size).step_by(9).map(|old| Question::GrowthProof(old, size)));
        let due = questions.into_iter().map(|question| (question, question.ask(ledger.reader()).unwrap())).collect();
        assert!(!ledger.reader().holds().unwrap().is_empty());
        let unclosed = disk.image();
        drop(ledger);
        Self { closed: disk.image(), unclosed, due }
    }

    /// What becomes of a damaged file, and the question that shows it where nothing else does.
    fn fate(&self, image: Vec<u8>, open: Open) -> (Fate, Option<Question>) {
        let disk = Disk::with_image(image);
        let fate = || {
            let Some(ledger) = open(&disk) else { return (Fate::Refused, None) };
            if ledger.reader().check_books().is_err() {
                return (Fate::Found, None);
            }
            match first_wrong(ledger.reader(), &self.due) {
                None => (Fate::Unchanged, None),
                question => (Fate::Unfound, question),
            }
        };
        catch_unwind(AssertUnwindSafe(fate)).unwrap_or((Fate::Panicked, None))
    }
}

fn flipped(image: &[u8], at: usize, bit: u64) -> Vec<u8> {
    let mut image = image.to_vec();
    image[at] ^= 1 << bit;
    image
}

#[test]
fn flipped_bit_is_found_by_the_full_check_or_changes_nothing() {
    let (whole, mut rng, mut fates) = (Whole::new(), Rng(1), BTreeMap::<Fate, usize>::new());
    let anywhere = (0..2_000).map(|_| rng.below(whole.closed.len() as u64) as usize);
    let (mut bits, places) = (Rng(2), (0..HEADER_BYTES).chain(anywhere.collect::<Vec<_>>()));
    for at in places {
        let bit = bits.below(8);
        let (fate, question) = whole.fate(flipped(&whole.closed, at, bit), CHECKED);
        assert!(matches!(fate, Fate::Refused | Fate::Found | Fate::Unchanged), "byte {at}, bit {bit}: {fate:?} {question:?}");
        *fates.entry(fate).or_default() += 1;
    }
    println!("{fates:?}");
    assert!(fates[&Fate::Refused] > 200, "{fates:?}: most of the file is not in use");
}

thread_local! {
    /// The file in which this thread has panicked last.
    static PANICKED_IN: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Notes where threads panic from here on.
fn note_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            PANICKED_IN.with_borrow_mut(|place| *place = info.location().map_or_else(String::new, |at| at.file().to_owned()));
            before(info);
        }));
    });
}

/// Of a thousand flipped bits, how many may make redb panic; two do. A plain start reads pages without their checksums. What redb asserts at
/// the opening is made an error; later it takes for granted that a value lies within its page (`btree_base.rs`) and that a flag is one
/// (`types.rs`), and gives no answer then.
const PANICS_MAX: usize = 5;

/// A plain start and the check of the books find all but what neither a leaf nor a sum tells of: an attempt that was not paid.
#[test]
fn flipped_bit_is_found_without_redbs_checksums_unless_it_is_of_an_unpaid_attempt() {
    note_panics();
    let (whole, mut rng, mut fates) = (Whole::new(), Rng(3), BTreeMap::<Fate, usize>::new());
    let mut panics = BTreeMap::<String, usize>::new();
    for _ in 0..1_000 {
        let (at, bit) = (rng.below(whole.closed.len() as u64) as usize, rng.below(8));
        let (fate, question) = whole.fate(flipped(&whole.closed, at, bit), PLAIN);
        assert!(matches!(question, None | Some(Question::Unpaid)), "byte {at}, bit {bit}: {question:?}");
        if fate == Fate::Panicked {
            let place = PANICKED_IN.take();
            assert!(place.contains("/redb-"), "byte {at}, bit {bit}: our own code panics, in {place}");
            *panics.entry(place).or_default() += 1;
        }
        *fates.entry(fate).or_default() += 1;
    }
    println!("{fates:?} {panics:?}");
    assert!(panics.values().sum::<usize>() <= PANICS_MAX, "{panics:?}");
    assert!(fates[&Fate::Refused] > 30 && fates[&Fate::Found] > 10, "{fates:?}");
}

/// One bit of a file that was not closed says which slot is the last commit. The other slot is a whole ledger, of one batch less: no file can
/// tell by itself that it has lost its end, and whoever has seen a later checkpoint can.
#[test]
fn flipped_bit_in_the_header_is_found_unless_it_names_the_commit_before() {
    let whole = Whole::new();
    let mut unfound = Vec::new();
    for at in 0..HEADER_BYTES {
        // All bits of what there is once, one of each byte of what the slots' checksums are over.
        let bits = if at < SLOTS_BEGIN { 0..8 } else { at as u64 % 8..at as u64 % 8 + 1 };
        for bit in bits {
            let image = flipped(&whole.unclosed, at, bit);
            match whole.fate(image.clone(), CHECKED) {
                (Fate::Unfound, _) => unfound.push((at, bit, image)),
                (fate, _) => assert_ne!(fate, Fate::Panicked, "byte {at}, bit {bit}"),
            }
        }
    }
    let [(9, 0, image)] = unfound.as_slice() else {
        panic!("{:?}", unfound.iter().map(|(at, bit, _)| (at, bit)).collect::<Vec<_>>())
    };
    let ledger = CHECKED(&Disk::with_image(image.clone())).unwrap();
    assert_eq!(script().check_answers(ledger.reader(), BATCHES - 1), BATCHES - 1);
}

/// Down to the last byte; where a crash left it unclosed, but for pages that hold nothing.
#[test]
fn file_that_is_cut_short_is_refused() {
    let whole = Whole::new();
    for (image, is_closed) in [(&whole.closed, true), (&whole.unclosed, false)] {
        let lengths = (1..image.len()).step_by(509).chain([4_095, 4_096, 4_097, image.len() - 4_096, image.len() - 1]);
        for length in lengths {
            for open in [PLAIN, CHECKED] {
                let (fate, question) = whole.fate(image[..length].to_vec(), open);
                let is_whole = !is_closed && length.is_multiple_of(4_096) && fate == Fate::Unchanged;
                assert!(fate == Fate::Refused || is_whole, "{length} of {} bytes: {fate:?} {question:?}", image.len());
            }
        }
    }
}
