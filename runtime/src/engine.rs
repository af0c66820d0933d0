//! The engine's profile: one configuration, the same in every process, so that code compiled in one runs in another.

use std::hash::{Hash, Hasher};

use adit_protocol::Digest;
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, Strategy, WasmFeatures};

/// Address space reserved for a linear memory: all that a 32-bit index can reach, so that no access needs a bounds check.
const MEMORY_RESERVATION_BYTES: u64 = 4 << 30;
/// Unmapped space behind it, for the static offset of an access. The engine leaves out checks for offsets below this.
const MEMORY_GUARD_BYTES: u64 = 2 << 30;
/// The guest's stack. Rust and C programs keep their own data stack in linear memory, so this holds return addresses and spills.
const WASM_STACK_BYTES: usize = 512 * 1024;
/// The stack that guest and host functions share; what the guest may not use is left for the deepest host call.
const FIBER_STACK_BYTES: usize = 2 * 1024 * 1024;
/// Function-pointer tables: C++ programs of 50 MB stay below. Larger tables are refused when they are made or grown.
pub(crate) const TABLE_ELEMENTS_MAX: usize = 100_000;
/// Tables of one module. Compilers emit one.
const TABLES_PER_MODULE_MAX: u32 = 4;
/// Slots of the pooling allocator. One job runs at a time; the others keep the memory images of recently run modules mapped.
const POOL_SLOTS: u32 = 4;
/// Guest memory that is zeroed rather than given back to the kernel when an instance ends: a small job touches no more.
const KEEP_RESIDENT_BYTES: usize = 2 * 1024 * 1024;

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

/// Makes the engine.
///
/// # Errors
/// Where the machine lacks what the configuration needs, such as address space.
pub(crate) fn engine() -> wasmtime::Result<Engine> {
    Engine::new(&config())
}

/// What compiled code depends on: the engine's version and configuration and the processor's features. Code under another hash is
/// never loaded.
pub(crate) fn compatibility(engine: &Engine) -> Digest {
    let mut hasher = DigestHasher(blake3::Hasher::new_derive_key("adit compiled-code compatibility v1"));
    engine.precompile_compatibility_hash().hash(&mut hasher);
    Digest(*hasher.0.finalize().as_bytes())
}

fn config() -> Config {
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        .consume_fuel(true)
        .memory_reservation(MEMORY_RESERVATION_BYTES)
        .memory_guard_size(MEMORY_GUARD_BYTES)
        .memory_init_cow(true)
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(FIBER_STACK_BYTES)
        .signals_based_traps(true)
        .wasm_features(FEATURES.complement(), false)
        .wasm_features(FEATURES, true)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool()));
    config
}

fn pool() -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_core_instances(POOL_SLOTS)
        .total_memories(POOL_SLOTS)
        .total_tables(POOL_SLOTS * TABLES_PER_MODULE_MAX)
        .total_stacks(POOL_SLOTS)
        .max_memories_per_module(1)
        .max_memory_size(MEMORY_RESERVATION_BYTES as usize)
        .max_tables_per_module(TABLES_PER_MODULE_MAX)
        .table_elements(TABLE_ELEMENTS_MAX)
        .max_unused_warm_slots(POOL_SLOTS)
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
    fn compatibility_covers_the_configuration() {
        let mut other = config();
        other.consume_fuel(false);
        assert_ne!(compatibility(&engine().unwrap()), compatibility(&Engine::new(&other).unwrap()));
    }
}
