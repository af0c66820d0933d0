//! A generator of modules whose control and values are closely woven: blocks, loops and ifs that take and leave values, branches of every
//! kind that carry them, calls in circles and through a table, and operators that trap, all over a typed stack.

use std::iter;

use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, DataCountSection, DataSection, ElementSection, Elements, EntityType, ExportKind,
    ExportSection, Function, FunctionSection, GlobalSection, GlobalType, Ieee32, Ieee64, Instruction as I, MemArg, MemorySection,
    MemoryType, Module, RefType, TableSection, TableType, TypeSection, ValType,
};

use crate::oracle::modules::word;

/// The types of values, some of them more often.
const TYPES: [ValType; 9] = [
    ValType::I32,
    ValType::I32,
    ValType::I32,
    ValType::I64,
    ValType::I64,
    ValType::F32,
    ValType::F64,
    ValType::F64,
    ValType::V128,
];
/// Rounds and calls that a call from outside may come to.
const ROUNDS: i32 = 300;
/// The global that counts them down; the others hold a value of each type of [`HELD`].
const LEFT: u32 = 0;
const HELD: [ValType; 5] = [ValType::I32, ValType::I64, ValType::F32, ValType::F64, ValType::V128];
/// Locals of each type that a function has beside its parameters.
const LOCALS_EACH: u32 = 2;
/// Elements of the table at first.
const ELEMENTS: u64 = 6;

type Signature = (Vec<ValType>, Vec<ValType>);

/// What the functions of a module are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Known outside, most of them.
    Known,
    /// Short, and each calls itself.
    Short,
    /// Known to the module alone but for the first two, and called through the table more often than by name.
    Hidden,
}

/// The module that a seed makes.
pub(super) fn module(seed: u64) -> Vec<u8> {
    let mut dice = Dice { seed, at: 0 };
    let count = 2 + dice.below(5) as u32;
    woven(dice, count, Kind::Known)
}

/// The module that a seed makes, of one short function or two that call themselves.
pub(super) fn recursive(seed: u64) -> Vec<u8> {
    let mut dice = Dice { seed, at: 0 };
    let count = 1 + dice.below(2) as u32;
    woven(dice, count, Kind::Short)
}

/// The module that a seed makes, of functions that only the module itself knows, in a table.
pub(super) fn hidden(seed: u64) -> Vec<u8> {
    let mut dice = Dice { seed, at: 0 };
    let count = 4 + dice.below(5) as u32;
    woven(dice, count, Kind::Hidden)
}

