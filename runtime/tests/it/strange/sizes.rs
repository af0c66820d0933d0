//! As much of everything as may be, and loops around the sizes at which they are repeated.

use super::everywhere::Everywhere;

fn nest(depth: usize, open: &dyn Fn(usize) -> String, within: &str, close: &dyn Fn(usize) -> String) -> String {
    let opened: String = (0..depth).map(open).collect();
    let closed: String = (0..depth).rev().map(close).collect();
    format!("{opened}{within}{closed}")
}

/// What each function of a module does with `$n`, which is 0 to 300, and what goes on in `$g`.
fn shapes() -> Vec<(&'static str, String)> {
    let mark = |n: usize| format!("(global.set $g (i64.add (i64.mul (global.get $g) (i64.const 31)) (i64.const {n})))");
    let targets = |count: usize, of: usize| (0..count).map(|n| format!("{} ", n * 7 % of)).collect::<String>();
    let nothing = |_: usize| String::new();
    vec![
        (
            "blocks in each other, left from the innermost to each",
            nest(254, &|_| "(block ".to_owned(), &format!("(br_table {} 0 (local.get $n))", targets(254, 254)), &|n| {
                format!("{} )", mark(n))
            }),
        ),
        (
            "loops in each other, gone back to each",
            nest(
                120,
                &|n| format!("(loop {}", if n % 9 == 0 { mark(n) } else { String::new() }),
                &format!(
                    "(block (br_if 0 (i32.ge_u (local.tee $m (i32.add (local.get $m) (i32.const 1))) (i32.const 40)))
                        (br_table {} 1 (i32.add (local.get $m) (local.get $n))))",
                    (0..40).map(|n| format!("{} ", 1 + n * 3)).collect::<String>()
                ),
                &|n| format!("{} )", if n % 7 == 0 { mark(n) } else { String::new() }),
            ),
        ),
        (
            "ifs in each other",
            nest(200, &|n| format!("(if (i32.gt_u (local.get $n) (i32.const {n})) (then {}", mark(n)), &mark(999), &|n| {
                format!(") {})", if n % 3 == 0 { format!("(else {})", mark(1_000 + n)) } else { String::new() })
            }),
        ),
        (
            "a chain of ifs",
            (0..900)
                .map(|n| match n % 3 {
                    0 => format!("(if (i32.eq (local.get $n) (i32.const {n})) (then {}))", mark(n)),
                    1 => format!("(if (i32.and (local.get $n) (i32.const {n})) (then {}) (else {}))", mark(n), mark(n + 1)),
                    _ => format!("(block (br_if 0 (i32.lt_u (local.get $n) (i32.const {n}))) {})", mark(n)),
                })
                .collect(),
        ),
        (
            "a table of four thousand targets",
            format!(
                "(block (block (block (block (br_table {} 3 (i32.mul (local.get $n) (i32.const 13)))) {} ) {} ) {} (return)) {}",
                targets(4_000, 4),
                mark(1),
                mark(2),
                mark(3),
                mark(4)
            ),
        ),
        ("a table whose targets are all one", format!("(block (br_table {} 0 (local.get $n))) {}", "0 ".repeat(4_000), mark(3))),
        (
            "blocks that begin and end at once",
            format!(
                "{} {}",
                "(block (loop (block))) (if (i32.const 0) (then)) (if (i32.const 1) (then) (else))".repeat(200),
                mark(1)
            ),
        ),
        ("nothing", nothing(0)),
        (
            "one straight line",
            format!(
                "{} {}",
                "(local.set $k (i64.mul (i64.add (local.get $k) (i64.const 3)) (i64.extend_i32_u (local.get $n))))".repeat(3_000),
                "(global.set $g (local.get $k))"
            ),
        ),
    ]
}

