//! The engine's profile: one configuration, the same in every process, so that code compiled in one runs in another.

use std::hash::{Hash, Hasher};
use std::num::NonZeroUsize;

use adit_protocol::Digest;
use rustix::process::{Resource, getrlimit};
use serde::{Deserialize, Serialize};
use wasmtime::{
    Config, Enabled, Engine, Inlining, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, Strategy,
    WasmBacktraceDetails, WasmFeatures,
};

use crate::code::FILE_VERSION;
use crate::meter::{DEPTH_MAX, NATIVE_BYTES, UNCOUNTED_BYTES_MAX};
use crate::unchecked::align_functions;

/// Address space reserved for a linear memory: all that a 32-bit index can reach, so that no access needs a bounds check.
const MEMORY_RESERVATION_BYTES: u64 = 4 << 30;
/// Unmapped space behind it, for the static offset of an access. The engine leaves out checks for offsets below this.
const MEMORY_GUARD_BYTES: u64 = 2 << 30;
/// The same where the address space is small: only accesses with larger offsets are checked, which are rare.
const SMALL_GUARD_BYTES: u64 = 32 << 20;
/// The guest's stack: address space, of which a guest touches what it needs. It is so much larger than what the meter lets a guest use in
/// nominal bytes that the meter's limit, which is the same everywhere, comes first.
const WASM_STACK_BYTES: usize = NATIVE_BYTES as usize * (DEPTH_MAX + 2 * UNCOUNTED_BYTES_MAX) as usize;
/// The stack that guest and host functions share; what the guest may not use is left for the deepest host call.
const FIBER_STACK_BYTES: usize = WASM_STACK_BYTES + 2 * 1024 * 1024;
/// Frames of a guest that are told of after a trap. The innermost counts; the walk through a deep recursion would take long.
pub(crate) const BACKTRACE_FRAMES_MAX: NonZeroUsize = NonZeroUsize::new(16).expect("some frames are told");
/// Function-pointer tables: C++ programs of 50 MB stay below. Larger tables are refused when they are made or grown.
pub(crate) const TABLE_ELEMENTS_MAX: usize = 100_000;
/// Tables of one module. Compilers emit one.
pub(crate) const TABLES_PER_MODULE_MAX: u32 = 4;
/// The same with the one that the meter puts into a module that is profiled.
pub(crate) const METERED_TABLES_MAX: u32 = TABLES_PER_MODULE_MAX + 1;
/// Memories of one module: the guest's, and the meter's.
pub(crate) const MEMORIES_PER_MODULE_MAX: u32 = 2;
/// Slots of the pooling allocator. One job runs at a time; the others keep the memory images of recently run modules mapped.
const POOL_SLOTS: u32 = 4;
/// Address space of a worker beside its slots: its program, its stacks, and compiled code.
const OTHER_BYTES: u64 = 2 << 30;
/// Guest memory that is zeroed rather than given back to the kernel when an instance ends: a small job touches no more.
pub(crate) const KEEP_RESIDENT_BYTES: usize = 2 * 1024 * 1024;
/// An image of a memory's data is made where it has fewer bytes than this, or half of them are data; else segments are copied one by one at
/// each instantiation, which is paid for. The engine's default.
pub(crate) const SPARSE_IMAGE_BYTES: u64 = 16 << 20;

/// What modules may use: what today's toolchains emit. The rest no toolchain needs, or it would let two machines differ.
pub(crate) const FEATURES: WasmFeatures = WasmFeatures::MUTABLE_GLOBAL
    .union(WasmFeatures::SATURATING_FLOAT_TO_INT)
    .union(WasmFeatures::SIGN_EXTENSION)
    .union(WasmFeatures::MULTI_VALUE)
    .union(WasmFeatures::BULK_MEMORY)
    .union(WasmFeatures::REFERENCE_TYPES)
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::FLOATS)
    .union(WasmFeatures::SIMD)
    .union(WasmFeatures::WIDE_ARITHMETIC);

/// What the engine must know beyond that: the meter's memory is a second one, of some bytes. Guests are validated before the meter is
/// put in.
const ENGINE_FEATURES: WasmFeatures = FEATURES.union(WasmFeatures::MULTI_MEMORY).union(WasmFeatures::CUSTOM_PAGE_SIZES);

/// Which compiler makes a module's code. A bill comes out the same under both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Tier {
    /// Winch: one pass, so that code is there soon, and some times slower.
    Baseline,
    /// Cranelift at its best.
    Optimised,
}

/// What the engine takes of the address space. Every process of a node comes to the same, because its limit is inherited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    slots: u32,
    guard_bytes: u64,
}

