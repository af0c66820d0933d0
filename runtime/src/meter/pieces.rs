//! Fills and copies of memory are done by functions of the meter's own, but for copies of few bytes whose number is a constant of the module,
//! which the engine does without a call ([`INLINE_BYTES`]).
//!
//! The first pays for the size, looks at the limit, and moves little by loads and stores, because to call the engine for a few bytes takes
//! several times as long. For the rest it calls a second, so that it has no registers to save itself: that one has the engine move all, but
//! much in pieces of [`PIECE_BYTES`], between which the guest can be stopped, because one fill of all that a memory has would take a tenth
//! of a second. What does not fit into the memory traps before anything is written, as it must: of little the last bytes are written first,
//! and only at addresses with which no sum goes round; of much it is looked at before. (A first store that
//! lies half outside writes nothing on x86-64. AArch64 does not promise that, but nobody reads a guest's memory after a trap.)
//!
//! A trap in one of them is a trap of whoever called the first: what the counter lacks is what it lacks at that call.

use wasm_encoder::{BlockType, Function, Instruction as I, MemArg, ValType};
use wasmparser::Operator;

use super::baseline::Globals;
use super::pending::{Pending, Stop};
use super::weights::{COPIED_BYTE_UNITS, FILLED_BYTE_UNITS};
use super::words::{COUNTER, LIMIT};

/// What is done at once: some hundred microseconds.
pub(super) const PIECE_BYTES: u32 = 1 << 20;
/// What the engine copies by loads and stores of its own, where it knows the size (`raw_bulk_memory_operation`); fills it calls for always.
pub(super) const INLINE_BYTES: u32 = 128;
/// What is moved by loads and stores: two words at either end.
const LITTLE_BYTES: i32 = 32;
/// What a function takes that pays: a target, a value or a source, a size, and a [`due`]. And what the other takes.
pub(super) const TYPES: [&[ValType]; 2] =
    [&[ValType::I32, ValType::I32, ValType::I32, ValType::I64], &[ValType::I32, ValType::I32, ValType::I32]];

const TARGET: u32 = 0;
const SOURCE: u32 = 1;
const SIZE: u32 = 2;
const DUE: u32 = 3;
/// The first of four locals for words on their way.
const WORD: u32 = 4;

/// The functions of the meter's own that a module needs, by their index.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pieces {
    /// The index of the first of their types.
    pub(super) ty: u32,
    /// The one that fills, behind which comes the one that fills much.
    pub(super) fill: Option<u32>,
    /// The one that copies, likewise.
    pub(super) copy: Option<u32>,
}

/// What is to be paid beside the size, and what the counter lacks then, as one argument: a call with one more has it on the stack.
pub(super) fn due(units: i32, lacking: i64) -> i64 {
    lacking << 32 | i64::from(units.cast_unsigned())
}

impl Pieces {
    /// The functions, in the order of their indices. The meter's memory is number `meter`, and the counter is in a global where there are
    /// `globals`.
    pub(super) fn functions(self, meter: u32, globals: Option<Globals>) -> Vec<(Function, Pending)> {
        let write = |words, does: &dyn Fn(&mut Writer)| {
            let mut writer = Writer { code: Function::new([(words, ValType::I64)]), pending: Pending::default(), meter, globals };
            does(&mut writer);
            writer.put(&[I::End]);
            (writer.code, writer.pending)
        };
        let fill = self.fill.map(|index| [write(4, &|writer| writer.fill(index + 1)), write(0, &Writer::fill_much)]);
        let copy = self.copy.map(|index| [write(4, &|writer| writer.copy(index + 1)), write(0, &Writer::copy_much)]);
        fill.into_iter().chain(copy).flatten().collect()
    }

    /// The one that does what an operator does, where that is a fill or a copy of memory.
    pub(super) fn function(self, op: &Operator<'_>) -> Option<u32> {
        match op {
            Operator::MemoryFill { .. } => self.fill,
            Operator::MemoryCopy { .. } => self.copy,
            _ => None,
        }
    }

    /// The types of the functions, in the order of their indices.
    pub(super) fn types(self) -> impl Iterator<Item = u32> {
        [self.fill, self.copy].into_iter().flatten().flat_map(move |_| [self.ty, self.ty + 1])
    }

    /// How many types they need.
    pub(super) fn types_count(self) -> u32 {
        if self.fill.or(self.copy).is_some() { TYPES.len() as u32 } else { 0 }
    }
}

