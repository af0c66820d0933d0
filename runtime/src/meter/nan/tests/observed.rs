//! Every way to make a NaN, seen in every way, after every way to move it; and what costs nothing.

use super::*;
use crate::meter::body::Step;

/// Operands that NaNs are made of, at fixed addresses so that no compiler folds them: each 16 bytes long, the lanes the same.
const OPERANDS: [(&str, u64, u32); 10] = [
    ("zero", 0, 0),
    ("minus_zero", 1 << 63, 1 << 31),
    ("one", 0x3ff0_0000_0000_0000, 0x3f80_0000),
    ("minus_one", 0xbff0_0000_0000_0000, 0xbf80_0000),
    ("inf", 0x7ff0_0000_0000_0000, 0x7f80_0000),
    ("minus_inf", 0xfff0_0000_0000_0000, 0xff80_0000),
    ("payload", 0x7ff8_0000_dead_beef, 0x7fc0_beef),
    ("minus_payload", 0xfff8_1234_5678_9abc, 0xffc1_2345),
    ("signalling", 0x7ff0_0000_0000_0001, 0x7f80_0001),
    ("minus_signalling", 0xfff0_0000_4000_0001, 0xff80_4001),
];

/// Where the operands of 64-bit lanes lie, then those of 32-bit lanes.
const OPERANDS_64: usize = 0;
const OPERANDS_32: usize = 256;
/// Conditions that no compiler folds.
const TRUE: &str = "(i32.load (i32.const 512))";
const FALSE: &str = "(i32.load (i32.const 516))";
/// Where stores go: each function has room of its own.
const ROOM: usize = 1024;
/// Functions of one module: so many rooms fit into its page of memory.
const FUNCTIONS_MAX: usize = 2048;

/// A type of values under test.
struct Subject {
    ty: &'static str,
    /// The prefix of its arithmetic.
    shape: &'static str,
    lanes: u32,
}

const SUBJECTS: [Subject; 4] = [
    Subject { ty: "f32", shape: "f32", lanes: 32 },
    Subject { ty: "f64", shape: "f64", lanes: 64 },
    Subject { ty: "v128", shape: "f32x4", lanes: 32 },
    Subject { ty: "v128", shape: "f64x2", lanes: 64 },
];

impl Subject {
    fn operand(&self, name: &str) -> String {
        let index = OPERANDS.iter().position(|(known, ..)| *known == name).unwrap();
        let base = if self.lanes == 64 { OPERANDS_64 } else { OPERANDS_32 };
        format!("({}.load (i32.const {}))", self.ty, base + index * 16)
    }

    /// Expressions that make NaNs, or carry one from memory.
    fn makers(&self) -> Vec<String> {
        let shape = self.shape;
        let mut makers = Vec::new();
        for (op, a, b) in [
            ("div", "zero", "zero"),
            ("div", "inf", "minus_inf"),
            ("sub", "inf", "inf"),
            ("add", "inf", "minus_inf"),
            ("mul", "minus_zero", "inf"),
            ("div", "one", "minus_one"),
        ] {
            makers.push(format!("({shape}.{op} {} {})", self.operand(a), self.operand(b)));
        }
        for payload in ["payload", "minus_payload", "signalling", "minus_signalling"] {
            let nan = self.operand(payload);
            makers.push(nan.clone());
            for op in ["sqrt", "ceil", "floor", "trunc", "nearest"] {
                makers.push(format!("({shape}.{op} {nan})"));
            }
            for op in ["add", "sub", "mul", "div", "min", "max"] {
                makers.push(format!("({shape}.{op} {nan} {})", self.operand("one")));
                makers.push(format!("({shape}.{op} {} {nan})", self.operand("minus_one")));
            }
        }
        makers.push(format!("({shape}.sqrt {})", self.operand("minus_one")));
        makers.push(format!("({shape}.min {} {})", self.operand("payload"), self.operand("minus_payload")));
        makers.extend(self.converters());
        if self.ty == "v128" {
            let (one, nan) = (self.operand("one"), format!("({shape}.sub {0} {0})", self.operand("inf")));
            makers.push(format!("({shape}.pmin {nan} {one})"));
            makers.push(format!("({shape}.pmax {one} {nan})"));
            let lane = format!("({shape}.extract_lane 1 {nan})");
            makers.push(format!("({shape}.replace_lane 1 {} {lane})", self.operand("payload")));
            makers.push(format!("({shape}.splat {lane})"));
        }
        makers
    }