fn woven(mut dice: Dice, count: u32, kind: Kind) -> Vec<u8> {
    // Signatures of functions come first, then of blocks as they come.
    let results_max = match kind {
        Kind::Known => 3,
        Kind::Short => 1,
        Kind::Hidden => 1 + usize::from(dice.below(4) == 0),
    };
    let mut types: Vec<Signature> = Vec::new();
    for index in 0..count as usize {
        // Several of a type, so that calls through the table find what they ask for.
        let again = (kind == Kind::Hidden && index > 2 && dice.below(2) == 0).then(|| 2 + dice.below(index - 2));
        types.push(again.map_or_else(|| (dice.types(4), dice.types(results_max)), |again| types[again].clone()));
    }
    let functions = count;
    let (pages_max, elements_max) = (dice.pick(&[None, Some(1), Some(2), Some(4)]), dice.pick(&[None, Some(6), Some(20)]));
    let bodies: Vec<Function> = (0..functions)
        .map(|index| {
            let (params, results) = types[index as usize].clone();
            Weaver::new(&mut dice, &mut types, functions, kind, index, params, results).body()
        })
        .collect();

    let mut section = TypeSection::new();
    for (params, results) in &types {
        section.ty().function(params.iter().copied(), results.iter().copied());
    }
    let mut declared = FunctionSection::new();
    let mut exports = ExportSection::new();
    for index in 0..functions {
        declared.function(index);
        let is_exported = match kind {
            Kind::Hidden => index < 2,
            Kind::Known | Kind::Short => index == 0 || dice.below(3) > 0,
        };
        if is_exported {
            exports.export(&format!("f{index}"), ExportKind::Func, index);
        }
    }
    let mut tables = TableSection::new();
    tables.table(TableType {
        element_type: RefType::FUNCREF,
        table64: false,
        minimum: ELEMENTS,
        maximum: elements_max,
        shared: false,
    });
    let mut memories = MemorySection::new();
    memories.memory(MemoryType { minimum: 1, maximum: pages_max, memory64: false, shared: false, page_size_log2: None });
    let mut globals = GlobalSection::new();
    globals.global(GlobalType { val_type: ValType::I32, mutable: true, shared: false }, &ConstExpr::i32_const(ROUNDS));
    for (at, ty) in HELD.into_iter().enumerate() {
        globals.global(GlobalType { val_type: ty, mutable: true, shared: false }, &zero(ty));
        exports.export(&format!("g{at}"), ExportKind::Global, at as u32 + 1);
    }
    exports.export("memory", ExportKind::Memory, 0);
    if kind != Kind::Hidden {
        exports.export("table", ExportKind::Table, 0);
    }
    let mut elements = ElementSection::new();
    let first = if kind == Kind::Hidden { 2 } else { 0 };
    let some: Vec<u32> = (0..4).map(|_| first + dice.below((functions - first) as usize) as u32).collect();
    elements.active(Some(0), &ConstExpr::i32_const(1), Elements::Functions(some.as_slice().into()));
    elements.passive(Elements::Functions(some.as_slice().into()));
    let mut code = CodeSection::new();
    bodies.iter().for_each(|body| {
        code.function(body);
    });
    let mut data = DataSection::new();
    data.active(0, &ConstExpr::i32_const(0), nans());
    data.passive([1, 2, 3, 4, 5]);

    let mut module = Module::new();
    module.section(&section).section(&declared).section(&tables).section(&memories).section(&globals).section(&exports);
    module.section(&elements).section(&DataCountSection { count: 2 }).section(&code).section(&data);
    let _ = EntityType::Function(0);
    module.finish()
}

fn zero(ty: ValType) -> ConstExpr {
    match ty {
        ValType::I32 => ConstExpr::i32_const(0),
        ValType::I64 => ConstExpr::i64_const(0),
        ValType::F32 => ConstExpr::f32_const(0.0.into()),
        ValType::F64 => ConstExpr::f64_const(0.0.into()),
        _ => ConstExpr::v128_const(0),
    }
}

/// NaNs of every kind, in both sizes, and some numbers.
fn nans() -> Vec<u8> {
    let narrow = [0x7f80_0001, 0xffc0_0000, 0x7fc0_0000, 0xff80_0001, 0x3f80_0000, 0x8000_0000_u32];
    let wide = [0x7ff0 << 48 | 1, 0xfff8 << 48, 0x7ff8 << 48, 0xfff0 << 48 | 7, 0x3ff0 << 48, 1_u64 << 63];
    narrow.iter().flat_map(|word| word.to_le_bytes()).chain(wide.iter().flat_map(|word| word.to_le_bytes())).collect()
}

struct Dice {
    seed: u64,
    at: u64,
}

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.at += 1;
        (word(self.seed, self.at) % limit as u64) as usize
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    fn types(&mut self, most: usize) -> Vec<ValType> {
        let count = self.below(most + 1);
        (0..count).map(|_| self.pick(&TYPES)).collect()
    }

    fn word(&mut self) -> u64 {
        self.at += 1;
        word(self.seed, self.at)
    }
}

/// A label that can be branched to.
struct Label {
    /// What a branch to it brings.
    takes: Vec<ValType>,
}

