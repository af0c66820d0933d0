//! Guests that use a GPU, written by hand as the host interface states it. Each does its work a number of times, so that what one time costs
//! is the difference between two numbers: what a job costs besides is in both.

use std::fmt::Write as _;

use anyhow::{Context, Result};

use super::{BULK_BYTES, NUMBERS, Work};

/// Where the shader stands in the guest's memory; its entry point is before it.
const SHADER_AT: usize = 1024;
/// Where what is bound to a dispatch stands.
const BINDINGS_AT: usize = 64;
/// Where data goes to and comes from.
const DATA_AT: usize = 65_536;
const PAGE_BYTES: usize = 65_536;

/// A guest that does `work` so many times. One that tells what it comes to has filled its buffers with numbers before.
pub(super) fn guest(work: Work, times: u32, tells: bool) -> Result<Vec<u8>> {
    let Parts { each, mut data_bytes } = parts(work);
    let (buffers, shader) = (work.buffers(), work.shader());
    let mut setup = String::new();
    for bytes in &buffers {
        writeln!(setup, "(call $ok (call $create (i64.const {bytes})))")?;
    }
    if let Some(shader) = shader {
        let bytes = shader.len();
        writeln!(setup, "(call $ok (call $pipeline (i32.const {SHADER_AT}) (i32.const {bytes}) (i32.const 16) (i32.const 4)))")?;
    }
    let mut told = String::new();
    if tells {
        let result = buffers[work.result()];
        data_bytes = data_bytes.max(result);
        setup.push_str(&fill(&buffers));
        told = tell(work.result(), result);
    }
    let data = shader.map_or_else(String::new, |shader| format!("(data (i32.const {SHADER_AT}) {shader:?})"));
    let bindings: String = (0..buffers.len() as u32).map(binding).collect();
    let pages = (DATA_AT + data_bytes).div_ceil(PAGE_BYTES);
    let text = format!(
        r#"(module
          (import "adit_1" "gpu_buffer_create" (func $create (param i64) (result i32)))
          (import "adit_1" "gpu_buffer_write" (func $write (param i32 i64 i32 i32) (result i32)))
          (import "adit_1" "gpu_buffer_read" (func $read (param i32 i64 i32 i32) (result i32)))
          (import "adit_1" "gpu_pipeline_create" (func $pipeline (param i32 i32 i32 i32) (result i32)))
          (import "adit_1" "gpu_dispatch" (func $dispatch (param i32 i32 i32 i32 i32 i32) (result i32)))
          (import "adit_1" "gpu_finish" (func $finish (result i32)))
          (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
          (memory (export "memory") {pages})
          (data (i32.const 16) "main")
          (data (i32.const {BINDINGS_AT}) "{bindings}")
          {data}
          (func $ok (param i32) (if (i32.lt_s (local.get 0) (i32.const 0)) (then unreachable)))
          (func (export "_start") (local $n i32)
            {setup}
            (loop $again
              {each}
              (local.set $n (i32.add (local.get $n) (i32.const 1)))
              (br_if $again (i32.lt_u (local.get $n) (i32.const {times}))))
            {told}))"#
    );
    wat::parse_str(text).context("a guest that uses a GPU")
}

/// Writes numbers to the guest's memory, and from there to all buffers. They are of one size.
fn fill(buffers: &[usize]) -> String {
    let bytes = buffers[0];
    let writes = (0..buffers.len()).map(|buffer| {
        format!("(call $ok (call $write (i32.const {buffer}) (i64.const 0) (i32.const {DATA_AT}) (i32.const {bytes})))")
    });
    format!(
        "(loop $fill
          (f32.store (i32.add (i32.const {DATA_AT}) (i32.mul (local.get $n) (i32.const 4)))
            (f32.convert_i32_u (i32.rem_u (local.get $n) (i32.const {NUMBERS}))))
          (br_if $fill (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const {}))))
        (local.set $n (i32.const 0))
        {}",
        bytes / 4,
        writes.collect::<String>()
    )
}

/// Puts out what is in a buffer.
fn tell(buffer: usize, bytes: usize) -> String {
    format!(
        "(call $ok (call $read (i32.const {buffer}) (i64.const 0) (i32.const {DATA_AT}) (i32.const {bytes})))
        (i32.store (i32.const 0) (i32.const {DATA_AT}))
        (i32.store (i32.const 4) (i32.const {bytes}))
        (if (i32.or (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (i32.ne (i32.load (i32.const 8)) (i32.const {bytes})))
          (then unreachable))"
    )
}

/// What the guests differ in.
struct Parts {
    /// What is done each time.
    each: String,
    /// Memory for data.
    data_bytes: usize,
}

fn parts(work: Work) -> Parts {
    let dispatch = |count, side| {
        format!(
            "(call $ok (call $dispatch (i32.const 0) (i32.const {BINDINGS_AT}) (i32.const {count}) (i32.const {side}) (i32.const {side}) (i32.const 1)))"
        )
    };
    let finish = "(call $ok (call $finish))";
    match work {
        Work::Step => Parts {
            each: format!(
                "{} (call $ok (call $read (i32.const 0) (i64.const 0) (i32.const {DATA_AT}) (i32.const 4)))",
                dispatch(1, 1)
            ),
            data_bytes: 4,
        },
        Work::Matmul => Parts { each: format!("{} {finish}", dispatch(3, 16)), data_bytes: 0 },
        Work::BulkIn => Parts {
            each: format!(
                "(call $ok (call $write (i32.const 0) (i64.const 0) (i32.const {DATA_AT}) (i32.const {BULK_BYTES}))) {finish}"
            ),
            data_bytes: BULK_BYTES,
        },
        Work::BulkOut => Parts {
            each: format!("(call $ok (call $read (i32.const 0) (i64.const 0) (i32.const {DATA_AT}) (i32.const {BULK_BYTES})))"),
            data_bytes: BULK_BYTES,
        },
    }
}

/// A whole buffer of the same number bound to binding `number`, as a WAT string.
fn binding(number: u32) -> String {
    let bytes = [number.to_le_bytes(), number.to_le_bytes()].concat().into_iter().chain([0; 16]);
    bytes.map(|byte| format!("\\{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use wasmparser::{Validator, WasmFeatures};

    use super::*;

    #[test]
    fn guests_are_valid() {
        for (work, tells) in Work::ALL.into_iter().flat_map(|work| [(work, false), (work, true)]) {
            Validator::new_with_features(WasmFeatures::WASM1).validate_all(&guest(work, 3, tells).unwrap()).unwrap();
        }
    }
}