    /// Conversions from the other size of float.
    fn converters(&self) -> Vec<String> {
        let other = &SUBJECTS[match self.shape {
            "f32" => 1,
            "f64" => 0,
            "f32x4" => 3,
            _ => 2,
        }];
        let op = match self.shape {
            "f32" => "f32.demote_f64",
            "f64" => "f64.promote_f32",
            "f32x4" => "f32x4.demote_f64x2_zero",
            _ => "f64x2.promote_low_f32x4",
        };
        ["payload", "minus_payload", "signalling", "one"].map(|name| format!("({op} {})", other.operand(name))).to_vec()
    }

    /// Ways to move a value: `X` is the value, `T` its type, `P` another value that is loaded and `A` another that is computed.
    fn movers(&self) -> Vec<&'static str> {
        let mut movers = vec![
            "X",
            "(local.set $a X) (local.get $a)",
            "(local.set $a P) (local.set $a X) (local.get $a)",
            "(local.tee $a X)",
            "(select X P TRUE)",
            "(select P X TRUE)",
            "(select X P (i32.eqz TRUE))",
            "(select P X (i32.eqz TRUE))",
            "(select (result T) A X TRUE)",
            "(if (result T) TRUE (then P) (else X))",
            "(if (result T) TRUE (then X) (else P))",
            "(local.set $a P) (if TRUE (then (local.set $a X))) (local.get $a)",
            "(local.set $a X) (if TRUE (then (local.set $a P))) (local.get $a)",
            "(local.set $a X) (if FALSE (then (local.set $a P))) (local.get $a)",
            "(local.set $a X) (if FALSE (then (local.set $a P)) (else (local.set $b P))) (local.get $a)",
            "(block $out (result T) (br_if $out X TRUE) (drop) P)",
            "(block $out (result T) (br_if $out P FALSE) (drop) X)",
            "(block $out (local.set $a X) (br_if $out FALSE) (local.set $a P)) (local.get $a)",
            "(block $out (local.set $a X) (br_if $out TRUE) (local.set $a P)) (local.get $a)",
            "(block $0 (result T) (block $1 (result T) (br_table $0 $1 $0 X TRUE)) (drop) P)",
            "(block $0 (local.set $a P) (block $1 (local.set $a X) (br_table $0 $1 TRUE)) (local.set $a A)) (local.get $a)",
            "(loop $l (result T) X)",
            // The loop turns twice, and the second turn sees what the first left. One loop may be in another, with the same counter.
            "(local.set $a P) (local.set $i (i32.const 2)) (loop $l (local.set $b (local.get $a)) (local.set $a X) \
             (br_if $l (i32.gt_s (local.tee $i (i32.sub (local.get $i) (i32.const 1))) (i32.const 0)))) (local.get $b)",
            "(local.set $a P) (local.set $i (i32.const 2)) (loop $l (local.set $b (local.get $a)) (local.set $a X) \
             (br_if $l (i32.gt_s (local.tee $i (i32.sub (local.get $i) (i32.const 1))) (i32.const 0)))) (local.get $a)",
            "(local.set $i (i32.const 3)) (loop $l (global.set $G (local.get $a)) (local.set $a X) \
             (br_if $l (i32.gt_s (local.tee $i (i32.sub (local.get $i) (i32.const 1))) (i32.const 0)))) (local.get $a)",
            "(local.set $i (i32.const 2)) P (loop $l (param T) (result T) (local.set $a) (local.get $a) (global.set $G) X \
             (br_if $l (i32.gt_s (local.tee $i (i32.sub (local.get $i) (i32.const 1))) (i32.const 0))) (drop) (local.get $a))",
            "X P A (block (param T T T) (result T T) (drop) (br_if 0 FALSE)) (drop)",
            "P X (block (param T T) (result T T) (br_if 0 TRUE)) (drop)",
            "X P (if (param T T) (result T T) FALSE (then (local.set $a) (drop) (local.get $a) (local.get $a))) (drop)",
            "X P (if (param T T) (result T T) TRUE (then (local.set $a) (drop) (local.get $a) A)) (drop)",
            "(call $same X)",
            "(call $second P X)",
            "(call $second A X)",
            "(call_indirect (type $same) X (i32.const 0))",
            "(call $host X) (local.get $a)",
            "(global.set $G X) (global.get $G)",
            "(call $leave X)",
            "(SHAPE.neg X)",
            "(SHAPE.neg (SHAPE.neg X))",
            "(SHAPE.abs X)",
            "(SHAPE.abs (SHAPE.neg X))",
            "(SHAPE.neg (SHAPE.abs X))",
        ];
        if self.ty == "v128" {
            movers.extend([
                "(i8x16.shuffle 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 X P)",
                "(i8x16.shuffle 8 9 10 11 4 5 6 7 16 17 18 19 28 29 30 31 X X)",
                "(i8x16.shuffle 4 5 6 7 12 13 14 15 16 17 18 19 24 25 26 27 X P)",
                "(i8x16.shuffle 1 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 X P)",
                "(i8x16.swizzle X (v128.const i8x16 3 2 1 0 7 6 5 4 15 15 15 15 8 8 9 9))",
                "(i8x16.swizzle P X)",
                "(f32x4.replace_lane 2 X (f32x4.extract_lane 3 P))",
                "(f64x2.replace_lane 1 P (f64x2.extract_lane 0 X))",
                "(f64x2.replace_lane 0 X (f64x2.extract_lane 0 P))",
                "(f32x4.splat (f32x4.extract_lane 1 X))",
                "(f64x2.splat (f64x2.extract_lane 1 X))",
                "(i32x4.replace_lane 0 X (i32.const 7))",
                "(v128.load8_lane 5 (i32.const 0) X)",
                "(v128.load32_lane 1 (i32.const 96) X)",
                "(v128.load64_lane 1 (i32.const 96) X)",
                "(f32x4.add X (v128.const i32x4 0 0 0 0))",
                "(f64x2.add X (v128.const i32x4 0 0 0 0))",
                "(f32x4.pmax X P)",
                "(f64x2.pmin P X)",
                "(f32x4.neg X)",
                "(f64x2.abs X)",
            ]);
        } else {
            movers.extend(["(SHAPE.copysign X P)", "(SHAPE.copysign P X)", "(SHAPE.copysign X A)", "(SHAPE.copysign X X)"]);
        }
        movers
    }

    /// Ways to look at a value.
    fn observers(&self) -> Vec<&'static str> {
        let mut observers =
            vec!["(T.store (i32.const ROOM) X)", "(global.set $G X) (call $host (global.get $G))", "(call $host X)"];
        observers.extend(match self.shape {
            "f32" => &["(i32.store (i32.const ROOM) (i32.reinterpret_f32 X))", "(f32.store (i32.const ROOM) (f32.neg X))"][..],
            "f64" => &["(i64.store (i32.const ROOM) (i64.reinterpret_f64 X))", "(f64.store (i32.const ROOM) (f64.neg X))"],
            _ => &[
                "(v128.store (i32.const ROOM) (v128.not X))",
                "(v128.store (i32.const ROOM) (v128.bitselect X P (v128.const i64x2 -1 0)))",
                "(v128.store (i32.const ROOM) (i64x2.add X X))",
                "(v128.store16_lane 3 (i32.const ROOM) X)",
                "(v128.store64_lane 1 (i32.const ROOM) X)",
                "(i32.store (i32.const ROOM) (i8x16.bitmask X))",
                "(i64.store (i32.const ROOM) (i64x2.extract_lane 1 X))",
                "(f32.store (i32.const ROOM) (f32x4.extract_lane 1 X))",
                "(f64.store (i32.const ROOM) (f64x2.extract_lane 0 X))",
                "(i32.store (i32.const ROOM) (v128.any_true (i64x2.shr_s X (i32.const 1))))",
                "(v128.store (i32.const ROOM) (i32x4.trunc_sat_f32x4_s X))",
                "(v128.store (i32.const ROOM) (f64x2.eq X P))",
            ],
        });
        observers
    }

    /// A module with a function for each of `bodies`.
    fn module(&self, bodies: &[String]) -> Vec<u8> {
        let ty = self.ty;
        let mut functions = String::new();
        for (i, body) in bodies.iter().enumerate() {
            let body = body.replace("ROOM", &(ROOM + i * 16).to_string());
            functions += &format!("(func (export \"{i}\") (local $a {ty}) (local $b {ty}) (local $i i32) {body})\n");
        }
        let wat = format!(
            "(module
               (type $same (func (param {ty}) (result {ty})))
               {}
               (table 1 1 funcref) (elem (i32.const 0) $same)
               (memory (export \"memory\") 1)
               (global $G (export \"G\") (mut {ty}) ({}))
               {}
               (func $same (type $same) (local.get 0))
               (func $second (param {ty} {ty}) (result {ty}) (local.get 1))
               (func $leave (param {ty}) (result {ty}) (return ({}.mul (local.get 0) (local.get 0))))
               {}
               {functions})",
            self.host(),
            if ty == "v128" { "v128.const i64x2 0 0".to_owned() } else { format!("{ty}.const 0") },
            data(),
            self.shape,
            self.host_wrapper(),
        );
        wat::parse_str(&wat).unwrap_or_else(|error| panic!("{error}\n{wat}"))
    }

    /// The host takes scalars as they are. Vectors go by their halves, as hosts see no vectors in core APIs of every engine.
    fn host(&self) -> String {
        let params = if self.ty == "v128" { "i64 i64" } else { self.ty };
        format!("(import \"env\" \"see\" (func $see (param {params})))")
    }

    fn host_wrapper(&self) -> String {
        let ty = self.ty;
        let pass = match ty {
            "v128" => "(call $see (i64x2.extract_lane 0 (local.get 0)) (i64x2.extract_lane 1 (local.get 0)))",
            _ => "(call $see (local.get 0))",
        };
        format!("(func $host (param {ty}) {pass})")
    }

    /// Fills in the blanks of a pattern.
    fn fill(&self, pattern: &str, x: &str) -> String {
        let computed = format!("({0}.div {1} {1})", self.shape, self.operand("minus_zero"));
        let payload = self.operand("minus_payload");
        let mut filled = String::new();
        for word in words(pattern) {
            filled += match word {
                "X" => x,
                "P" => &payload,
                "A" => &computed,
                "T" => self.ty,
                "SHAPE" => self.shape,
                "TRUE" => TRUE,
                "FALSE" => FALSE,
                other => other,
            };
        }
        filled
    }
}

/// Words, and what is between them.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '$';
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = is_word(rest.chars().next()?);
        let end = rest.find(|c| is_word(c) != first).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        rest = after;
        Some(word)
    })
}