/// A width in which bytes are moved.
#[derive(Clone, Copy)]
enum Width {
    Bytes1,
    Bytes4,
    Bytes8,
}

/// Where so many bytes lie, from the address in a local on.
#[derive(Clone, Copy)]
enum At {
    /// At so many bytes behind its start.
    Start(u64),
    /// At so many bytes before its end.
    End(i32),
    /// In its middle.
    Half,
}

struct Writer {
    code: Function,
    pending: Pending,
    meter: u32,
    globals: Option<Globals>,
}

impl Writer {
    fn fill(&mut self, much: u32) {
        self.pay(FILLED_BYTE_UNITS);
        self.begin_little(&[I::LocalGet(TARGET)]);
        // The value in every byte of a word.
        self.put(&[I::LocalGet(SOURCE), I::I64ExtendI32U, I::I64Const(0xff), I::I64And]);
        self.put(&[I::I64Const(0x0101_0101_0101_0101), I::I64Mul, I::LocalSet(WORD)]);
        self.each_width(|writer, width, places| {
            for at in places {
                writer.store(*at, width, WORD);
            }
        });
        self.end_little(much);
    }

    fn fill_much(&mut self) {
        self.end_nothing();
        self.begin_pieces(&[TARGET]);
        self.put(&[I::Loop(BlockType::Empty)]);
        self.put(&[I::LocalGet(TARGET), I::LocalGet(SOURCE), piece(), I::MemoryFill(0)]);
        self.advance(TARGET);
        self.go_on();
        self.end_pieces();
        self.put(&[I::LocalGet(TARGET), I::LocalGet(SOURCE), I::LocalGet(SIZE), I::MemoryFill(0)]);
    }

    /// Returns where nothing is to be filled, at a place that there is. The C library's way there may wait for a page that nobody has touched.
    fn end_nothing(&mut self) {
        self.put(&[I::LocalGet(SIZE), I::I32Eqz, I::If(BlockType::Empty), I::LocalGet(TARGET), I::I64ExtendI32U]);
        self.put(&[I::MemorySize(0), I::I64ExtendI32U, I::I64Const(16), I::I64Shl, I::I64LeU]);
        self.put(&[I::If(BlockType::Empty), I::Return, I::End, I::End]);
    }

    fn copy(&mut self, much: u32) {
        self.pay(COPIED_BYTE_UNITS);
        self.begin_little(&[I::LocalGet(TARGET), I::LocalGet(SOURCE), I::I32Or]);
        self.each_width(|writer, width, places| {
            for (word, at) in (WORD..).zip(places) {
                writer.load(*at, width, word);
            }
            for (word, at) in (WORD..).zip(places) {
                writer.store(*at, width, word);
            }
        });
        self.end_little(much);
    }

    fn copy_much(&mut self) {
        let copy = I::MemoryCopy { src_mem: 0, dst_mem: 0 };
        self.begin_pieces(&[TARGET, SOURCE]);
        // Upwards where the target lies below its source, else downwards: what is yet to be read is never overwritten.
        self.put(&[I::LocalGet(TARGET), I::LocalGet(SOURCE), I::I32LeU]);
        self.put(&[I::If(BlockType::Empty), I::Loop(BlockType::Empty)]);
        self.put(&[I::LocalGet(TARGET), I::LocalGet(SOURCE), piece(), copy.clone()]);
        self.advance(TARGET);
        self.advance(SOURCE);
        self.go_on();
        self.put(&[I::Else, I::Loop(BlockType::Empty)]);
        for local in [TARGET, SOURCE] {
            self.put(&[I::LocalGet(local), I::LocalGet(SIZE), piece(), I::I32Sub, I::I32Add]);
        }
        self.put(&[piece(), copy.clone()]);
        self.go_on();
        self.put(&[I::End]);
        self.end_pieces();
        self.put(&[I::LocalGet(TARGET), I::LocalGet(SOURCE), I::LocalGet(SIZE), copy]);
    }