struct Weaver<'w> {
    dice: &'w mut Dice,
    types: &'w mut Vec<Signature>,
    functions: u32,
    kind: Kind,
    /// Itself, where it is short and calls itself.
    itself: Option<u32>,
    results: Vec<ValType>,
    locals: Vec<ValType>,
    labels: Vec<Label>,
    /// What lies on the stack above the innermost block's bottom.
    stack: Vec<ValType>,
    code: Function,
    /// Statements that may still be written.
    left: usize,
}

impl<'w> Weaver<'w> {
    fn new(
        dice: &'w mut Dice,
        types: &'w mut Vec<Signature>,
        functions: u32,
        kind: Kind,
        index: u32,
        params: Vec<ValType>,
        results: Vec<ValType>,
    ) -> Self {
        let itself = (kind == Kind::Short).then_some(index);
        let each = if itself.is_some() { 1 } else { LOCALS_EACH };
        let declared = HELD.map(|ty| (each, ty));
        let mut locals = params;
        locals.extend(declared.iter().flat_map(|(count, ty)| iter::repeat_n(*ty, *count as usize)));
        let left = 10 + dice.below(150);
        let labels = vec![Label { takes: results.clone() }];
        Self {
            dice,
            types,
            functions,
            kind,
            itself,
            results,
            locals,
            labels,
            stack: Vec::new(),
            code: Function::new(declared),
            left,
        }
    }

    fn body(mut self) -> Function {
        if self.itself.is_some() || self.dice.below(3) > 0 {
            self.count_down();
        }
        let count = if self.itself.is_some() {
            self.left = 2 + self.dice.below(6);
            self.left
        } else {
            6 + self.dice.below(25)
        };
        self.statements(count);
        let results = self.results.clone();
        self.settle(&results);
        self.put(I::End);
        self.code
    }

    fn put(&mut self, instruction: I<'_>) {
        self.code.instruction(&instruction);
    }

    /// Traps, and winds the count up again, where it is over.
    fn count_down(&mut self) {
        let one =
            [I::GlobalGet(LEFT), I::I32Const(1), I::I32Sub, I::GlobalSet(LEFT), I::GlobalGet(LEFT), I::I32Const(0), I::I32LtS];
        one.into_iter().for_each(|instruction| self.put(instruction));
        [I::If(BlockType::Empty), I::I32Const(ROUNDS), I::GlobalSet(LEFT), I::Unreachable, I::End]
            .into_iter()
            .for_each(|instruction| self.put(instruction));
    }

    fn statements(&mut self, count: usize) {
        for _ in 0..count {
            if self.left == 0 {
                return;
            }
            self.left -= 1;
            self.statement();
        }
    }

    fn statement(&mut self) {
        let is_deep = self.labels.len() > 7;
        if self.itself.is_some() && self.dice.below(3) == 0 {
            return self.call();
        }
        match self.dice.below(34) {
            0..=2 => self.push_any(),
            3..=9 => self.operate(),
            10 | 11 => self.keep(),
            12 | 13 => self.store(),
            14 | 15 => self.load(),
            16 if !is_deep => self.block(),
            17..=19 if !is_deep => self.looped(),
            20..=22 if !is_deep => self.choice(),
            23 | 24 => self.branch_if(),
            25 => self.branch(),
            26 => self.branch_table(),
            27 | 28 => self.call(),
            29 => self.bulk(),
            30 => self.table(),
            31 => self.select(),
            32 if self.dice.below(6) == 0 => self.leave(),
            33 => {
                self.push(ValType::I32);
                self.convert();
            }
            _ => self.keep(),
        }
    }

    fn push_any(&mut self) {
        let ty = self.dice.pick(&TYPES);
        self.push(ty);
    }

    /// Pushes a value of a type: a constant, a local, or a global.
    fn push(&mut self, ty: ValType) {
        let of_type: Vec<u32> = (0..self.locals.len() as u32).filter(|at| self.locals[*at as usize] == ty).collect();
        match self.dice.below(8) {
            0..=3 => {
                let local = self.dice.pick(&of_type);
                self.put(I::LocalGet(local));
            }
            4 => {
                let held = HELD.iter().position(|held| *held == ty).unwrap() as u32;
                self.put(I::GlobalGet(held + 1));
            }
            _ => self.constant(ty),
        }
        self.stack.push(ty);
    }

