//! How much a driver has to compile. It puts every function in the place of each of its calls, so a few lines that each call the one
//! above twice double with each line.

use naga::proc::GlobalCtx;
use naga::valid::{FunctionInfo, ModuleInfo};
use naga::{AddressSpace, BinaryOperator, Expression, Function, Handle, MathFunction, Module, ScalarKind, Statement, TypeInner};

/// What is dear to compile, in sums of two numbers: as measured on Mesa's lavapipe.
pub(super) const LOAD: u64 = 16;
pub(super) const LOOP: u64 = 32;
/// Of two integers.
pub(super) const DIVISION: u64 = 32;
/// Functions that compilers make much of, for each number.
pub(super) const FUNCTION: u64 = 16;
pub(super) const ARC: u64 = 64;
/// For each number of a variable that is an array or a structure; of one that is read or written as a whole; and of an array that is no
/// variable, where a place in it is looked up: the compiler copies it to one for each.
pub(super) const VARIABLE: u64 = 8;
pub(super) const WHOLE: u64 = 4;
pub(super) const COPY: u64 = 32;

/// Operations of an entry point with those of every function that it calls, once for each call. Functions come after those that they
/// call, and none calls itself: the compiler has seen to that.
pub(super) fn operations(module: &Module, info: &ModuleInfo, entry: usize) -> u64 {
    let mut functions: Vec<u64> = Vec::with_capacity(module.functions.len());
    for (handle, function) in module.functions.iter() {
        let all = Body { context: module.to_ctx(), function, info: &info[handle] }.operations(&functions);
        functions.push(all);
    }
    let entry_point = &module.entry_points[entry].function;
    Body { context: module.to_ctx(), function: entry_point, info: info.get_entry_point(entry) }.operations(&functions)
}

struct Body<'a> {
    context: GlobalCtx<'a>,
    function: &'a Function,
    info: &'a FunctionInfo,
}

impl Body<'_> {
    /// Its own, and those of the functions before it that it calls.
    fn operations(&self, functions: &[u64]) -> u64 {
        let variables =
            self.function.local_variables.iter().map(|(_, variable)| self.holds(&self.context.types[variable.ty].inner));
        let expressions = self.function.expressions.iter().map(|(handle, expression)| self.computes(handle, expression));
        let own = variables.chain(expressions).fold(0, u64::saturating_add);
        own.saturating_add(self.statements(functions))
    }

    /// Without recursion: an `else if` is a block within a block, and there are thousands in a shader.
    fn statements(&self, functions: &[u64]) -> u64 {
        let (mut all, mut blocks) = (0_u64, vec![&self.function.body]);
        while let Some(block) = blocks.pop() {
            for statement in block {
                let more = match statement {
                    Statement::Block(block) => {
                        blocks.push(block);
                        0
                    }
                    Statement::If { accept, reject, .. } => {
                        blocks.extend([accept, reject]);
                        0
                    }
                    Statement::Loop { body, continuing, .. } => {
                        blocks.extend([body, continuing]);
                        LOOP
                    }
                    Statement::Switch { cases, .. } => {
                        blocks.extend(cases.iter().map(|case| &case.body));
                        cases.len() as u64
                    }
                    Statement::Store { value, .. } => self.moved(*value),
                    Statement::Call { function, .. } => functions[function.index()],
                    _ => 0,
                };
                all = all.saturating_add(more).saturating_add(1);
            }
        }
        all
    }

    /// What an expression computes: a number at a time.
    fn computes(&self, handle: Handle<Expression>, expression: &Expression) -> u64 {
        let made = self.numbers_of(handle);
        match *expression {
            Expression::Load { pointer } => self.moved(handle).saturating_add(if self.is_shared(pointer) { LOAD } else { 0 }),
            Expression::Binary { op: BinaryOperator::Divide | BinaryOperator::Modulo, .. } if self.is_integer(handle) => {
                made * DIVISION
            }
            Expression::Binary { op: BinaryOperator::Multiply, left, right } => made.max(self.products(left, right)),
            Expression::Binary { left, .. } => made.max(self.numbers_of(left)),
            Expression::Math { fun, arg, .. } => made.max(self.numbers_of(arg)).saturating_mul(weight(fun)),
            Expression::Access { base, .. } if matches!(self.inner(base), TypeInner::Array { .. } | TypeInner::Matrix { .. }) => {
                made.saturating_add(self.numbers_of(base).saturating_mul(COPY))
            }
            _ => made,
        }
    }

    /// What a value is that is read or written.
    fn moved(&self, value: Handle<Expression>) -> u64 {
        let each = if is_compound(self.inner(value)) { WHOLE } else { 1 };
        self.numbers_of(value).saturating_mul(each)
    }

    fn is_shared(&self, pointer: Handle<Expression>) -> bool {
        let space = self.inner(pointer).pointer_space();
        space.is_some_and(|space| !matches!(space, AddressSpace::Function | AddressSpace::Private))
    }

    fn is_integer(&self, expression: Handle<Expression>) -> bool {
        let scalar = self.inner(expression).scalar();
        scalar.is_some_and(|scalar| matches!(scalar.kind, ScalarKind::Sint | ScalarKind::Uint))
    }

    /// Products of numbers in one, which are more than the numbers in it where there is a matrix.
    fn products(&self, left: Handle<Expression>, right: Handle<Expression>) -> u64 {
        let most = self.numbers_of(left).max(self.numbers_of(right));
        match (self.inner(left), self.inner(right)) {
            (TypeInner::Matrix { columns, .. }, TypeInner::Matrix { .. }) => most * *columns as u64,
            _ => most,
        }
    }

    fn numbers_of(&self, expression: Handle<Expression>) -> u64 {
        self.numbers(self.inner(expression))
    }

    fn inner(&self, expression: Handle<Expression>) -> &TypeInner {
        self.info[expression].ty.inner_with(self.context.types)
    }

    /// What a variable of this type is to a driver.
    fn holds(&self, inner: &TypeInner) -> u64 {
        let each = if is_compound(inner) { VARIABLE } else { 1 };
        self.numbers(inner).saturating_mul(each)
    }

    /// Numbers in a value, those included that only fill it up.
    fn numbers(&self, inner: &TypeInner) -> u64 {
        match inner {
            TypeInner::Vector { size, .. } => *size as u64,
            _ => inner.try_size(self.context).map_or(u64::MAX, |bytes| u64::from(bytes).div_ceil(4).max(1)),
        }
    }
}

fn weight(function: MathFunction) -> u64 {
    use MathFunction as F;
    match function {
        F::Abs | F::Min | F::Max | F::Clamp | F::Saturate | F::Sign | F::Step | F::Mix | F::Fma => 1,
        F::Floor | F::Ceil | F::Round | F::Trunc | F::Fract | F::Sqrt | F::InverseSqrt | F::Exp2 | F::Log2 => 1,
        F::Dot | F::Cross | F::Length | F::Distance | F::Normalize | F::Reflect | F::Transpose => 1,
        F::Atan2 => ARC,
        _ => FUNCTION,
    }
}

fn is_compound(inner: &TypeInner) -> bool {
    matches!(inner, TypeInner::Array { .. } | TypeInner::Struct { .. })
}
