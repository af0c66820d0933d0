//! Fills and copies of much memory go in pieces, between which the guest can be stopped: one of all that a memory has would take a tenth
//! of a second.
//!
//! Where a size is over [`PIECE_BYTES`], a function of the meter's own does all pieces but the last and returns what is left, which the
//! guest's own operator then does. What does not fit into the memory comes back as it was, so that it traps where the guest wrote it,
//! before anything is written.

use wasm_encoder::{BlockType, Function, Instruction as I, MemArg, ValType};

use super::pending::{Pending, Stop};
use super::words::LIMIT;

/// What is done at once: some hundred microseconds.
pub(super) const PIECE_BYTES: u32 = 1 << 20;
/// What the functions take and give back: a target, a value or a source, and a size.
pub(super) const TYPE: ([ValType; 3], [ValType; 3]) = ([ValType::I32; 3], [ValType::I32; 3]);

const TARGET: u32 = 0;
const SOURCE: u32 = 1;
const SIZE: u32 = 2;

/// The functions of the meter's own that a module needs, by their index.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pieces {
    /// The index of their type.
    pub(super) ty: u32,
    /// Fills.
    pub(super) fill: Option<u32>,
    /// Copies.
    pub(super) copy: Option<u32>,
}

impl Pieces {
    /// The functions, in the order of their indices. The meter's memory is number `meter`.
    pub(super) fn functions(self, meter: u32) -> Vec<(Function, Pending)> {
        let write = |does: fn(&mut Writer)| {
            let mut writer = Writer { code: Function::new([]), pending: Pending::default(), meter };
            does(&mut writer);
            (writer.code, writer.pending)
        };
        let fill = self.fill.map(|_| write(Writer::fill));
        let copy = self.copy.map(|_| write(Writer::copy));
        fill.into_iter().chain(copy).collect()
    }
}

struct Writer {
    code: Function,
    pending: Pending,
    meter: u32,
}

impl Writer {
    fn fill(&mut self) {
        self.return_unless_fits(TARGET);
        self.code.instruction(&I::Loop(BlockType::Empty));
        for instruction in [I::LocalGet(TARGET), I::LocalGet(SOURCE), piece(), I::MemoryFill(0)] {
            self.code.instruction(&instruction);
        }
        self.advance(TARGET);
        self.go_on();
        self.give_back();
    }

    fn copy(&mut self) {
        self.return_unless_fits(TARGET);
        self.return_unless_fits(SOURCE);
        // Upwards where the target lies below its source, else downwards: what is yet to be read is never overwritten.
        self.code.instruction(&I::LocalGet(TARGET)).instruction(&I::LocalGet(SOURCE)).instruction(&I::I32LeU);
        self.code.instruction(&I::If(BlockType::Empty)).instruction(&I::Loop(BlockType::Empty));
        for instruction in [I::LocalGet(TARGET), I::LocalGet(SOURCE), piece(), I::MemoryCopy { src_mem: 0, dst_mem: 0 }] {
            self.code.instruction(&instruction);
        }
        self.advance(TARGET);
        self.advance(SOURCE);
        self.go_on();
        self.code.instruction(&I::Else).instruction(&I::Loop(BlockType::Empty));
        for local in [TARGET, SOURCE] {
            self.code.instruction(&I::LocalGet(local)).instruction(&I::LocalGet(SIZE)).instruction(&piece());
            self.code.instruction(&I::I32Sub).instruction(&I::I32Add);
        }
        self.code.instruction(&piece()).instruction(&I::MemoryCopy { src_mem: 0, dst_mem: 0 });
        self.go_on();
        self.code.instruction(&I::End);
        self.give_back();
    }

    /// Comes back at once where `SIZE` bytes at the address in `local` are not within the guest's memory.
    fn return_unless_fits(&mut self, local: u32) {
        self.code.instruction(&I::LocalGet(local)).instruction(&I::I64ExtendI32U);
        self.code.instruction(&I::LocalGet(SIZE)).instruction(&I::I64ExtendI32U).instruction(&I::I64Add);
        self.code.instruction(&I::MemorySize(0)).instruction(&I::I64ExtendI32U);
        self.code.instruction(&I::I64Const(16)).instruction(&I::I64Shl);
        self.code.instruction(&I::I64GtU).instruction(&I::If(BlockType::Empty));
        for local in [TARGET, SOURCE, SIZE] {
            self.code.instruction(&I::LocalGet(local));
        }
        self.code.instruction(&I::Return).instruction(&I::End);
    }

    fn advance(&mut self, local: u32) {
        self.code.instruction(&I::LocalGet(local)).instruction(&piece()).instruction(&I::I32Add).instruction(&I::LocalSet(local));
    }

    /// Ends a loop over pieces: takes one off the size, stops where it was told to, and goes on while more than one is left.
    fn go_on(&mut self) {
        self.code.instruction(&I::LocalGet(SIZE)).instruction(&piece()).instruction(&I::I32Sub).instruction(&I::LocalSet(SIZE));
        let limit = MemArg { offset: LIMIT, align: 3, memory_index: self.meter };
        // All is paid for already, so only a limit of nothing, which stops from outside, can stop here.
        self.code.instruction(&I::I32Const(0)).instruction(&I::I64Load(limit)).instruction(&I::I64Eqz);
        self.pending.add_stop(self.code.byte_len(), Stop::Limit);
        self.code.instruction(&I::If(BlockType::Empty));
        self.pending.add_stop(self.code.byte_len(), Stop::Limit);
        self.code.instruction(&I::Unreachable).instruction(&I::End);
        self.code.instruction(&I::LocalGet(SIZE)).instruction(&piece()).instruction(&I::I32GtU).instruction(&I::BrIf(0));
        self.code.instruction(&I::End);
    }

    fn give_back(&mut self) {
        for local in [TARGET, SOURCE, SIZE] {
            self.code.instruction(&I::LocalGet(local));
        }
        self.code.instruction(&I::End);
    }
}

const fn piece() -> I<'static> {
    I::I32Const(PIECE_BYTES as i32)
}
