//! Fills and copies of few bytes, which the meter does itself: each size, each overlap, and each edge of a memory.

use std::fmt::Write as _;

use super::everywhere::Everywhere;

/// Bytes of the memory.
const MEMORY: i64 = 65_536;
/// Sizes from nothing to over what is done by loads and stores.
const SIZES: std::ops::RangeInclusive<u32> = 0..=40;
/// Exports of a module; as many are called.
const EXPORTS: usize = 256;

/// Modules that export `functions`, over a memory of which every byte is another than its neighbours.
fn modules(functions: &[String]) -> Vec<Vec<u8>> {
    let bytes: String = (0..=255).map(|byte| format!("\\{byte:02x}")).collect();
    let module = |functions: &[String]| {
        let mut text = format!("(module (memory (export \"m\") 1 1) (data (i32.const 0) \"{bytes}{bytes}\")");
        write!(text, " (data (i32.const {}) \"{bytes}\")", MEMORY - 256).unwrap();
        for (number, function) in functions.iter().enumerate() {
            write!(text, " (func (export \"f{number}\") (local $at i32) (local $size i32) {function})").unwrap();
        }
        wat::parse_str(text + ")").unwrap()
    };
    functions.chunks(EXPORTS).map(module).collect()
}

/// Calls and traps of all modules of some `functions`, under compilers that are unlike each other.
fn check(name: &str, functions: &[String]) -> (u32, u32) {
    let everywhere = Everywhere::few();
    let compared = modules(functions).iter().map(|module| everywhere.check(name, module)).collect::<Vec<_>>();
    (compared.iter().map(|each| each.calls).sum(), compared.iter().map(|each| each.traps).sum())
}

#[test]
fn each_size_is_moved_as_it_should_be_wherever_source_and_target_overlap() {
    let around = |does: &str, size: u32| {
        format!(
            "(local.set $at (i32.const 150)) (local.set $size (i32.const {size}))
            (loop $more {does} (br_if $more (i32.le_u (local.tee $at (i32.add (local.get $at) (i32.const 1))) (i32.const 250))))"
        )
    };
    let copy = "(memory.copy (local.get $at) (i32.const 200) (local.get $size))";
    let fill = "(memory.fill (local.get $at) (i32.add (local.get $at) (i32.const 1000)) (local.get $size))";
    let functions: Vec<_> = SIZES.flat_map(|size| [around(copy, size), around(fill, size)]).collect();
    assert_eq!(check("moves", &functions), (functions.len() as u32, 0));
}

#[test]
fn what_does_not_fit_traps_before_a_byte_is_written() {
    let mut functions = Vec::new();
    for size in [0_u32, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33] {
        let ends =
            [MEMORY - i64::from(size), MEMORY - 1, MEMORY, (1 << 31) - i64::from(size), 1 << 31, (1 << 32) - i64::from(size)];
        for at in ends.iter().flat_map(|end| [end - 1, *end, end + 1]) {
            let at = at as i32;
            functions.extend(
                [
                    format!("(memory.copy (i32.const {at}) (i32.const 100) (local.get $size))"),
                    format!("(memory.copy (i32.const 100) (i32.const {at}) (local.get $size))"),
                    format!("(memory.fill (i32.const {at}) (i32.const 7) (local.get $size))"),
                ]
                .map(|does| format!("(local.set $size (i32.const {size})) {does}")),
            );
        }
    }
    let (calls, traps) = check("edges", &functions);
    assert_eq!(calls, functions.len() as u32);
    assert!(traps > calls / 2 && calls - traps > calls / 8, "{traps} of {calls}");
}

#[test]
fn sizes_that_are_constants_are_paid_for_and_moved_as_others_are() {
    let sizes = [0, 1, 3, 16, 33, 64, 127, 128, 129, 300, 60_000, 65_536, 1 << 20, (1 << 20) + 1];
    let functions: Vec<_> = sizes
        .iter()
        .flat_map(|size| {
            [(100, 5), (5, 100), (MEMORY - 128, 0), (0, MEMORY - 128)].map(|(target, source)| {
                format!(
                    "(memory.fill (i32.const {target}) (i32.const {source}) (i32.const {size}))
                    (memory.copy (i32.const {target}) (i32.const {source}) (i32.const {size}))
                    (loop $more (memory.copy (i32.const {source}) (i32.const {target}) (i32.const {size}))
                        (br_if $more (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 1))) (i32.const 9))))"
                )
            })
        })
        .collect();
    let (calls, traps) = check("constants", &functions);
    assert_eq!(calls, functions.len() as u32);
    assert!(traps > 0 && traps < calls, "{traps} of {calls}");
}