fn data() -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("\\{byte:02x}")).collect::<String>();
    let mut data = "(data (i32.const 512) \"\\01\")".to_owned();
    for (i, (_, bits_64, bits_32)) in OPERANDS.iter().enumerate() {
        let (lanes_64, lanes_32) = (bits_64.to_le_bytes().repeat(2), bits_32.to_le_bytes().repeat(4));
        data += &format!("(data (i32.const {}) \"{}\")", OPERANDS_64 + i * 16, hex(&lanes_64));
        data += &format!("(data (i32.const {}) \"{}\")", OPERANDS_32 + i * 16, hex(&lanes_32));
    }
    data
}

/// Looks at values in functions of their own, and compares all that can be seen.
fn check_all(subject: &Subject, bodies: &[String]) {
    for bodies in bodies.chunks(FUNCTIONS_MAX) {
        check(&subject.module(bodies), subject.shape);
    }
}

#[test]
fn every_nan_looks_the_same_to_every_observer() {
    for subject in &SUBJECTS {
        let mut bodies = Vec::new();
        for observer in subject.observers() {
            bodies.extend(subject.makers().iter().map(|maker| subject.fill(observer, maker)));
        }
        check_all(subject, &bodies);
    }
}

#[test]
fn every_move_keeps_computed_and_loaded_nans_apart() {
    for subject in &SUBJECTS {
        let computed = ["(SHAPE.sub (SHAPE.neg P) P)", "(SHAPE.sqrt P)", "(SHAPE.add P P)"].map(|maker| subject.fill(maker, ""));
        let loaded = ["payload", "signalling"].map(|name| subject.operand(name));
        let observer = format!("({}.store (i32.const ROOM) X)", subject.ty);
        let mut bodies = Vec::new();
        for mover in subject.movers() {
            bodies.extend(computed.iter().chain(&loaded).map(|x| subject.fill(&observer, &subject.fill(mover, x))));
        }
        check_all(subject, &bodies);
    }
}