    fn put(&mut self, instructions: &[I<'_>]) {
        for instruction in instructions {
            self.code.instruction(instruction);
        }
    }

    fn word(&self, offset: u64) -> MemArg {
        MemArg { offset, align: 3, memory_index: self.meter }
    }

    /// Pays what is due and `units` for each byte, and stops where that is too much.
    fn pay(&mut self, units: i64) {
        let (counter, limit) = (self.word(COUNTER), self.word(LIMIT));
        match self.globals {
            Some(globals) => self.put(&[I::GlobalGet(globals.counter())]),
            None => self.put(&[I::I32Const(0), I::I32Const(0), I::I64Load(counter)]),
        }
        self.put(&[I::LocalGet(DUE), I::I64Extend32S, I::I64Add]);
        self.put(&[I::LocalGet(SIZE), I::I64ExtendI32U, I::I64Const(units), I::I64Mul, I::I64Add]);
        self.put(&[I::LocalTee(WORD)]);
        match self.globals {
            Some(globals) => {
                self.put(&[I::GlobalSet(globals.counter())]);
                globals.show(&mut self.code, self.meter);
            }
            None => self.put(&[I::I64Store(counter)]),
        }
        self.put(&[I::LocalGet(WORD), I::LocalGet(DUE), I::I64Const(32), I::I64ShrS, I::I64Add]);
        self.put(&[I::I32Const(0), I::I64Load(limit), I::I64GtU]);
        self.stop();
    }

    /// Stops where the value on top of the stack is true.
    fn stop(&mut self) {
        self.pending.add_stop(self.code.byte_len(), Stop::Limit);
        self.put(&[I::If(BlockType::Empty)]);
        self.pending.add_stop(self.code.byte_len(), Stop::Limit);
        self.put(&[I::Unreachable, I::End]);
    }

    /// Begins what is done with little: something, but not more than [`LITTLE_BYTES`], where no sum of an address and a size goes round.
    /// `addresses` pushes those that there are, put together by their bits.
    fn begin_little(&mut self, addresses: &[I<'_>]) {
        self.put(&[I::Block(BlockType::Empty)]);
        self.put(&[I::LocalGet(SIZE), I::I32Const(1), I::I32Sub, I::I32Const(LITTLE_BYTES), I::I32GeU, I::BrIf(0)]);
        self.put(addresses);
        self.put(&[I::I32Const(0), I::I32LtS, I::BrIf(0)]);
    }

    /// Ends it: what is not little the function `much` does.
    fn end_little(&mut self, much: u32) {
        self.put(&[I::Return, I::End]);
        self.put(&[I::LocalGet(TARGET), I::LocalGet(SOURCE), I::LocalGet(SIZE), I::Call(much)]);
    }

    /// Writes what moves bytes for each width, with the places that cover all bytes of the size, those with the last byte first.
    fn each_width(&mut self, moves: impl Fn(&mut Self, Width, &[At])) {
        let from = |writer: &mut Self, bytes: i32| {
            writer.put(&[I::LocalGet(SIZE), I::I32Const(bytes), I::I32GeU, I::If(BlockType::Empty)]);
        };
        from(self, 8);
        from(self, 17);
        moves(self, Width::Bytes8, &[At::End(8), At::End(16), At::Start(8), At::Start(0)]);
        self.put(&[I::Return, I::End]);
        moves(self, Width::Bytes8, &[At::End(8), At::Start(0)]);
        self.put(&[I::Return, I::End]);
        from(self, 4);
        moves(self, Width::Bytes4, &[At::End(4), At::Start(0)]);
        self.put(&[I::Return, I::End]);
        moves(self, Width::Bytes1, &[At::End(1), At::Half, At::Start(0)]);
    }

    /// Pushes an address, and says what is to be added to it.
    fn address(&mut self, local: u32, at: At) -> u64 {
        self.put(&[I::LocalGet(local)]);
        match at {
            At::Start(offset) => return offset,
            At::End(bytes) => self.put(&[I::LocalGet(SIZE), I::I32Add, I::I32Const(bytes), I::I32Sub]),
            At::Half => self.put(&[I::LocalGet(SIZE), I::I32Const(1), I::I32ShrU, I::I32Add]),
        }
        0
    }

    fn load(&mut self, at: At, width: Width, word: u32) {
        let offset = self.address(SOURCE, at);
        let place = MemArg { offset, align: 0, memory_index: 0 };
        let load = match width {
            Width::Bytes1 => I::I64Load8U(place),
            Width::Bytes4 => I::I64Load32U(place),
            Width::Bytes8 => I::I64Load(place),
        };
        self.put(&[load, I::LocalSet(word)]);
    }

    fn store(&mut self, at: At, width: Width, word: u32) {
        let offset = self.address(TARGET, at);
        let place = MemArg { offset, align: 0, memory_index: 0 };
        self.put(&[I::LocalGet(word)]);
        self.put(&[match width {
            Width::Bytes1 => I::I64Store8(place),
            Width::Bytes4 => I::I64Store32(place),
            Width::Bytes8 => I::I64Store(place),
        }]);
    }

    /// Begins what is done in pieces: what is more than one, and is within the guest's memory at the address in each of `locals`.
    fn begin_pieces(&mut self, locals: &[u32]) {
        self.put(&[I::Block(BlockType::Empty)]);
        self.put(&[I::LocalGet(SIZE), piece(), I::I32LeU, I::BrIf(0)]);
        for local in locals {
            self.put(&[I::LocalGet(*local), I::I64ExtendI32U, I::LocalGet(SIZE), I::I64ExtendI32U, I::I64Add]);
            self.put(&[I::MemorySize(0), I::I64ExtendI32U, I::I64Const(16), I::I64Shl, I::I64GtU, I::BrIf(0)]);
        }
    }

    fn end_pieces(&mut self) {
        self.put(&[I::End]);
    }

    fn advance(&mut self, local: u32) {
        self.put(&[I::LocalGet(local), piece(), I::I32Add, I::LocalSet(local)]);
    }

    /// Ends a loop over pieces: takes one off the size, stops where it was told to, and goes on while more than one is left.
    fn go_on(&mut self) {
        self.put(&[I::LocalGet(SIZE), piece(), I::I32Sub, I::LocalSet(SIZE)]);
        let limit = self.word(LIMIT);
        // All is paid for already, so only a limit of nothing, which stops from outside, can stop here.
        self.put(&[I::I32Const(0), I::I64Load(limit), I::I64Eqz]);
        self.stop();
        self.put(&[I::LocalGet(SIZE), piece(), I::I32GtU, I::BrIf(0), I::End]);
    }
}

const fn piece() -> I<'static> {
    I::I32Const(PIECE_BYTES as i32)
}

#[cfg(test)]
mod tests {
    use wasmparser::{Parser, Payload};

