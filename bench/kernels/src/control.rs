//! Calls and branches.

use std::hint::black_box;

use crate::random::{Random, mix};

/// Fibonacci numbers by two calls each, 400,000 calls at a time; a size counts such trees.
pub(crate) fn fib(size: u32) -> u64 {
    (0..size).fold(0, |sum, n| mix(sum ^ fibonacci(black_box(24 + (n & 1)))))
}

#[inline(never)]
fn fibonacci(n: u32) -> u64 {
    if n < 2 { u64::from(n) } else { fibonacci(n - 1) + fibonacci(n - 2) }
}

/// What objects do, each in its own way.
trait Shape {
    fn area(&self, scale: u32) -> u32;
}

#[derive(Debug)]
struct Square(u32);
#[derive(Debug)]
struct Rectangle(u32, u32);
#[derive(Debug)]
struct Triangle(u32, u32);
#[derive(Debug)]
struct Frame(u32, u32);

impl Shape for Square {
    fn area(&self, scale: u32) -> u32 {
        self.0.wrapping_mul(self.0).wrapping_add(scale)
    }
}

impl Shape for Rectangle {
    fn area(&self, scale: u32) -> u32 {
        self.0.wrapping_mul(self.1) ^ scale
    }
}

impl Shape for Triangle {
    fn area(&self, scale: u32) -> u32 {
        (self.0.wrapping_mul(self.1) >> 1).wrapping_add(scale)
    }
}

impl Shape for Frame {
    fn area(&self, scale: u32) -> u32 {
        self.0.wrapping_mul(self.0).wrapping_sub(self.1.wrapping_mul(self.1)).rotate_left(scale & 31)
    }
}

/// Calls by table: objects of four kinds in a random order, and functions from an array. A size counts 1,000 pairs of calls.
pub(crate) fn indirect(size: u32) -> u64 {
    let mut random = Random::new(23);
    let shapes: Vec<Box<dyn Shape>> = (0..1_000)
        .map(|_| {
            let (a, b) = (random.below(1_000), random.below(1_000));
            match random.below(4) {
                0 => Box::new(Square(a)) as Box<dyn Shape>,
                1 => Box::new(Rectangle(a, b)),
                2 => Box::new(Triangle(a, b)),
                _ => Box::new(Frame(a, b)),
            }
        })
        .collect();
    let functions: [fn(u32) -> u32; 4] =
        black_box([|x| x.rotate_left(3), |x| x ^ 0x5555, |x| x.wrapping_mul(9), |x| x ^ (x >> 1)]);
    let mut sum = 1u32;
    for _ in 0..size {
        for (n, shape) in shapes.iter().enumerate() {
            sum = sum.wrapping_add(shape.area(n as u32));
            sum = functions[n % 4](sum);
        }
    }
    mix(u64::from(sum))
}

/// What the machine of [`interpreter`] does in one step; numbers are registers or places in the program.
#[derive(Debug, Clone, Copy)]
enum Instruction {
    Set(u8, u32),
    Add(u8, u8),
    AddConstant(u8, u32),
    Multiply(u8, u32),
    Xor(u8, u8),
    ShiftRight(u8, u32),
    Copy(u8, u8),
    Load(u8, u8),
    Store(u8, u8),
    JumpIfOdd(u8, u16),
    JumpIfNotZero(u8, u16),
    Decrement(u8),
    Stop,
}

/// Runs a program of a register machine that walks a Collatz sequence and keeps a table; a size counts 1,000 rounds of its loop.
pub(crate) fn interpreter(size: u32) -> u64 {
    use Instruction as I;
    let program = [
        I::Set(0, 1_000),
        I::Set(1, 27),
        // 2: the loop's head.
        I::JumpIfOdd(1, 5),
        I::ShiftRight(1, 1),
        I::JumpIfNotZero(1, 7),
        I::Multiply(1, 3),
        I::AddConstant(1, 1),
        // 7: what both ways come to.
        I::Copy(2, 1),
        I::Load(3, 2),
        I::Add(3, 0),
        I::Xor(3, 1),
        I::Store(2, 3),
        I::Decrement(0),
        I::JumpIfNotZero(0, 2),
        I::Stop,
    ];
    let mut table = [0u32; 64];
    let mut sum = 0;
    for round in 0..size {
        sum = mix(sum ^ u64::from(execute(black_box(&program), &mut table)) ^ u64::from(round));
    }
    table.iter().fold(sum, |sum, word| mix(sum ^ u64::from(*word)))
}

fn execute(program: &[Instruction], table: &mut [u32; 64]) -> u32 {
    let mut registers = [0u32; 8];
    let mut at = 0;
    loop {
        let Some(instruction) = program.get(at) else { return 0 };
        at += 1;
        let register = |n: u8| usize::from(n & 7);
        match *instruction {
            Instruction::Set(a, value) => registers[register(a)] = value,
            Instruction::Add(a, b) => registers[register(a)] = registers[register(a)].wrapping_add(registers[register(b)]),
            Instruction::AddConstant(a, value) => registers[register(a)] = registers[register(a)].wrapping_add(value),
            Instruction::Multiply(a, value) => registers[register(a)] = registers[register(a)].wrapping_mul(value),
            Instruction::Xor(a, b) => registers[register(a)] ^= registers[register(b)],
            Instruction::ShiftRight(a, bits) => registers[register(a)] >>= bits & 31,
            Instruction::Copy(a, b) => registers[register(a)] = registers[register(b)],
            Instruction::Load(a, b) => registers[register(a)] = table[registers[register(b)] as usize % 64],
            Instruction::Store(a, b) => table[registers[register(a)] as usize % 64] = registers[register(b)],
            Instruction::JumpIfOdd(a, to) if registers[register(a)] & 1 == 1 => at = usize::from(to),
            Instruction::JumpIfNotZero(a, to) if registers[register(a)] != 0 => at = usize::from(to),
            Instruction::JumpIfOdd(..) | Instruction::JumpIfNotZero(..) => {}
            Instruction::Decrement(a) => registers[register(a)] = registers[register(a)].wrapping_sub(1),
            Instruction::Stop => return registers[1] ^ registers[3],
        }
    }
}