/// Each pair of moves, spread over the types of values.
#[test]
fn two_moves_keep_computed_and_loaded_nans_apart() {
    for (offset, subject) in SUBJECTS.iter().enumerate() {
        let computed = subject.fill("(SHAPE.sqrt P)", "");
        let observer = format!("({}.store (i32.const ROOM) X)", subject.ty);
        let mut bodies = Vec::new();
        for (i, first) in subject.movers().iter().enumerate() {
            let moved = subject.fill(first, &computed);
            let seconds = subject.movers().into_iter().skip((i + offset) % SUBJECTS.len()).step_by(SUBJECTS.len());
            bodies.extend(seconds.map(|second| subject.fill(&observer, &subject.fill(second, &moved))));
        }
        check_all(subject, &bodies);
    }
}

/// Else the tests above would show nothing.
#[test]
fn without_the_pass_machines_differ() {
    let subject = &SUBJECTS[1];
    let bodies: Vec<String> = subject.makers().iter().map(|maker| subject.fill("(T.store (i32.const ROOM) X)", maker)).collect();
    let module = subject.module(&bodies);
    assert_ne!(observe(&REFERENCE, &module).memory, observe(&PLAIN, &module).memory);
}

/// How many canonicalisations are inserted into a function with these locals and instructions.
fn cost(code: &str) -> usize {
    let wat = format!("(module (memory 1) (func $same (param f64) (result f64) local.get 0) {code})");
    let mut count = 0;
    rewrite(&wat::parse_str(&wat).unwrap(), |body, signatures| {
        count += super::super::flow::follow(body, signatures).unwrap().solve().len();
    });
    count
}

