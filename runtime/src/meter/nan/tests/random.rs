//! Random modules that compute with NaNs, and modules that are as large as they may be.

use std::time::{Duration, Instant};

use super::*;

/// How many modules are compared.
const CASES: u64 = 1000;

#[test]
fn random_modules_give_the_same_bits_as_under_the_engines_canonicalisation() {
    for seed in 0..CASES {
        let wat = Generator::new(seed).module();
        let wasm = wat::parse_str(&wat).unwrap_or_else(|error| panic!("seed {seed}: {error}\n{wat}"));
        let expected = observe(&REFERENCE, &wasm);
        let (engine, rewritten) = match seed % 4 {
            0 => (&UNOPTIMISED, rewritten(&wasm)),
            1 => (&PLAIN, rewritten_coarsely(&wasm)),
            _ => (&PLAIN, rewritten(&wasm)),
        };
        if let Some(difference) = difference(&expected, &observe(engine, &rewritten)) {
            panic!("seed {seed}: {difference}\n{wat}");
        }
    }
}

/// Writes modules as text, in folded form.
struct Generator {
    state: u64,
    /// Labels that a statement may branch to.
    labels: Vec<String>,
    /// How many loops were written, each with a counter of its own.
    loops: usize,
    names: usize,
    /// The function that is written; it may call those before it.
    function: usize,
}

const TYPES: [&str; 5] = ["f32", "f64", "v128", "i32", "i64"];
const LOCALS_PER_TYPE: usize = 3;
const FUNCTIONS: usize = 3;
const LOOPS_MAX: usize = 6;
/// Where special values lie, and where stores go.
const SPECIALS: usize = 0;
const ROOM: usize = 1024;

const SPECIALS_64: [u64; 12] = [
    0,
    1 << 63,
    0x3ff0_0000_0000_0000,
    0xc000_0000_0000_0000,
    0x7ff0_0000_0000_0000,
    0xfff0_0000_0000_0000,
    0x7ff8_0000_dead_beef,
    0xfff8_1234_5678_9abc,
    0x7ff0_0000_0000_0001,
    0x7fc0_1111_ffc0_2222,
    0x7f80_0001_3f80_0000,
    0xffff_ffff_ffff_ffff,
];

impl Generator {
    fn new(seed: u64) -> Self {
        let state = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self { state, labels: Vec::new(), loops: 0, names: 0, function: 0 }
    }