impl Room {
    /// From what every machine has that sets no limit to what is the least.
    const ALL: [Self; 3] = [
        Self { slots: POOL_SLOTS, guard_bytes: MEMORY_GUARD_BYTES },
        Self { slots: 1, guard_bytes: MEMORY_GUARD_BYTES },
        Self { slots: 1, guard_bytes: SMALL_GUARD_BYTES },
    ];

    /// What fits into this process's limit of address space.
    ///
    /// # Errors
    /// Where nothing does, with what would.
    pub(crate) fn here() -> wasmtime::Result<Self> {
        let Some(limit) = getrlimit(Resource::As).current else { return Ok(Self::ALL[0]) };
        let least = Self::ALL[2].bytes();
        Self::within(limit).ok_or_else(|| {
            wasmtime::format_err!(
                "a worker needs {} GiB of address space and may have {} (`ulimit -v`)",
                least.div_ceil(1 << 30),
                limit >> 30
            )
        })
    }

    fn within(limit: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|room| room.bytes() <= limit)
    }

    fn bytes(self) -> u64 {
        let memory_bytes = MEMORY_RESERVATION_BYTES + self.guard_bytes;
        // There is a guard before the first place too, and before each memory beside the places.
        let places = self.guard_bytes + u64::from(self.slots * MEMORIES_PER_MODULE_MAX) * memory_bytes;
        let baseline = u64::from(MEMORIES_PER_MODULE_MAX) * (self.guard_bytes + memory_bytes);
        OTHER_BYTES + places + if self.has_baseline() { baseline } else { 0 }
    }

    /// Whether there is room for baseline code, whose instances take their memories beside the slots.
    pub(crate) fn has_baseline(self) -> bool {
        cfg!(target_arch = "x86_64") && self == Self::ALL[0]
    }

    /// What an owner should know of it; nothing where the address space is not limited.
    pub(crate) fn remark(self) -> Option<String> {
        (self != Self::ALL[0]).then(|| {
            format!(
                "the address space is limited: {} for memories at once and {} MiB of guard behind each, so jobs start and run slower",
                if self.slots == 1 { "one place".to_owned() } else { format!("{} places", self.slots) },
                self.guard_bytes >> 20
            )
        })
    }
}

/// What a sandbox worker may have writable at once, in bytes, whose guests may have `memory_max` each: more than an honest one ever has, so
/// that no guest meets this limit of the machine's. A place keeps writable what its last guest grew to, though not mapped; a guest in
/// baseline code has its memory beside the places.
pub(crate) fn writable_bytes_max(memory_max: u64) -> u64 {
    u64::from(POOL_SLOTS + 1).saturating_mul(memory_max).saturating_add(OTHER_BYTES)
}

/// Makes the engine.
///
/// # Errors
/// Where the machine lacks what the configuration needs, such as address space.
pub(crate) fn engine() -> wasmtime::Result<Engine> {
    Engine::new(&config_in(Room::here()?, Strategy::Cranelift, OptLevel::Speed))
}

/// The engine of a compile worker: the same code, without the stacks and memories in which guests would run, which would count towards
/// the worker's limit of memory.
///
/// # Errors
/// As [`engine`].
pub(crate) fn compiling_engine() -> wasmtime::Result<Engine> {
    let mut config = config_in(Room::here()?, Strategy::Cranelift, OptLevel::Speed);
    Engine::new(config.allocation_strategy(InstanceAllocationStrategy::OnDemand))
}

/// The engine for baseline code, of compile workers and of sandbox workers, which make it behind their walls. A guest gets its memories
/// from the kernel there, for few guests run in such code. To be called where [`Room::has_baseline`].
///
/// # Errors
/// As [`engine`].
pub(crate) fn baseline_engine() -> wasmtime::Result<Engine> {
    let mut config = config(Strategy::Winch, OptLevel::Speed);
    Engine::new(config.allocation_strategy(InstanceAllocationStrategy::OnDemand))
}

/// What compiled code depends on: the engine's version and configuration, the processor's features, and the meter that was put into it,
/// which a receipt names. Code under another hash is never loaded.
pub(crate) fn compatibility(engine: &Engine) -> Digest {
    compatibility_of(engine, &crate::meter::description())
}

fn compatibility_of(engine: &Engine, meter: &str) -> Digest {
    let mut hasher = DigestHasher(blake3::Hasher::new_derive_key("adit compiled-code compatibility v1"));
    engine.precompile_compatibility_hash().hash(&mut hasher);
    (FILE_VERSION, meter).hash(&mut hasher);
    Digest(*hasher.0.finalize().as_bytes())
}

/// The profile `core-1` under a compiler. Bills come out the same under each; nodes use Cranelift at its best.
pub(crate) fn config(strategy: Strategy, opt_level: OptLevel) -> Config {
    config_in(Room::ALL[0], strategy, opt_level)
}