    fn constant(&mut self, ty: ValType) {
        let word = self.dice.word();
        let small = (word >> 8) % 9;
        match ty {
            ValType::I32 => {
                let value = self.dice.pick(&[small as i32, -(small as i32), i32::MIN, i32::MAX, 65_535, 65_536, word as i32]);
                self.put(I::I32Const(value));
            }
            ValType::I64 => {
                let value = self.dice.pick(&[small as i64, -(small as i64), i64::MIN, i64::MAX, 1 << 32, word as i64]);
                self.put(I::I64Const(value));
            }
            ValType::F32 => {
                let bits = self.dice.pick(&[
                    0,
                    1 << 31,
                    0x7f80_0000,
                    0x7fc0_0000,
                    0x7f80_0001,
                    0xffc1_0000,
                    0x3f80_0000,
                    0x4f00_0000,
                    word as u32,
                ]);
                self.put(I::F32Const(Ieee32::new(bits)));
            }
            ValType::F64 => {
                let bits = self.dice.pick(&[
                    0,
                    1 << 63,
                    0x7ff0 << 48,
                    0x7ff8 << 48,
                    0x7ff0 << 48 | 1,
                    0xfff8 << 48 | 3,
                    0x3ff0 << 48,
                    0x41e0 << 48,
                    word,
                ]);
                self.put(I::F64Const(Ieee64::new(bits)));
            }
            _ => {
                let lane =
                    self.dice.pick(&[0, 0x7ff8 << 48, 0x7ff0 << 48 | 1, 0x7f80_0001_ffc0_0000, 0x3f80_0000_3f80_0000, word]);
                self.put(I::V128Const((u128::from(lane) << 64 | u128::from(word)) as i128));
            }
        }
    }

    /// Has values of these types on top of the stack.
    fn need(&mut self, types: &[ValType]) {
        if !self.stack.ends_with(types) || self.dice.below(4) == 0 {
            types.iter().for_each(|ty| self.push(*ty));
        }
    }

    fn pop(&mut self, count: usize) {
        self.stack.truncate(self.stack.len() - count);
    }

    /// Leaves values of these types alone on the stack of this block.
    fn settle(&mut self, types: &[ValType]) {
        if self.stack == types {
            return;
        }
        if self.stack.len() > types.len() && self.stack.ends_with(types) && self.dice.below(2) == 0 {
            // Through locals, where there are enough.
            let kept: Vec<u32> = types.iter().rev().map(|ty| self.local(*ty)).collect();
            kept.iter().for_each(|local| self.put(I::LocalSet(*local)));
            self.pop(types.len());
            (0..self.stack.len()).for_each(|_| self.put(I::Drop));
            kept.iter().rev().for_each(|local| self.put(I::LocalGet(*local)));
        } else {
            (0..self.stack.len()).for_each(|_| self.put(I::Drop));
            self.stack.clear();
            types.iter().for_each(|ty| self.push(*ty));
        }
        self.stack = types.to_vec();
    }

    fn local(&mut self, ty: ValType) -> u32 {
        let of_type: Vec<u32> = (0..self.locals.len() as u32).filter(|at| self.locals[*at as usize] == ty).collect();
        self.dice.pick(&of_type)
    }

    /// Puts the top of the stack where it can be seen.
    fn keep(&mut self) {
        if self.stack.is_empty() {
            self.push_any();
        }
        let ty = *self.stack.last().unwrap();
        match self.dice.below(6) {
            0 => {
                self.put(I::Drop);
                self.pop(1);
            }
            1 => {
                let held = HELD.iter().position(|held| *held == ty).unwrap() as u32;
                self.put(I::GlobalSet(held + 1));
                self.pop(1);
            }
            2 => {
                let local = self.local(ty);
                self.put(I::LocalTee(local));
            }
            _ => {
                let local = self.local(ty);
                self.put(I::LocalSet(local));
                self.pop(1);
            }
        }
    }

