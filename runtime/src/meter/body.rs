//! A function body on its way through the passes: decoded operators, each with what it costs.

use std::ops::RangeInclusive;

use wasmparser::{BinaryReaderError, BlockType, FuncType, FunctionBody, Operator, ValType, VisitOperator, VisitSimdOperator};

use super::nan::Mend;

/// One operator with its price. Operators that a pass adds weigh nothing: a guest pays for what it wrote.
#[derive(Debug, Clone)]
pub(crate) struct Step<'a> {
    /// What is executed.
    pub(crate) op: Operator<'a>,
    /// What it costs each time that it is reached, in units of the meter.
    pub(crate) weight: u32,
    /// Whether it begins or ends what stands in the place of a call.
    pub(crate) inlined: Inlined,
    /// What makes a NaN canonical before it. Few steps have that, and it would make all of them twice as large.
    pub(crate) mend: Option<Box<Mend>>,
}

/// Where a step stands in a function that was inlined into itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Inlined {
    /// At neither end of a copy.
    #[default]
    No,
    /// It is the block that a copy is.
    Begins,
    /// It is that block's end.
    Ends,
}

/// A function body.
#[derive(Debug, Clone)]
pub(crate) struct Body<'a> {
    /// How many of the locals are parameters.
    pub(crate) params: u32,
    /// The type of each local, parameters first. Passes append locals of their own.
    pub(crate) locals: Vec<ValType>,
    /// The operators; the last is the `end` of the function.
    pub(crate) steps: Vec<Step<'a>>,
    /// The loops that were repeated: the step of each and that of its end, in order.
    pub(crate) repeated: Vec<RangeInclusive<usize>>,
}

impl<'a> Body<'a> {
    /// Decodes the body of a function of type `ty`. The module must have been validated.
    ///
    /// # Errors
    /// Where the bytes are no function body.
    pub(crate) fn decode(
        ty: &FuncType,
        function: &FunctionBody<'a>,
        weight: impl Fn(&Operator<'a>) -> u32,
    ) -> Result<Self, BinaryReaderError> {
        let mut locals = ty.params().to_vec();
        for group in function.get_locals_reader()? {
            let (count, ty) = group?;
            locals.extend(std::iter::repeat_n(ty, count as usize));
        }
        // Operators take two bytes and more, as a rule.
        let mut decoder = Decoder { steps: Vec::with_capacity(function.range().len() / 2), weight };
        let mut reader = function.get_operators_reader()?;
        while !reader.eof() {
            reader.visit_operator(&mut decoder)?;
        }
        Ok(Self { params: ty.params().len() as u32, locals, steps: decoder.steps, repeated: Vec::new() })
    }

    /// Adds a local of type `ty` and returns its index.
    pub(crate) fn add_local(&mut self, ty: ValType) -> u32 {
        self.locals.push(ty);
        self.locals.len() as u32 - 1
    }
}

/// Makes a step of each operator. A visitor, so that each is written to its place at once, and its weight is known by where it is visited: to
/// read a module is a third of what the meter takes.
struct Decoder<'a, W> {
    steps: Vec<Step<'a>>,
    weight: W,
}

macro_rules! decode_each {
    ($(@$proposal:ident $op:ident $({ $($operand:ident: $ty:ty),* })? => $visit:ident ($($_:tt)*))*) => {
        $(
            fn $visit(&mut self $($(, $operand: $ty)*)?) {
                let op = Operator::$op $({ $($operand),* })?;
                self.steps.push(Step::new((self.weight)(&op), op));
            }
        )*
    };
}

impl<'a, W: Fn(&Operator<'a>) -> u32> VisitOperator<'a> for Decoder<'a, W> {
    type Output = ();

    fn simd_visitor(&mut self) -> Option<&mut dyn VisitSimdOperator<'a, Output = ()>> {
        Some(self)
    }

    wasmparser::for_each_visit_operator!(decode_each);
}

impl<'a, W: Fn(&Operator<'a>) -> u32> VisitSimdOperator<'a> for Decoder<'a, W> {
    wasmparser::for_each_visit_simd_operator!(decode_each);
}

impl<'a> Step<'a> {
    /// An operator with its price.
    pub(crate) fn new(weight: u32, op: Operator<'a>) -> Self {
        Self { op, weight, inlined: Inlined::No, mend: None }
    }

    /// An operator that a pass adds.
    pub(crate) fn free(op: Operator<'a>) -> Self {
        Self::new(0, op)
    }

    /// A step that does nothing, but for making a NaN canonical before.
    pub(crate) fn mend(mend: Mend) -> Self {
        Self { mend: Some(Box::new(mend)), ..Self::free(Operator::Nop) }
    }
}

/// What a pass over one body needs to know of the module around it.
#[derive(Debug, Default)]
pub(crate) struct Signatures {
    /// The module's types, by type index. Types that are no functions do not pass validation.
    pub(crate) types: Vec<FuncType>,
    /// The type index of each function, imported ones first.
    pub(crate) functions: Vec<u32>,
    /// How many functions are imported.
    pub(crate) imported_functions: u32,
    /// The type of each global, imported ones first.
    pub(crate) globals: Vec<ValType>,
}

impl Signatures {
    /// The type of a function.
    pub(crate) fn function(&self, index: u32) -> &FuncType {
        &self.types[self.functions[index as usize] as usize]
    }

    /// How many values a block takes and leaves.
    pub(crate) fn arity(&self, ty: BlockType) -> (usize, usize) {
        match ty {
            BlockType::Empty => (0, 0),
            BlockType::Type(_) => (0, 1),
            BlockType::FuncType(index) => {
                let ty = &self.types[index as usize];
                (ty.params().len(), ty.results().len())
            }
        }
    }
}