#[test]
fn arithmetic_that_nobody_looks_at_is_left_alone() {
    let loop_around = |code: &str| {
        format!(
            "(func (param $x f64) (result i32) (loop $l {code} (br_if $l (f64.lt (local.get $x) (f64.const 4)))) (i32.trunc_sat_f64_s (local.get $x)))"
        )
    };
    // A parameter may be a NaN with a payload, but only arithmetic reads the variable.
    assert_eq!(cost(&loop_around("(local.set $x (f64.add (f64.mul (local.get $x) (local.get $x)) (f64.const 1)))")), 0);
    assert_eq!(cost(&loop_around("(local.set $x (f64.neg (f64.mul (local.get $x) (local.get $x))))")), 0);
    assert_eq!(cost(&loop_around("(local.set $x (select (f64.sqrt (local.get $x)) (local.get $x) (i32.const 1)))")), 0);
}

#[test]
fn a_sum_is_canonicalised_once_behind_its_loop() {
    let code = "(func (param $n i32) (local $sum f64)
        (loop $l (local.set $sum (f64.add (local.get $sum) (f64.load (local.get $n))))
                 (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 8)))))
        (f64.store (i32.const 0) (local.get $sum)))";
    assert_eq!(cost(code), 1);
}

#[test]
fn a_value_that_is_seen_in_a_loop_is_canonicalised_before_it() {
    let mut loops = Vec::new();
    let code = "(func (param $n i32) (param $x f64) (local $root f64)
        (local.set $root (f64.sqrt (local.get $x)))
        (loop $l (f64.store (local.get $n) (local.get $root))
                 (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 8))))))";
    rewrite(&wat::parse_str(format!("(module (memory 1) {code})")).unwrap(), |body, signatures| {
        canonicalise(body, signatures);
        let at = |wanted: fn(&Step<'_>) -> bool| body.steps.iter().position(wanted);
        let mend = at(|step| step.mend.is_some()).unwrap();
        let start = at(|step| matches!(step.op, wasmparser::Operator::Loop { .. })).unwrap();
        loops.push(mend < start);
    });
    assert_eq!(loops, [true]);
}

#[test]
fn a_loaded_value_that_is_stored_is_left_alone() {
    assert_eq!(cost("(func (f64.store (i32.const 0) (f64.load (i32.const 8))))"), 0);
    assert_eq!(cost("(func (f64.store (i32.const 0) (call $same (f64.load (i32.const 8)))))"), 0);
    assert_eq!(cost("(func (f64.store (i32.const 0) (f64.convert_i32_s (i32.const 8))))"), 0);
}

/// Whole lanes may be moved without a look at their bits.
#[test]
fn lanes_that_are_shuffled_between_arithmetic_are_left_alone() {
    let swap = "(i8x16.shuffle 4 5 6 7 0 1 2 3 20 21 22 23 16 17 18 19 (f32x4.sqrt (local.get 0)) (f32x4.sqrt (local.get 0)))";
    assert_eq!(cost(&format!("(func (param v128) (local.set 0 (f32x4.add {swap} {swap})))")), 0);
    assert_ne!(cost(&format!("(func (param v128) (local.set 0 (f64x2.add {swap} {swap})))")), 0);
}