    fn operate(&mut self) {
        use ValType::{F32, F64, I32, I64, V128};
        let (takes, gives, instruction): (&[ValType], &[ValType], I<'static>) = self.dice.pick(&[
            (&[I32, I32][..], &[I32][..], I::I32Add),
            (&[I32, I32], &[I32], I::I32Sub),
            (&[I32, I32], &[I32], I::I32Mul),
            (&[I32, I32], &[I32], I::I32DivS),
            (&[I32, I32], &[I32], I::I32RemU),
            (&[I32, I32], &[I32], I::I32And),
            (&[I32, I32], &[I32], I::I32Xor),
            (&[I32, I32], &[I32], I::I32Rotl),
            (&[I32, I32], &[I32], I::I32LtU),
            (&[I32], &[I32], I::I32Eqz),
            (&[I32], &[I32], I::I32Popcnt),
            (&[I32], &[I32], I::I32Extend8S),
            (&[I64, I64], &[I64], I::I64Add),
            (&[I64, I64], &[I64], I::I64Mul),
            (&[I64, I64], &[I64], I::I64DivU),
            (&[I64, I64], &[I64], I::I64RemS),
            (&[I64, I64], &[I64], I::I64ShrS),
            (&[I64, I64], &[I32], I::I64GeS),
            (&[I64, I64], &[I64, I64], I::I64MulWideU),
            (&[I64, I64], &[I64, I64], I::I64MulWideS),
            (&[I64, I64, I64, I64], &[I64, I64], I::I64Add128),
            (&[I64, I64, I64, I64], &[I64, I64], I::I64Sub128),
            (&[F32, F32], &[F32], I::F32Add),
            (&[F32, F32], &[F32], I::F32Div),
            (&[F32, F32], &[F32], I::F32Max),
            (&[F32, F32], &[F32], I::F32Copysign),
            (&[F32], &[F32], I::F32Neg),
            (&[F32], &[F32], I::F32Nearest),
            (&[F32, F32], &[I32], I::F32Le),
            (&[F64, F64], &[F64], I::F64Sub),
            (&[F64, F64], &[F64], I::F64Mul),
            (&[F64, F64], &[F64], I::F64Min),
            (&[F64, F64], &[F64], I::F64Copysign),
            (&[F64], &[F64], I::F64Sqrt),
            (&[F64], &[F64], I::F64Abs),
            (&[F64], &[F64], I::F64Floor),
            (&[F64, F64], &[I32], I::F64Gt),
            (&[V128, V128], &[V128], I::F64x2Add),
            (&[V128, V128], &[V128], I::F64x2Div),
            (&[V128, V128], &[V128], I::F32x4Mul),
            (&[V128, V128], &[V128], I::F32x4Min),
            (&[V128, V128], &[V128], I::F64x2PMax),
            (&[V128], &[V128], I::F32x4Sqrt),
            (&[V128], &[V128], I::F64x2Neg),
            (&[V128], &[V128], I::F32x4Abs),
            (&[V128, V128], &[V128], I::I64x2Add),
            (&[V128, V128], &[V128], I::I8x16SubSatU),
            (&[V128, V128], &[V128], I::V128AndNot),
            (&[V128, V128, V128], &[V128], I::V128Bitselect),
            (&[V128, V128], &[V128], I::I8x16Swizzle),
            (&[V128, V128], &[V128], I::I8x16Shuffle([0, 1, 2, 3, 20, 21, 22, 23, 8, 9, 10, 11, 28, 29, 30, 31])),
            (&[V128, V128], &[V128], I::I8x16Shuffle([7, 6, 5, 4, 3, 2, 1, 0, 24, 25, 26, 27, 28, 29, 30, 31])),
            (&[V128, I32], &[V128], I::I16x8ShrU),
            (&[V128], &[I32], I::I8x16Bitmask),
            (&[V128], &[I32], I::V128AnyTrue),
            (&[V128, F64], &[V128], I::F64x2ReplaceLane(1)),
            (&[V128, F32], &[V128], I::F32x4ReplaceLane(2)),
            (&[V128], &[F64], I::F64x2ExtractLane(0)),
            (&[V128], &[F32], I::F32x4ExtractLane(3)),
            (&[V128], &[I64], I::I64x2ExtractLane(1)),
            (&[F64], &[V128], I::F64x2Splat),
            (&[F32], &[V128], I::F32x4Splat),
            (&[I64], &[V128], I::I64x2Splat),
            (&[V128], &[V128], I::F64x2PromoteLowF32x4),
            (&[V128], &[V128], I::F32x4DemoteF64x2Zero),
            (&[V128], &[V128], I::I32x4TruncSatF32x4S),
            (&[V128], &[V128], I::F32x4Ceil),
        ]);
        self.need(takes);
        self.put(instruction);
        self.pop(takes.len());
        self.stack.extend(gives);
    }

    fn convert(&mut self) {
        use ValType::{F32, F64, I32, I64};
        let (takes, gives, instruction): (ValType, ValType, I<'static>) = self.dice.pick(&[
            (I32, I64, I::I64ExtendI32S),
            (I64, I32, I::I32WrapI64),
            (F32, I32, I::I32TruncF32S),
            (F64, I64, I::I64TruncF64U),
            (F64, I32, I::I32TruncSatF64U),
            (F32, I64, I::I64TruncSatF32S),
            (F64, F32, I::F32DemoteF64),
            (F32, F64, I::F64PromoteF32),
            (I64, F64, I::F64ConvertI64U),
            (I32, F32, I::F32ConvertI32S),
            (F64, I64, I::I64ReinterpretF64),
            (F32, I32, I::I32ReinterpretF32),
            (I64, F64, I::F64ReinterpretI64),
            (I32, F32, I::F32ReinterpretI32),
        ]);
        self.need(&[takes]);
        self.put(instruction);
        self.pop(1);
        self.stack.push(gives);
    }

    /// Makes the address on top of the stack one that is mostly within memory.
    fn bound_address(&mut self) -> MemArg {
        if self.dice.below(12) > 0 {
            let mask = self.dice.pick(&[0xf8, 0xff, 0x1fff]);
            self.put(I::I32Const(mask));
            self.put(I::I32And);
        }
        let offset = self.dice.pick(&[0, 0, 0, 8, 24, 300, 65_520, 65_536, 0x8000_0000, 0xffff_fff0]);
        let offset = if self.dice.below(8) > 0 { offset % 65_000 } else { offset };
        MemArg { offset, align: 0, memory_index: 0 }
    }

    fn load(&mut self) {
        self.need(&[ValType::I32]);
        let at = self.bound_address();
        let (ty, instruction) = self.dice.pick(&[
            (ValType::I32, I::I32Load(at)),
            (ValType::I32, I::I32Load16S(at)),
            (ValType::I64, I::I64Load(at)),
            (ValType::I64, I::I64Load32U(at)),
            (ValType::F32, I::F32Load(at)),
            (ValType::F64, I::F64Load(at)),
            (ValType::V128, I::V128Load(at)),
            (ValType::V128, I::V128Load32Splat(at)),
            (ValType::V128, I::V128Load16x4S(at)),
        ]);
        self.put(instruction);
        self.pop(1);
        self.stack.push(ty);
    }

    fn store(&mut self) {
        self.need(&[ValType::I32]);
        let at = self.bound_address();
        let (ty, instruction) = self.dice.pick(&[
            (ValType::I32, I::I32Store(at)),
            (ValType::I32, I::I32Store8(at)),
            (ValType::I64, I::I64Store(at)),
            (ValType::F32, I::F32Store(at)),
            (ValType::F64, I::F64Store(at)),
            (ValType::V128, I::V128Store(at)),
            (ValType::V128, I::V128Store64Lane { memarg: at, lane: 1 }),
        ]);
        self.push(ty);
        self.put(instruction);
        self.pop(2);
    }

    /// A block's type that takes some of what lies on top of the stack.
    fn signature(&mut self) -> Signature {
        let takes = self.dice.below(self.stack.len().min(3) + 1);
        let params = self.stack[self.stack.len() - takes..].to_vec();
        (params, self.dice.types(3))
    }

    fn block_type(&mut self, signature: &Signature) -> BlockType {
        match signature {
            (params, results) if params.is_empty() && results.is_empty() => BlockType::Empty,
            (params, results) if params.is_empty() && results.len() == 1 && self.dice.below(2) == 0 => {
                BlockType::Result(results[0])
            }
            signature => {
                let known = self.types.iter().position(|known| known == signature);
                let index = known.unwrap_or_else(|| {
                    self.types.push(signature.clone());
                    self.types.len() - 1
                });
                BlockType::FunctionType(index as u32)
            }
        }
    }

    /// Writes what is within a block whose first instruction is written.
    fn within(&mut self, (params, results): &Signature, takes: &[ValType]) {
        self.labels.push(Label { takes: takes.to_vec() });
        let outer = std::mem::replace(&mut self.stack, params.clone());
        let count = 1 + self.dice.below(9);
        self.statements(count);
        self.settle(results);
        self.labels.pop();
        self.stack = outer;
    }

    fn block(&mut self) {
        let signature = self.signature();
        let ty = self.block_type(&signature);
        self.pop(signature.0.len());
        self.put(I::Block(ty));
        self.within(&signature, &signature.1);
        self.put(I::End);
        self.stack.extend(&signature.1);
    }

    fn looped(&mut self) {
        let signature = self.signature();
        let ty = self.block_type(&signature);
        self.pop(signature.0.len());
        self.put(I::Loop(ty));
        self.count_down();
        self.within(&signature, &signature.0);
        self.put(I::End);
        self.stack.extend(&signature.1);
    }

    fn choice(&mut self) {
        self.need(&[ValType::I32]);
        self.pop(1);
        let mut signature = self.signature();
        let has_else = self.dice.below(3) > 0;
        if !has_else {
            signature.1.clone_from(&signature.0);
        }
        let ty = self.block_type(&signature);
        self.pop(signature.0.len());
        self.put(I::If(ty));
        self.within(&signature, &signature.1);
        if has_else {
            self.put(I::Else);
            self.within(&signature, &signature.1);
        }
        self.put(I::End);
        self.stack.extend(&signature.1);
    }

    fn some_label(&mut self) -> (u32, Vec<ValType>) {
        let depth = self.dice.below(self.labels.len());
        (depth as u32, self.labels[self.labels.len() - 1 - depth].takes.clone())
    }

    fn branch_if(&mut self) {
        let (depth, takes) = self.some_label();
        self.need(&takes);
        self.push(ValType::I32);
        self.pop(1);
        self.put(I::BrIf(depth));
    }

    fn branch(&mut self) {
        let (depth, takes) = self.some_label();
        self.need(&takes);
        // Rarely without a condition, so that something comes after it.
        if self.dice.below(3) > 0 {
            self.push(ValType::I32);
            self.pop(1);
            self.put(I::BrIf(depth));
        } else {
            self.put(I::Br(depth));
            self.stack.clear();
        }
    }

    fn branch_table(&mut self) {
        let (default, takes) = self.some_label();
        let alike: Vec<u32> = (0..self.labels.len())
            .filter(|depth| self.labels[self.labels.len() - 1 - depth].takes == takes)
            .map(|depth| depth as u32)
            .collect();
        let count = self.dice.below(6);
        let targets: Vec<u32> = (0..count).map(|_| self.dice.pick(&alike)).collect();
        self.need(&takes);
        self.push(ValType::I32);
        if self.dice.below(2) == 0 {
            self.put(I::I32Const(3));
            self.put(I::I32And);
        }
        self.put(I::BrTable(targets.into(), default));
        self.stack.clear();
    }

    fn leave(&mut self) {
        if self.dice.below(2) == 0 {
            let results = self.results.clone();
            self.need(&results);
            self.put(I::Return);
        } else {
            self.put(I::Unreachable);
        }
        self.stack.clear();
    }

    fn call(&mut self) {
        let any = self.dice.below(self.functions as usize) as u32;
        let callee = self.itself.filter(|_| self.dice.below(8) > 0).unwrap_or(any);
        let (params, results) = self.types[callee as usize].clone();
        self.need(&params);
        self.pop(params.len());
        // Each call counts, so that none goes on for ever.
        if self.itself.is_none() {
            self.count_down();
        }
        let by_table = match self.kind {
            Kind::Known => self.dice.below(4) == 0,
            Kind::Short => self.dice.below(16) == 0,
            Kind::Hidden => self.dice.below(4) > 0,
        };
        if by_table {
            self.push(ValType::I32);
            self.put(I::I32Const(7));
            self.put(I::I32And);
            self.pop(1);
            self.put(I::CallIndirect { type_index: callee, table_index: 0 });
        } else {
            self.put(I::Call(callee));
        }
        self.stack.extend(&results);
    }

    fn bulk(&mut self) {
        for _ in 0..3 {
            self.push(ValType::I32);
            let mask = self.dice.pick(&[0x7f, 0xfff, 0x1_ffff]);
            self.put(I::I32Const(mask));
            self.put(I::I32And);
        }
        self.pop(3);
        let instruction = self.dice.pick(&[
            I::MemoryFill(0),
            I::MemoryCopy { src_mem: 0, dst_mem: 0 },
            I::MemoryInit { mem: 0, data_index: 1 },
        ]);
        self.put(instruction);
        if self.dice.below(8) == 0 {
            self.put(I::DataDrop(1));
        }
    }

    fn table(&mut self) {
        let small = |weaver: &mut Self| {
            weaver.push(ValType::I32);
            weaver.put(I::I32Const(7));
            weaver.put(I::I32And);
            weaver.pop(1);
        };
        match self.dice.below(6) {
            0 => {
                self.push(ValType::I32);
                self.put(I::I32Const(1));
                self.put(I::I32And);
                self.put(I::MemoryGrow(0));
            }
            1 => {
                small(self);
                self.put(I::TableGet(0));
                self.put(I::RefIsNull);
                self.stack.push(ValType::I32);
            }
            2 => {
                small(self);
                self.put(I::I32Const(1));
                self.put(I::TableGet(0));
                self.put(I::TableSet(0));
            }
            3 => {
                self.put(I::I32Const(2));
                self.put(I::TableGet(0));
                small(self);
                self.put(I::TableGrow(0));
                self.stack.push(ValType::I32);
            }
            4 => {
                (0..3).for_each(|_| small(self));
                let copies = self.dice.below(2) == 0;
                self.put(if copies {
                    I::TableCopy { src_table: 0, dst_table: 0 }
                } else {
                    I::TableInit { elem_index: 1, table: 0 }
                });
            }
            _ => {
                self.put(I::TableSize(0));
                self.put(I::MemorySize(0));
                self.put(I::I32Mul);
                self.stack.push(ValType::I32);
            }
        }
    }

    fn select(&mut self) {
        let ty = self.dice.pick(&TYPES);
        self.need(&[ty, ty]);
        self.push(ValType::I32);
        let instruction = if self.dice.below(2) == 0 { I::Select } else { I::TypedSelect(ty) };
        self.put(instruction);
        self.pop(2);
    }
}