    fn below(&mut self, limit: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) as usize % limit
    }

    fn pick<'t>(&mut self, from: &[&'t str]) -> &'t str {
        from[self.below(from.len())]
    }

    fn name(&mut self) -> String {
        self.names += 1;
        format!("$n{}", self.names)
    }

    fn module(&mut self) -> String {
        let mut text = "(module (import \"env\" \"see\" (func $see (param f32 f64))) (memory (export \"memory\") 1)\n".to_owned();
        for ty in TYPES {
            let zero = if ty == "v128" { "v128.const i64x2 0 0".to_owned() } else { format!("{ty}.const 0") };
            text += &format!("(global $g_{ty} (export \"g_{ty}\") (mut {ty}) ({zero}))\n");
        }
        let bytes: Vec<u8> = SPECIALS_64.iter().flat_map(|bits| bits.to_le_bytes()).collect();
        let hex: String = bytes.iter().map(|byte| format!("\\{byte:02x}")).collect();
        text += &format!("(data (i32.const {SPECIALS}) \"{hex}\")\n");
        for function in 0..FUNCTIONS {
            (self.function, self.loops) = (function, 0);
            let body = self.statements(3, 2);
            let result = self.expression("f64", 2);
            text += &format!(
                "(func $f{function} (param $f32_0 f32) (param $f64_0 f64) (param $v128_0 v128) (result f64) {}\n{body}\n{result})\n",
                self.locals(1)
            );
        }
        (self.function, self.loops) = (FUNCTIONS, 0);
        let body = self.statements(6, 3);
        text + &format!("(func (export \"run\") {}\n{body}))\n", self.locals(0))
    }

    /// Declarations; the first local of each float type may be a parameter.
    fn locals(&self, first_float: usize) -> String {
        let mut text = String::new();
        for ty in TYPES {
            let first = if matches!(ty, "f32" | "f64" | "v128") { first_float } else { 0 };
            for i in first..LOCALS_PER_TYPE {
                text += &format!("(local ${ty}_{i} {ty})");
            }
        }
        for i in 0..LOOPS_MAX {
            text += &format!("(local $c{i} i32)");
        }
        text
    }

    fn local(&mut self, ty: &str) -> String {
        format!("${ty}_{}", self.below(LOCALS_PER_TYPE))
    }

    fn ty(&mut self) -> &'static str {
        TYPES[[0, 1, 1, 0, 2, 2, 3, 4][self.below(8)]]
    }

    fn address(&mut self) -> String {
        match self.below(3) {
            0 => format!("(i32.const {})", ROOM + self.below(64) * 4),
            _ => format!("(i32.const {})", SPECIALS + self.below(SPECIALS_64.len() - 1) * 8 + self.below(2) * 4),
        }
    }

    fn room(&mut self) -> String {
        format!("(i32.const {})", ROOM + self.below(64) * 4)
    }

    fn statements(&mut self, count: usize, depth: usize) -> String {
        (0..1 + self.below(count)).map(|_| self.statement(depth) + "\n").collect()
    }

    fn statement(&mut self, depth: usize) -> String {
        let ty = self.ty();
        if depth == 0 || self.below(2) == 0 {
            return self.simple_statement(ty);
        }
        match self.below(4) {
            0 => {
                let condition = self.expression("i32", 2);
                let (then, other) = (self.statements(3, depth - 1), self.statements(2, depth - 1));
                if self.below(2) == 0 {
                    format!("(if {condition} (then {then}))")
                } else {
                    format!("(if {condition} (then {then}) (else {other}))")
                }
            }
            1 => {
                let label = self.name();
                self.labels.push(label.clone());
                let body = self.statements(4, depth - 1);
                self.labels.pop();
                format!("(block {label} {body})")
            }
            2 if self.loops < LOOPS_MAX => {
                let (label, counter) = (self.name(), self.loops);
                self.loops += 1;
                let body = self.statements(4, depth - 1);
                let turns = 2 + self.below(2);
                format!(
                    "(local.set $c{counter} (i32.const {turns})) (loop {label} {body} (br_if {label} (local.tee $c{counter} (i32.sub (local.get $c{counter}) (i32.const 1)))))"
                )
            }
            _ => self.branch(),
        }
    }

    fn branch(&mut self) -> String {
        let condition = self.expression("i32", 2);
        if self.labels.is_empty() {
            return format!("(drop {condition})");
        }
        let (label, other) = (self.below(self.labels.len()), self.below(self.labels.len()));
        let (label, other) = (&self.labels[label], &self.labels[other]);
        let (label, other) = (label.clone(), other.clone());
        match self.below(6) {
            0 => format!("(br_table {label} {other} {condition})"),
            1 => format!("(br {label})"),
            _ => format!("(br_if {label} {condition})"),
        }
    }

    fn simple_statement(&mut self, ty: &'static str) -> String {
        let value = self.expression(ty, 3);
        match self.below(8) {
            0 => format!("(global.set $g_{ty} {value})"),
            1 => format!("(drop {value})"),
            2 => {
                let (a, b) = (self.expression("f32", 2), self.expression("f64", 2));
                format!("(call $see {a} {b})")
            }
            3 | 4 => format!("({ty}.store {} {value})", self.room()),
            _ => format!("(local.set {} {value})", self.local(ty)),
        }
    }

    fn expression(&mut self, ty: &'static str, depth: usize) -> String {
        if depth == 0 || self.below(6) == 0 {
            return self.leaf(ty);
        }
        let depth = depth - 1;
        match self.below(12) {
            0 => {
                let (a, b, c) = (self.expression(ty, depth), self.expression(ty, depth), self.expression("i32", depth));
                format!("(select {a} {b} {c})")
            }
            1 => {
                let (a, b, c) = (self.expression(ty, depth), self.expression(ty, depth), self.expression("i32", depth));
                format!("(if (result {ty}) {c} (then {a}) (else {b}))")
            }
            2 => {
                let label = self.name();
                let (a, b, c) = (self.expression(ty, depth), self.expression(ty, depth), self.expression("i32", depth));
                format!("(block {label} (result {ty}) (br_if {label} {a} {c}) (drop) {b})")
            }
            3 => format!("(local.tee {} {})", self.local(ty), self.expression(ty, depth)),
            4 => {
                let (a, b) = (self.expression(ty, depth), self.expression(ty, depth));
                format!(
                    "{a} {b} (block (param {ty} {ty}) (result {ty} {ty}) (br_if 0 {})) {}",
                    self.leaf("i32"),
                    self.drop_one_of_two(ty)
                )
            }
            _ => match ty {
                "f32" | "f64" => self.float(ty, depth),
                "v128" => self.vector(depth),
                _ => self.integer(ty, depth),
            },
        }
    }

    /// Leaves the upper or the lower of two operands.
    fn drop_one_of_two(&mut self, ty: &str) -> String {
        let local = self.local(ty);
        self.pick(&["(drop)", "UPPER"]).replace("UPPER", &format!("(local.set {local}) (drop) (local.get {local})"))
    }

    fn leaf(&mut self, ty: &str) -> String {
        match self.below(5) {
            0 => format!("({ty}.load {})", self.address()),
            1 => format!("(global.get $g_{ty})"),
            2 => match ty {
                "f32" => self
                    .pick(&[
                        "(f32.const 1)",
                        "(f32.const nan)",
                        "(f32.const -nan)",
                        "(f32.const inf)",
                        "(f32.const nan:0x123)",
                        "(f32.const -0)",
                    ])
                    .to_owned(),
                "f64" => self
                    .pick(&[
                        "(f64.const 1)",
                        "(f64.const nan)",
                        "(f64.const -nan)",
                        "(f64.const -inf)",
                        "(f64.const nan:0x123)",
                        "(f64.const 0)",
                    ])
                    .to_owned(),
                "v128" => self
                    .pick(&[
                        "(v128.const f32x4 nan 1 -nan 0)",
                        "(v128.const f64x2 nan -inf)",
                        "(v128.const i32x4 0 0x7fc00001 -1 7)",
                        "(v128.const i64x2 0 0)",
                    ])
                    .to_owned(),
                _ => format!("({ty}.const {})", self.below(3)),
            },
            _ => format!("(local.get {})", self.local(ty)),
        }
    }

    fn float(&mut self, ty: &'static str, depth: usize) -> String {
        let other = if ty == "f32" { "f64" } else { "f32" };
        match self.below(14) {
            0 => format!("({ty}.neg {})", self.expression(ty, depth)),
            1 => format!("({ty}.abs {})", self.expression(ty, depth)),
            2 => format!("({ty}.copysign {} {})", self.expression(ty, depth), self.expression(ty, depth)),
            3 if ty == "f32" => format!("(f32.demote_f64 {})", self.expression(other, depth)),
            3 => format!("(f64.promote_f32 {})", self.expression(other, depth)),
            4 if ty == "f32" => format!("(f32.reinterpret_i32 {})", self.expression("i32", depth)),
            4 => format!("(f64.reinterpret_i64 {})", self.expression("i64", depth)),
            5 | 6 if ty == "f32" => format!("(f32x4.extract_lane {} {})", self.below(4), self.expression("v128", depth)),
            5 | 6 => format!("(f64x2.extract_lane {} {})", self.below(2), self.expression("v128", depth)),
            7 => format!("({ty}.convert_i32_s {})", self.expression("i32", depth)),
            8 if ty == "f64" && self.function > 0 => {
                let callee = self.below(self.function);
                format!(
                    "(call $f{callee} {} {} {})",
                    self.expression("f32", 1),
                    self.expression("f64", 1),
                    self.expression("v128", 1)
                )
            }
            9 | 10 => {
                format!("({ty}.{} {})", self.pick(&["sqrt", "ceil", "floor", "trunc", "nearest"]), self.expression(ty, depth))
            }
            _ => {
                let op = self.pick(&["add", "sub", "mul", "div", "min", "max"]);
                format!("({ty}.{op} {} {})", self.expression(ty, depth), self.expression(ty, depth))
            }
        }
    }

    fn vector(&mut self, depth: usize) -> String {
        let shape = self.pick(&["f32x4", "f64x2"]);
        let a = self.expression("v128", depth);
        match self.below(16) {
            0 => format!("({shape}.{} {a})", self.pick(&["neg", "abs", "sqrt", "ceil", "nearest"])),
            1 => format!("({shape}.{} {a} {})", self.pick(&["pmin", "pmax"]), self.expression("v128", depth)),
            2 => format!("({}.splat {})", shape, self.expression(if shape == "f32x4" { "f32" } else { "f64" }, depth)),
            3 | 4 => {
                let (lanes, ty) = if shape == "f32x4" { (4, "f32") } else { (2, "f64") };
                format!("({shape}.replace_lane {} {a} {})", self.below(lanes), self.expression(ty, depth))
            }
            5 => format!(
                "({} {a})",
                self.pick(&[
                    "f32x4.demote_f64x2_zero",
                    "f64x2.promote_low_f32x4",
                    "f32x4.convert_i32x4_s",
                    "f64x2.convert_low_i32x4_u",
                    "i32x4.trunc_sat_f32x4_s",
                    "v128.not"
                ])
            ),
            6 | 7 => format!("(i8x16.shuffle {} {a} {})", self.shuffle(), self.expression("v128", depth)),
            8 => format!(
                "({} {a} {})",
                self.pick(&["v128.and", "v128.xor", "i32x4.add", "i8x16.swizzle", "f32x4.lt", "f64x2.ne"]),
                self.expression("v128", depth)
            ),
            9 => format!("(v128.bitselect {a} {} {})", self.expression("v128", depth), self.expression("v128", depth)),
            10 => {
                let (size, lane) = [(8, 3), (32, 2), (64, 0), (64, 1)][self.below(4)];
                format!("(v128.load{size}_lane {lane} {} {a})", self.address())
            }
            _ => format!(
                "({shape}.{} {a} {})",
                self.pick(&["add", "sub", "mul", "div", "min", "max"]),
                self.expression("v128", depth)
            ),
        }
    }

    /// The lanes of a shuffle of whole lanes, or of any bytes.
    fn shuffle(&mut self) -> String {
        let size = [1, 4, 4, 8, 8][self.below(5)];
        let mut lanes = Vec::new();
        while lanes.len() < 16 {
            let first = self.below(32 / size) * size;
            lanes.extend((first..first + size).map(|lane| lane.to_string()));
        }
        lanes.join(" ")
    }

    fn integer(&mut self, ty: &'static str, depth: usize) -> String {
        if ty == "i64" {
            return match self.below(3) {
                0 => format!("(i64.reinterpret_f64 {})", self.expression("f64", depth)),
                1 => format!("(i64x2.extract_lane {} {})", self.below(2), self.expression("v128", depth)),
                _ => format!("(i64.trunc_sat_f64_s {})", self.expression("f64", depth)),
            };
        }
        match self.below(7) {
            0 => format!("(i32.reinterpret_f32 {})", self.expression("f32", depth)),
            1 => format!("(i32x4.extract_lane {} {})", self.below(4), self.expression("v128", depth)),
            2 => format!(
                "({} {})",
                self.pick(&["i32x4.bitmask", "i8x16.bitmask", "v128.any_true", "i64x2.all_true"]),
                self.expression("v128", depth)
            ),
            3 => format!("(i32.trunc_sat_f32_s {})", self.expression("f32", depth)),
            4 => format!(
                "(f32.{} {} {})",
                self.pick(&["eq", "ne", "lt", "ge"]),
                self.expression("f32", depth),
                self.expression("f32", depth)
            ),
            _ => format!(
                "(f64.{} {} {})",
                self.pick(&["eq", "ne", "gt", "le"]),
                self.expression("f64", depth),
                self.expression("f64", depth)
            ),
        }
    }
}

