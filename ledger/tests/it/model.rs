//! The ledger against a plain map, over random scripts.

use std::collections::BTreeMap;

use adit_ledger::{Appended, Entry, EntryError};
use adit_protocol::JobId;

use crate::disk::Disk;
use crate::fixture::{FIRST, Rng, append, client, entry, open, rival, stored};

/// Few enough that most jobs come again, as the same receipt or as another one.
const JOBS: u64 = 60;
const BATCHES: u64 = 40;
const BATCH_ENTRIES_MAX: u64 = 6;

/// What was recorded, in order, and where each job's receipt is.
#[derive(Default)]
struct Model {
    entries: Vec<Entry>,
    indexes: BTreeMap<JobId, usize>,
}

impl Model {
    fn append(&mut self, entry: &Entry) -> Result<Appended, EntryError> {
        let job = entry.job();
        let Some(&index) = self.indexes.get(&job) else {
            self.indexes.insert(job, self.entries.len());
            self.entries.push(entry.clone());
            return Ok(Appended::New { index: FIRST + self.entries.len() as u64 - 1 });
        };
        let known = &self.entries[index];
        let n = index as u64;
        if known == entry {
            Ok(Appended::Existing(Box::new(stored(n, known))))
        } else {
            Err(EntryError::Conflict { job, index: FIRST + n })
        }
    }
}

#[test]
fn ledger_answers_as_a_map_would() {
    for seed in 0..8 {
        let mut rng = Rng(seed);
        let mut model = Model::default();
        let disk = Disk::default();
        let mut ledger = open(&disk);
        for step in 0..BATCHES {
            let batch: Vec<Entry> = (0..rng.below(BATCH_ENTRIES_MAX + 1))
                .map(|_| (rng.below(JOBS), rng.below(4)))
                .map(|(n, kind)| if kind == 0 { rival(n) } else { entry(n) })
                .collect();
            let want: Vec<_> = batch.iter().map(|entry| model.append(entry)).collect();
            assert_eq!(append(&mut ledger, &batch).unwrap(), want, "seed {seed}, step {step}");
            if rng.below(8) == 0 {
                drop(ledger);
                ledger = open(&disk);
            }
        }
        assert!(model.entries.len() as u64 > JOBS / 2, "the script records most jobs");

        assert_eq!(ledger.reader().len().unwrap(), FIRST + model.entries.len() as u64);
        for (index, entry) in model.entries.iter().enumerate() {
            assert_eq!(ledger.reader().job(entry.job()).unwrap(), Some(stored(index as u64, entry)));
        }
        for c in 0..3 {
            let rows = ledger.reader().receipts_of(&client(c), 0, usize::MAX).unwrap().rows;
            let of_client = |(_, entry): &(usize, &Entry)| entry.receipt.receipt().client == client(c);
            let want = model.entries.iter().enumerate().filter(of_client);
            assert_eq!(rows, want.map(|(i, e)| (FIRST + i as u64, e.receipt.signed().clone())).collect::<Vec<_>>());
        }
    }
}