/// The profile on a machine whose address space is small.
pub(crate) fn small_config() -> Config {
    config_in(Room::ALL[2], Strategy::Cranelift, OptLevel::Speed)
}

fn config_in(room: Room, strategy: Strategy, opt_level: OptLevel) -> Config {
    let mut config = Config::new();
    config
        .strategy(strategy)
        .cranelift_opt_level(opt_level)
        .cranelift_nan_canonicalization(false)
        // The engine tells of a trap in an inlined callee at another offset, and by the offset the meter knows what was not counted.
        .compiler_inlining(Inlining::No)
        .consume_fuel(false)
        .epoch_interruption(false)
        // The meter's own: what guests say of their branches is dropped with the offsets that it is said of.
        .wasm_branch_hinting(true)
        .wasm_backtrace_max_frames(Some(BACKTRACE_FRAMES_MAX))
        // Else the environment says whether what a guest says of its source is read.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .generate_address_map(true)
        .memory_reservation(MEMORY_RESERVATION_BYTES)
        .memory_guard_size(room.guard_bytes)
        .memory_init_cow(true)
        .memory_guaranteed_dense_image_size(SPARSE_IMAGE_BYTES)
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(FIBER_STACK_BYTES)
        .signals_based_traps(true)
        .wasm_features(ENGINE_FEATURES.complement(), false)
        .wasm_features(ENGINE_FEATURES, true)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool(room.slots)));
    align_functions(&mut config);
    config
}

/// The same profile under another compiler, with `slots` instances at once in place of [`POOL_SLOTS`]: test scripts keep every
/// module that they made alive.
pub(crate) fn variant(strategy: Strategy, level: OptLevel, slots: u32) -> Config {
    let mut config = config(strategy, level);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(slots)));
    config
}

fn pool(slots: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_core_instances(slots)
        .total_memories(slots * MEMORIES_PER_MODULE_MAX)
        .total_tables(slots * METERED_TABLES_MAX)
        .total_stacks(slots.min(POOL_SLOTS))
        .max_memories_per_module(MEMORIES_PER_MODULE_MAX)
        .max_memory_size(MEMORY_RESERVATION_BYTES as usize)
        .max_tables_per_module(METERED_TABLES_MAX)
        .table_elements(TABLE_ELEMENTS_MAX)
        .max_unused_warm_slots(slots)
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .pagemap_scan(Enabled::Auto);
    pool
}

/// Feeds what is hashed to BLAKE3: unlike the standard hashers, of a size that nobody can collide.
struct DigestHasher(blake3::Hasher);

impl Hasher for DigestHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let digest = self.0.finalize();
        u64::from_le_bytes(digest.as_bytes()[..8].try_into().expect("a digest is longer than 8 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compatibility_is_the_same_in_every_engine_of_one_configuration() {
        assert_eq!(compatibility(&engine().unwrap()), compatibility(&engine().unwrap()));
    }

    #[test]
    fn code_with_another_meter_is_not_loaded() {
        // A node that was brought up to date has the code of its old meter in its cache, and bills by its new one.
        let engine = engine().unwrap();
        let without = {
            let mut hasher = DigestHasher(blake3::Hasher::new_derive_key("adit compiled-code compatibility v1"));
            engine.precompile_compatibility_hash().hash(&mut hasher);
            Digest(*hasher.0.finalize().as_bytes())
        };
        let with = |meter: &str| compatibility_of(&engine, meter);
        assert_ne!(with("adit meter 1"), with("adit meter 2"));
        assert!(with(&crate::meter::description()) == compatibility(&engine) && compatibility(&engine) != without);
    }

    #[test]
    fn what_compile_workers_make_sandbox_workers_load() {
        assert_eq!(compatibility(&engine().unwrap()), compatibility(&compiling_engine().unwrap()));
    }

    #[test]
    fn room_is_the_most_that_fits() {
        let gib = 1 << 30;
        let rows = [
            (u64::MAX, Some(0)),
            (68 * gib, Some(0)),
            (40 * gib, Some(1)),
            (16 * gib, Some(1)),
            (15 * gib, Some(2)),
            (10 * gib, None),
        ];
        for (limit, want) in rows {
            assert_eq!(Room::within(limit), want.map(|index: usize| Room::ALL[index]), "{limit}");
        }
        assert_eq!(Room::ALL.map(|room| room.remark().is_some()), [false, true, true]);
    }

    #[test]
    fn compatibility_covers_the_configuration() {
        let mut other = config(Strategy::Cranelift, OptLevel::Speed);
        other.consume_fuel(true);
        assert_ne!(compatibility(&engine().unwrap()), compatibility(&Engine::new(&other).unwrap()));
    }
}
