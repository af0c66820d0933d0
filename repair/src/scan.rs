//! Follows what is on the stack of a function, as far as it takes to see which local an operator takes.

use std::collections::HashMap;
use std::ops::Range;

use wasmparser::{BinaryReader, Operator, OperatorsReader};

use crate::arity::Module;
use crate::{RepairError, is_wide};

/// A read that stands before what it should read.
#[derive(Debug)]
pub(crate) struct Misplaced {
    /// Where `local.get` is.
    pub(crate) read: Range<usize>,
    /// Where the operator is that takes the value.
    pub(crate) taken_at: usize,
    /// That operator, to show.
    pub(crate) operator: String,
    /// How many values it takes.
    pub(crate) sides: u32,
}

/// What is on the stack.
#[derive(Debug, Clone)]
enum Item {
    /// A local as it was after so many sets.
    Local { local: u32, sets: u32, read: Range<usize> },
    /// A result of a wide operator.
    Wide,
    /// Anything else.
    Other,
}

/// What happened to a local.
#[derive(Debug, Clone, Copy, Default)]
struct Local {
    sets: u32,
    /// Whether the last set took the result of a wide operator.
    from_wide: bool,
}

/// The first misplaced read of a function whose operators are in `body`.
pub(crate) fn find(module: &Module, bytes: &[u8], body: &Range<usize>) -> Result<Option<Misplaced>, RepairError> {
    let mut reader = OperatorsReader::new(BinaryReader::new(&bytes[body.clone()], body.start));
    let mut stack: Vec<Item> = Vec::new();
    let mut locals: HashMap<u32, Local> = HashMap::new();
    while !reader.eof() {
        let at = reader.original_position();
        let operator = reader.read()?;
        let Some((takes, gives)) = module.arity(&operator) else {
            // Paths part or meet here, or the operator is none that such code has: what was on the stack is no longer followed.
            stack.clear();
            continue;
        };
        let taken: Vec<Item> = (0..takes).map(|_| stack.pop().unwrap_or(Item::Other)).collect();
        for item in &taken {
            let Item::Local { local, sets, read } = item else { continue };
            let now = locals.get(local).copied().unwrap_or_default();
            if now.sets != *sets && now.from_wide {
                return Ok(Some(Misplaced { read: read.clone(), taken_at: at, operator: format!("{operator:?}"), sides: takes }));
            }
        }
        match operator {
            Operator::LocalSet { local_index } | Operator::LocalTee { local_index } => {
                let local = locals.entry(local_index).or_default();
                local.sets += 1;
                local.from_wide = matches!(taken.first(), Some(Item::Wide));
            }
            _ => {}
        }
        match operator {
            Operator::LocalGet { local_index: local } => {
                let sets = locals.get(&local).map_or(0, |local| local.sets);
                stack.push(Item::Local { local, sets, read: at..reader.original_position() });
            }
            _ => stack.extend((0..gives).map(|_| if is_wide(&operator) { Item::Wide } else { Item::Other })),
        }
    }
    Ok(None)
}