fn module(functions: impl IntoIterator<Item = String>) -> String {
    let functions = functions.into_iter().enumerate().map(|(at, body)| {
        let calls = |n: usize| format!(r#"(func (export "{at} with {n}") (call $f{at} (i32.const {n})))"#);
        let calls: String = [0, 1, 5, 100, 253, 300].map(calls).concat();
        format!("(func $f{at} (param $n i32) (local $m i32) (local $k i64) {body}) {calls}")
    });
    format!(
        r#"(module (memory (export "memory") 1 1) (global $g (export "g") (mut i64) (i64.const 0)) {})"#,
        functions.collect::<String>()
    )
}

#[test]
fn the_largest_shapes_count_what_the_reference_counts() {
    let everywhere = Everywhere::as_long_as_may_be();
    for (name, body) in shapes() {
        let compared = everywhere.check_text(name, &module([body]));
        assert_eq!(compared.calls, 6, "{name}");
    }
}

/// Loops of each length around the bounds, and of each way to go back and out.
#[test]
fn loops_of_every_size_count_what_the_reference_counts() {
    let step = "(local.set $k (i64.add (local.get $k) (i64.const 3)))";
    let count = "(local.tee $m (i32.add (local.get $m) (i32.const 1)))";
    let less = format!("(i32.lt_u {count} (local.get $n))");
    let ways: [&dyn Fn(&str) -> String; 9] = [
        &|body| format!("(loop $l {body} (br_if $l {less}))"),
        &|body| format!("(block $x (loop $l (br_if $x (i32.eqz {less})) {body} (br $l)))"),
        &|body| format!("(loop $l (if {less} (then {body} (br $l))))"),
        &|body| format!("(loop $l (if {less} (then (br $l)) (else {body})))"),
        &|body| format!("(loop $l (block $x (br_if $x (i32.and (local.get $m) (i32.const 1))) {body}) (br_if $l {less}))"),
        &|body| {
            format!(
                "(loop $l {body} (br_if $l {less}) (br_if $l (i32.eq (local.get $m) (i32.add (local.get $n) (i32.const 1)))))"
            )
        },
        &|body| format!("(loop $o (loop $l {body} (br_if $l {less})) (br_if $o (i32.lt_u (local.get $m) (i32.const 50))))"),
        &|body| format!("(block $x (loop $l (br_if $l {less}) {body} (br $x)))"),
        &|body| format!("(loop $l {body} (i32.store (i32.mul (local.get $m) (i32.const 300)) (local.get $n)) (br_if $l {less}))"),
    ];
    let everywhere = Everywhere::few();
    let sizes = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 31, 32, 33];
    for (at, way) in ways.iter().enumerate() {
        let functions = sizes.map(|size| way(&step.repeat(size)));
        let compared = everywhere.check_text(&format!("way {at}"), &module(functions));
        assert_eq!(compared.calls as usize, 6 * sizes.len(), "way {at}");
    }
}

/// As many parameters, results and locals as may be, of every type.
#[test]
fn functions_of_many_values_count_what_the_reference_counts() {
    let types = ["i32", "i64", "f32", "f64", "v128", "funcref"];
    let ty = |n: usize| types[n * 5 % types.len()];
    let constant = |n: usize| match ty(n) {
        "v128" => format!("(v128.const i64x2 {n} 1)"),
        "funcref" => "(ref.null func)".to_owned(),
        ty => format!("({ty}.const {n})"),
    };
    let params: String = (0..128).map(|n| format!("{} ", ty(n))).collect();
    let results: String = (0..16).map(|n| format!("{} ", ty(n + 112))).collect();
    let locals: String = (0..1_000).map(|n| format!("{} ", ty(n))).collect();
    let text = format!(
        r#"(module (memory (export "memory") 1) (table $t (export "table") 1 funcref) (elem (i32.const 0) $many)
            (global $g (export "g") (mut i32) (i32.const 0))
            (type $many (func (param {params}) (result {results})))
            (func $many (type $many) (local {locals})
                {moves} {gets}
                (block $b (param {results}) (result {results})
                    (loop $l (param {results}) (result {results})
                        (global.set $g (i32.add (global.get $g) (i32.const 1)))
                        (br_if $l (i32.lt_u (global.get $g) (i32.const 5)))
                        (br_if $b (i32.lt_u (global.get $g) (i32.const 7)))
                        (br_table $b $l $b (i32.sub (global.get $g) (i32.const 7))))))
            (func (export "direct") (result {results}) {constants} (call $many))
            (func (export "through a table") (result {results}) {constants} (i32.const 0) (call_indirect (type $many)))
            (func (export "round again") (result {results})
                {constants} (call $many) {drops} {constants} (call $many)))"#,
        // A local for each parameter of its type, and back.
        moves = (0..128)
            .map(|n| format!("(local.set {} (local.get {n})) (local.set {n} (local.get {}))", 128 + n + 6, 128 + n + 6))
            .collect::<String>(),
        gets = (112..128).map(|n| format!("(local.get {n})")).collect::<String>(),
        constants = (0..128).map(constant).collect::<String>(),
        drops = "(drop)".repeat(16),
    );
    let compared = Everywhere::as_long_as_may_be().check_text("many values", &text);
    assert_eq!(compared.calls, 3);
}
