//! Validation, item by item, in the order of the file.

use std::ops::Range;

use wasmparser::{
    Error, FuncToValidate, FuncValidatorAllocations, FunctionBody, Parser, Payload, ValidPayload, Validator, ValidatorResources,
    WasmFeatures, types::Types,
};

use super::Refusal;
use super::inspect::Faults;
use super::limit::{BR_TABLE_TARGETS, NESTING, Place};

/// The opcode of `br_table`.
const BR_TABLE: u8 = 0x0e;

/// How much is validated.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scope {
    /// Everything, and limits on code are checked.
    All,
    /// The sections up to the one with this offset, or the one function with it. As much as it takes to judge that item again.
    Item(usize),
}

/// Why validation ended early.
#[derive(Debug)]
pub(super) enum Stop {
    /// The module is over a limit.
    Refused(Refusal),
    /// The module is not valid under the features that were given.
    Invalid(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Invalid(error)
    }
}

/// Validates a module under `features`. Gives its types where all of it was validated.
pub(super) fn validate(wasm: &[u8], features: WasmFeatures, scope: Scope, faults: &mut Faults) -> Result<Option<Types>, Stop> {
    let mut parser = Parser::new(0);
    parser.set_features(features);
    let mut validator = Validator::new_with_features(features);
    let mut allocations = FuncValidatorAllocations::default();
    for payload in parser.parse_all(wasm) {
        let payload = payload?;
        if scope.ends_before(&payload) {
            return Ok(None);
        }
        match validator.payload(&payload)? {
            ValidPayload::Func(function, body) if scope.includes(&body.range()) => {
                allocations = validate_function(function, &body, features, scope, allocations, faults)?;
            }
            ValidPayload::End(types) => return Ok(Some(types)),
            _ => {}
        }
    }
    Ok(None)
}

impl Scope {
    fn ends_before(self, payload: &Payload<'_>) -> bool {
        let Self::Item(offset) = self else { return false };
        let start = match payload {
            Payload::CodeSectionEntry(body) => Some(body.range().start),
            other => other.as_section().map(|(_, range)| range.start),
        };
        start.is_some_and(|start| start > offset)
    }

    fn includes(self, body: &Range<usize>) -> bool {
        match self {
            Self::All => true,
            // What is missing at the end of a body is missing at its end.
            Self::Item(offset) => (body.start..=body.end).contains(&offset),
        }
    }
}

fn validate_function(
    function: FuncToValidate<ValidatorResources>,
    body: &FunctionBody<'_>,
    features: WasmFeatures,
    scope: Scope,
    allocations: FuncValidatorAllocations,
    faults: &mut Faults,
) -> Result<FuncValidatorAllocations, Stop> {
    let index = function.index;
    let mut validator = function.into_validator(allocations);
    let mut reader = body.get_binary_reader();
    reader.set_features(features);
    let code = body.as_bytes();
    let start = reader.original_position();
    validator.read_locals(&mut reader)?;
    while !reader.eof() {
        let offset = reader.original_position();
        if code[offset - start] == BR_TABLE && matches!(scope, Scope::All) {
            let mut ahead = reader.clone();
            ahead.read_u8()?;
            let targets = ahead.read_var_u32()?;
            faults.check(BR_TABLE_TARGETS, targets.into(), Place::Function { index, offset }).map_err(Stop::Refused)?;
        }
        reader.visit_operator(&mut validator.visitor(offset))??;
        // The function itself is the outermost block, and is not nested in anything.
        let nesting = u64::from(validator.control_stack_height()).saturating_sub(1);
        if nesting > NESTING.max && matches!(scope, Scope::All) {
            faults.check(NESTING, nesting, Place::Function { index, offset }).map_err(Stop::Refused)?;
        }
    }
    reader.finish_expression(&validator.visitor(reader.original_position()))?;
    Ok(validator.into_allocations())
}
