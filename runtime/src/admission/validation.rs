//! Validation, item by item. Functions are validated on up to eight cores; what is told is what is wrong first in the order of the file.

use std::ops::Range;

use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};
use wasmparser::{
    Error, FuncToValidate, FuncValidatorAllocations, FunctionBody, Parser, Payload, ValidPayload, Validator, ValidatorResources,
    WasmFeatures, types::Types,
};

/// How much is validated.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scope {
    /// Everything.
    All,
    /// The sections up to the one with this offset, or the one function with it. As much as it takes to judge that item again.
    Item(usize),
}

/// Validates a module under `features`. Gives its types where all of it was validated.
pub(super) fn validate(wasm: &[u8], features: WasmFeatures, scope: Scope) -> Result<Option<Types>, Error> {
    let mut parser = Parser::new(0);
    parser.set_features(features);
    let mut validator = Validator::new_with_features(features);
    let mut functions = Vec::new();
    let validate_sections = || {
        for payload in parser.parse_all(wasm) {
            let payload = payload?;
            if scope.ends_before(&payload) {
                return Ok(None);
            }
            match validator.payload(&payload)? {
                ValidPayload::Func(function, body) if scope.includes(&body.range()) => functions.push((function, body)),
                ValidPayload::End(types) => return Ok(Some(types)),
                _ => {}
            }
        }
        Ok(None)
    };
    let sections = validate_sections();
    // What is wrong with a section is told if nothing is with the functions before it.
    validate_functions(functions, features)?;
    sections
}

/// How many functions are validated at once. Each may take some 16 MiB for what it has on its stack, and a machine may have many cores, while
/// a compile worker's memory is bounded.
const VALIDATORS_MAX: usize = 8;

fn validate_functions(functions: Vec<Function<'_>>, features: WasmFeatures) -> Result<(), Error> {
    let validate = |allocations: &mut FuncValidatorAllocations, (function, body): Function<'_>| {
        *allocations = validate_function(function, &body, features, std::mem::take(allocations))?;
        Ok(())
    };
    let each = functions.len().div_ceil(VALIDATORS_MAX).max(1);
    let validated = functions.into_par_iter().with_min_len(each).map_init(FuncValidatorAllocations::default, validate);
    validated.find_first(Result::is_err).unwrap_or(Ok(()))
}

/// A function whose type is valid, and its body, which is yet to be seen.
type Function<'a> = (FuncToValidate<ValidatorResources>, FunctionBody<'a>);

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
    allocations: FuncValidatorAllocations,
) -> Result<FuncValidatorAllocations, Error> {
    let mut validator = function.into_validator(allocations);
    let mut reader = body.get_binary_reader();
    reader.set_features(features);
    validator.read_locals(&mut reader)?;
    while !reader.eof() {
        let offset = reader.original_position();
        reader.visit_operator(&mut validator.visitor(offset))??;
    }
    reader.finish_expression(&validator.visitor(reader.original_position()))?;
    Ok(validator.into_allocations())
}
