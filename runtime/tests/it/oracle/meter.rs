//! The meter: a module with it does what it did without, and counts the same however it is rewritten.

use adit_runtime::lab::{OptLevel, Options, Strategy, config, instrument};
use wasmtime::Engine;

use super::modules;
use super::subject::{End, Subject};

/// The engine's own fuel for each call: about as many operators, bytes that bulk operations touch included.
const FUEL: u64 = 200_000;
/// Units that no call with that fuel comes near to.
const UNITS_AMPLE: u64 = 1 << 50;
/// Functions of a module that are called.
const CALLS_MAX: usize = 24;

thread_local! {
    /// The original's: it replaces each NaN that arithmetic makes at once, which is what the meter's pass must come to.
    static REFERENCE: Engine = {
        let mut config = config(Strategy::Cranelift, OptLevel::None);
        config.consume_fuel(true).cranelift_nan_canonicalization(true);
        Engine::new(&config).expect("this machine runs guests")
    };
    static ENGINE: Engine = Engine::new(&config(Strategy::Cranelift, OptLevel::Speed)).expect("this machine runs guests");
}

/// What was compared.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Compared {
    /// Calls.
    pub(crate) calls: u32,
    /// Those of them that trapped.
    pub(crate) traps: u32,
    /// Calls after which nothing could be compared: a stack or the engine's own fuel ended, or the engine did not know where it trapped.
    pub(crate) given_up: u32,
}

/// The bytes are those of [`modules::library`].
pub(crate) fn check(bytes: &[u8]) -> Compared {
    let mut compared = Compared::default();
    let Some(wasm) = modules::library(bytes) else { return compared };
    let shipped = Options::default();
    let plain = Options { repeat_loops: false, ..Options::default() };
    let [shipped, plain] = [shipped, plain].map(|options| instrument(&wasm, &options).expect("a valid module is metered"));
    let (reference, engine) = (REFERENCE.with(Engine::clone), ENGINE.with(Engine::clone));

    let original = Subject::plain(&reference, &wasm, FUEL);
    let Some(mut original) = original else { return compared };
    let instantiated = [&shipped, &plain].map(|metered| Subject::metered(&engine, metered, UNITS_AMPLE));
    let (mut shipped, mut plain) = match instantiated {
        [Ok(shipped), Ok(plain)] => (shipped, plain),
        [Err(Some(End::TooDeep)), Err(Some(End::TooDeep))] => return compared,
        [shipped, plain] => panic!("instantiated without its meter, but with it {:?} and {:?}", shipped.err(), plain.err()),
    };
    for (at, name) in original.functions().iter().take(CALLS_MAX).enumerate() {
        original.refuel(FUEL);
        let wanted = original.call(name, at as u64);
        if matches!(wanted, End::StackEnded | End::EngineOutOfFuel) {
            compared.given_up += 1;
            break;
        }
        let ends = [&mut shipped, &mut plain].map(|subject| subject.call(name, at as u64));
        // The meter's limit of depth comes before the end of the native stack, so that the original may go on.
        if ends == [End::TooDeep, End::TooDeep] {
            compared.given_up += 1;
            break;
        }
        assert_eq!(ends, [wanted.clone(), wanted.clone()], "{name}: with its meter against without");
        let state = original.state();
        assert_eq!(shipped.state(), state, "{name}: what is left");
        assert_eq!(plain.state(), state, "{name}: what is left without repeated loops");
        assert_eq!(shipped.units(), plain.units(), "{name}: units with and without repeated loops");
        compared.calls += 1;
        compared.traps += u32::from(matches!(wanted, End::Trapped(_)));
    }
    compared
}
