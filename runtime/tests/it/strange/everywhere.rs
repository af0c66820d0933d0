//! One module under every compiler, against itself without a meter, and against the reference's count.

use adit_runtime::lab::{Metered, Options, Tier, Weights, class, features, instrument, loop_waits, tier_of};
use wasmparser::{Operator, Parser, Payload, Validator};
use wasmtime::{Config, Engine, InstanceAllocationStrategy};

use crate::golden::{engines, is_long, prices, reference};
use crate::oracle::subject::{End, PAGES_MAX, Subject};

/// The engine's own fuel for each call of the original.
const FUEL: u64 = 20_000_000;
/// Units that no call with that fuel comes near to.
const UNITS_AMPLE: u64 = 1 << 40;
/// Functions of a module that are called.
const CALLS_MAX: usize = 256;

/// What was compared.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Compared {
    /// Calls.
    pub(crate) calls: u32,
    /// Those of them that trapped.
    pub(crate) traps: u32,
    /// Those that the meter stopped for their depth.
    pub(crate) deep: u32,
}

/// The ways to meter a module, and whether short loops are repeated.
const WAYS: [(&str, bool); 2] = [("", true), (" without repeated loops", false)];

/// The engines.
pub(crate) struct Everywhere {
    /// Makes each NaN canonical at once, which is what the meter's pass must come to.
    reference: Engine,
    others: Vec<(&'static str, Engine)>,
}

impl Everywhere {
    /// Under all that there are.
    pub(crate) fn all() -> Self {
        Self::among(|_| true)
    }

    /// Under the four that are unlike each other.
    pub(crate) fn few() -> Self {
        Self::among(|name| ["shipped", "cranelift none", "winch", "pulley"].contains(&name))
    }

    /// Under all where a test may take long, else under those.
    pub(crate) fn as_long_as_may_be() -> Self {
        if is_long() { Self::all() } else { Self::few() }
    }

    fn among(is_wanted: impl Fn(&str) -> bool) -> Self {
        let mut config = engines::plain();
        config.consume_fuel(true).cranelift_nan_canonicalization(true);
        let engine = |config: &Config| Engine::new(config).expect("this machine runs guests");
        let shipped = [("shipped", engine(&engines::shipped()))];
        // The engine tells of a trap in an inlined callee elsewhere.
        let others = engines::others().into_iter().filter(|named| !named.name.contains("inlining"));
        let others = others.map(|mut named| {
            // The profile of a small address space has one place, and two instances are compared.
            if named.name.contains("small") {
                named.config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
            }
            (named.name, engine(&named.config))
        });
        let others = shipped.into_iter().chain(others).filter(|(name, _)| is_wanted(name)).collect();
        Self { reference: engine(&config), others }
    }