/// Bytes of a function that the profile allows.
const BODY_BYTES: usize = 256 << 10;
/// Unoptimised, and beside other tests.
const LIMIT: Duration = Duration::from_secs(5);

/// A function of that size, of `head`, then `unit` as often as it fits, then `tail`.
fn largest(types: &str, head: &str, unit: &str, tail: &str) -> Vec<u8> {
    let bytes_of = |count: usize| {
        let code = format!("{unit} ").repeat(count);
        wat::parse_str(format!("(module {types} (memory 1) (func {head} {code} {tail}))")).unwrap()
    };
    let unit_bytes = bytes_of(2).len() - bytes_of(1).len();
    bytes_of((BODY_BYTES - bytes_of(0).len()) / unit_bytes)
}

fn check_time(wasm: &[u8], what: &str) {
    let start = Instant::now();
    let rewritten = rewrite(wasm, canonicalise);
    let took = start.elapsed();
    valid(rewritten);
    assert!(took < LIMIT, "{what} took {took:?}");
}

#[test]
fn the_largest_bodies_take_seconds_at_most() {
    let locals = "(local f64)".repeat(900);
    let set_all: String =
        (0..900).map(|local| format!("(local.set {local} (f64.sqrt (local.get {})))", (local * 7) % 900)).collect();
    let get_all: String = (0..900).map(|local| format!("(f64.store (i32.const 0) (local.get {local}))")).collect();
    let many = "f64 ".repeat(900);
    for (what, wasm) in [
        ("arithmetic", largest("", "(param f64) local.get 0", "f64.sqrt", "drop")),
        ("stores", largest("", "(param f64)", "i32.const 0 local.get 0 local.get 0 f64.add f64.store", "")),
        ("blocks", largest("", &locals, "block i32.const 0 br_if 0 f64.const 1 local.get 3 f64.add local.set 2 end", &get_all)),
        ("branches", largest("", &format!("{locals} block {set_all}"), "i32.const 0 br_if 0", &format!("end {get_all}"))),
        ("nests", largest("", &locals, &format!("{} {set_all} {}", "loop ".repeat(200), "end ".repeat(200)), &get_all)),
        (
            "values",
            largest(
                &format!("(type (func (param {many}) (result {many})))"),
                &"f64.const 1 f64.sqrt ".repeat(900),
                "loop (type 0) end",
                &"drop ".repeat(900),
            ),
        ),
        (
            "results",
            largest("", "(param f64)", "block (result f64) local.get 0 f64.sqrt i32.const 0 br_if 0 f64.neg end local.set 0", ""),
        ),
    ] {
        check_time(&wasm, what);
    }
}

/// Where many nested blocks assign many variables, the graph would be large, and the body is canonicalised like by the engine.
#[test]
fn a_body_whose_graph_is_too_large_is_canonicalised_coarsely() {
    let locals = "(local f64)".repeat(200);
    let set_all: String =
        (1..200).map(|local| format!("(local.set {local} (f64.sub (local.get {0}) (local.get {0})))", local - 1)).collect();
    let sum: String = (0..200).map(|local| format!("(f64.store (i32.const {}) (local.get {local}))", local * 8)).collect();
    let (open, close) = ("(block (br_if 0 (i32.load (i32.const 4000)))".repeat(100), ")".repeat(100));
    let wat = format!(
        "(module (memory (export \"memory\") 1) (func (export \"run\") {locals} (local.set 0 (f64.const inf)) {open} {set_all} {close} {sum}))"
    );
    let wasm = wat::parse_str(wat).unwrap();
    rewrite(&wasm, |body, signatures| assert!(super::super::flow::follow(body, signatures).is_none()));
    check(&wasm, "a nest");
}