    use super::*;
    use crate::meter::{Options, instrument};

    #[test]
    fn size_that_is_a_constant_stays_one_for_the_engine_and_others_are_calls() {
        let rows = [
            ("(memory.copy (i32.const 8) (i32.const 0) (i32.const 64))".to_owned(), true),
            (format!("(memory.copy (i32.const 8) (i32.const 0) (i32.const {INLINE_BYTES}))"), true),
            (format!("(memory.copy (i32.const 8) (i32.const 0) (i32.const {}))", INLINE_BYTES + 1), false),
            ("(memory.fill (i32.const 8) (i32.const 0) (i32.const 16))".to_owned(), false),
            ("(memory.copy (i32.const 8) (i32.const 0) (i32.const -1))".to_owned(), false),
            ("(memory.copy (i32.const 8) (i32.const 0) (i32.add (i32.const 1) (i32.const 1)))".to_owned(), false),
            ("(memory.fill (i32.const 8) (i32.const 0) (memory.size))".to_owned(), false),
        ];
        for (text, is_constant) in rows {
            let wasm = wat::parse_str(format!("(module (memory 1) (func {text}))")).unwrap();
            let metered = instrument(&wasm, &Options::default()).unwrap();
            let body = Parser::new(0).parse_all(&metered.wasm).find_map(|payload| match payload.unwrap() {
                Payload::CodeSectionEntry(body) => Some(body),
                _ => None,
            });
            let body = body.unwrap();
            let operators: Vec<_> = body.get_operators_reader().unwrap().into_iter().map(Result::unwrap).collect();
            let has = |is: fn(&Operator<'_>) -> bool| operators.iter().any(is);
            let moves = has(|op| matches!(op, Operator::MemoryCopy { .. } | Operator::MemoryFill { .. }));
            let calls = has(|op| matches!(op, Operator::Call { .. }));
            // What is in a local may have come from several places.
            let locals = body.get_locals_reader().unwrap().get_count();
            assert_eq!((moves, calls, locals), (is_constant, !is_constant, 0), "{text}");
        }
    }

    #[test]
    fn due_is_what_it_is_made_of() {
        for (units, lacking) in [(0, 0), (5, -7), (-5, 7), (i32::MAX, i64::from(i32::MIN)), (i32::MIN, i64::from(i32::MAX))] {
            let due = due(units, lacking);
            assert_eq!((due as i32, due >> 32), (units, lacking), "{due:#x}");
        }
    }
}