    /// Calls all that a module without imports exports, in turn, everywhere.
    pub(crate) fn check(&self, name: &str, wasm: &[u8]) -> Compared {
        let mut compared = Compared::default();
        let metered = ways(name, wasm);
        let weights = Weights::standard();
        let weight = |op: &Operator<'_>| u64::from(weights.units(class(op)));
        let waits = loop_waits(wasm, &Options::default()).unwrap();
        let pages_max = metered[0][0].facts.memory_pages_max.min(PAGES_MAX);
        let counted = reference::instrument(wasm, &prices(&weight, &waits, pages_max));

        let mut original = Subject::plain(&self.reference, &counted, FUEL);
        // Before it is called with a meter, whose budget a start function without an end would use up.
        if let Some(original) = original.as_mut().filter(|_| metered[0][0].facts.start_export.is_some()) {
            let end = original.call(reference::START, 0);
            if !matches!(end, End::Returned(_)) {
                return compared;
            }
        }
        let subjects = self.subjects(name, &metered);
        let Some(mut original) = original else {
            let made: Vec<_> =
                subjects.iter().filter(|(_, subject)| !matches!(subject, Err(None))).map(|(name, _)| name).collect();
            assert!(made.is_empty(), "{name}: cannot be instantiated but under {made:?}");
            return compared;
        };
        let mut subjects: Vec<(String, Subject)> = subjects
            .into_iter()
            .map(|(name, subject)| {
                let subject = subject.unwrap_or_else(|end| panic!("{name}: not instantiated: {end:?}"));
                (name, subject)
            })
            .collect();
        for (at, function) in original.functions().iter().filter(|name| *name != reference::START).take(CALLS_MAX).enumerate() {
            original.refuel(FUEL);
            let wanted = original.call(function, at as u64);
            if wanted == End::EngineOutOfFuel {
                return compared;
            }
            let ends: Vec<End> = subjects.iter_mut().map(|(_, subject)| subject.call(function, at as u64)).collect();
            let name_of = |is: fn(&End) -> bool| {
                let found = ends.iter().position(is);
                found.map(|index| subjects[index].0.clone())
            };
            let ended = name_of(|end| *end == End::StackEnded);
            assert_eq!(ended, None, "{name} {function}: the native stack ended before the meter's limit");
            if ends[0] == End::TooDeep || wanted == End::StackEnded {
                // The original goes on until its native stack ends, which is the compiler's.
                let units = subjects[0].1.units();
                for ((name, subject), end) in subjects.iter_mut().zip(&ends) {
                    assert_eq!(*end, ends[0], "{name} {function}");
                    assert_eq!(subject.units(), units, "{name} {function}: units");
                }
                compared.deep += 1;
                return compared;
            }
            let (units, state) = (original.count(), original.state());
            for ((name, subject), end) in subjects.iter_mut().zip(&ends) {
                assert_eq!(*end, wanted, "{name} {function}: against the original");
                assert_eq!(subject.state(), state, "{name} {function}: what is left");
                assert_eq!(subject.units(), units, "{name} {function}: units, against the reference's");
            }
            compared.calls += 1;
            compared.traps += u32::from(matches!(wanted, End::Trapped(_)));
        }
        compared
    }

    /// Calls a function that calls itself without end, in each engine: the meter stops it in each, with the same count.
    pub(crate) fn check_depth(&self, name: &str, text: &str, function: &str) {
        let metered = ways(name, &parsed(name, text));
        let mut units = None;
        for (name, subject) in self.subjects(name, &metered) {
            let mut subject = subject.unwrap_or_else(|end| panic!("{name}: not instantiated: {end:?}"));
            assert_eq!(subject.call(function, 0), End::TooDeep, "{name}");
            assert_eq!(subject.units(), *units.get_or_insert(subject.units()), "{name}: units");
        }
    }

    /// A module in each engine in each of the [`WAYS`].
    fn subjects(&self, name: &str, metered: &[[Metered; 2]; 2]) -> Vec<(String, Result<Subject, Option<End>>)> {
        let every = self.others.iter().flat_map(|(engine_name, engine)| {
            let metered = &metered[usize::from(tier_of(engine) == Tier::Baseline)];
            WAYS.iter().zip(metered).map(move |((way, _), metered)| {
                (format!("{name}: {engine_name}{way}"), Subject::metered(engine, metered, UNITS_AMPLE))
            })
        });
        every.collect()
    }

    /// The same of a module in text form.
    pub(crate) fn check_text(&self, name: &str, text: &str) -> Compared {
        self.check(name, &parsed(name, text))
    }
}

fn parsed(name: &str, text: &str) -> Vec<u8> {
    let wasm = wat::parse_str(text).unwrap_or_else(|error| panic!("{name}: {error}\n{text}"));
    let mut validator = Validator::new_with_features(features());
    validator.validate_all(&wasm).unwrap_or_else(|error| panic!("{name}: {error}\n{text}"));
    wasm
}

/// A module metered for optimised and for baseline code, in each of the [`WAYS`].
fn ways(name: &str, wasm: &[u8]) -> [[Metered; 2]; 2] {
    [Tier::Optimised, Tier::Baseline].map(|tier| {
        WAYS.map(|(_, repeat_loops)| {
            let options = Options { repeat_loops, tier, ..Options::default() };
            instrument(wasm, &options).unwrap_or_else(|error| panic!("{name}: {error}"))
        })
    })
}

/// Whether a module imports anything.
pub(crate) fn imports(wasm: &[u8]) -> bool {
    Parser::new(0).parse_all(wasm).any(|payload| matches!(payload, Ok(Payload::ImportSection(imports)) if imports.count() > 0))
}
