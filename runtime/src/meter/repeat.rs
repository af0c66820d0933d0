//! Short innermost loops are repeated, so that one update of the counter and one check serve several iterations.
//!
//! ```text
//! loop            block            ; left by whoever falls out of a copy
//!   B               loop
//!   (br 0 or          block        ; a `continue` in this copy falls into the next
//!    fall out)          B
//! end                   br 2
//!                     end
//!                     B            ; the last copy: `continue` is the loop's own label
//!                   end
//!                 end
//! ```
//!
//! Every copy costs what an iteration costs, and the operators that hold the copies together cost nothing, so totals do not change.
//! Whoever falls out of a loop goes on in the same basic block; so each copy costs what stands behind the loop in that block too, and
//! it is free there. Where a check stands does change: the number of copies belongs to the meter's version.

use std::ops::RangeInclusive;

use wasmparser::{BlockType, Operator};

use super::body::{Body, Inlined, Step};
use super::graph::is_root;

/// Operators that all copies of a loop have together. Longer bodies gain nothing; and a hostile module of nothing but short loops
/// becomes at most [`COPIES_MAX`] times as long, behind what [`recursion`](super::recursion) made of it. What makes NaNs canonical is not counted, unless it is more than the operators.
pub(super) const OPERATORS_MAX: usize = 128;
/// Copies of a loop.
const COPIES_MAX: usize = 8;

/// Repeats the short innermost loops of a body.
pub(super) fn repeat_loops(body: &mut Body<'_>) {
    if !body.steps.iter().any(|step| is_loop(&step.op)) {
        return;
    }
    let mut steps = std::mem::take(&mut body.steps);
    let mut out = Vec::with_capacity(steps.len());
    let mut frames = Frames::default();
    let mut next = 0;
    while next < steps.len() {
        match repeatable(&steps[next..]) {
            Some((end, copies)) => {
                let (inside, behind) = steps[next..].split_at_mut(end + 1);
                let copied = Copied { head: &inside[0], body: &inside[1..end], behind: take_weight(behind, frames.clone()) };
                body.repeated.push(copied.push(&mut out, copies));
                next += end + 1;
            }
            None => {
                frames.step(&steps[next].op);
                out.push(std::mem::replace(&mut steps[next], Step::free(Operator::Nop)));
                next += 1;
            }
        }
    }
    body.steps = out;
}

/// Whether each structured operator that is open is a loop, outermost first.
#[derive(Debug, Default, Clone)]
struct Frames(Vec<bool>);

impl Frames {
    /// Goes over an operator. Where it is an `end`, says whether that of a loop.
    fn step(&mut self, op: &Operator<'_>) -> Option<bool> {
        match op {
            Operator::Block { .. } | Operator::If { .. } => self.0.push(false),
            Operator::Loop { .. } => self.0.push(true),
            Operator::End => return Some(self.0.pop().unwrap_or(false)),
            _ => {}
        }
        None
    }
}

/// Takes their weight from the steps that belong to the basic block which is open before them.
fn take_weight(steps: &mut [Step<'_>], mut frames: Frames) -> u32 {
    let mut weight = 0;
    for step in steps {
        // The head of a loop is paid for by the block that begins there.
        if matches!(step.op, Operator::Loop { .. }) {
            break;
        }
        weight += std::mem::take(&mut step.weight);
        let is_loop_end = frames.step(&step.op);
        if is_loop_end == Some(false) || step.inlined == Inlined::Begins || ends_block(&step.op) {
            break;
        }
    }
    weight
}

/// Whether a basic block ends with an operator that is neither the head nor the end of a loop, nor the end of a block.
fn ends_block(op: &Operator<'_>) -> bool {
    use Operator as O;
    let is_branch = matches!(op, O::Br { .. } | O::BrIf { .. } | O::BrTable { .. } | O::If { .. } | O::Else);
    is_branch || matches!(op, O::Return | O::Unreachable) || is_root(op)
}

/// Whether a loop begins that may be repeated.
fn is_loop(op: &Operator<'_>) -> bool {
    matches!(op, Operator::Loop { blockty: BlockType::Empty })
}

/// Where the loop that begins at the first step ends, and how often it is repeated; nothing where that is no such loop.
fn repeatable(steps: &[Step<'_>]) -> Option<(usize, usize)> {
    if !is_loop(&steps[0].op) {
        return None;
    }
    let (mut nest, mut operators, mut mends, mut goes_back) = (0, 0, 0, false);
    // No copy pays where the body is over half of the bound, so the search ends there.
    for (at, step) in steps.iter().enumerate().skip(1) {
        mends += usize::from(step.mend.is_some());
        match &step.op {
            Operator::Loop { .. } | Operator::BrTable { .. } => return None,
            op if is_root(op) => return None,
            Operator::Block { .. } => nest += 1,
            Operator::If { .. } => {
                nest += 1;
                operators += 1;
            }
            Operator::End if nest == 0 => {
                let copies = [8, 4, 2].into_iter().find(|copies| operators.max(mends) * copies <= OPERATORS_MAX)?;
                return goes_back.then_some((at, copies.min(COPIES_MAX)));
            }
            Operator::End => nest -= 1,
            op => {
                if let Operator::Br { relative_depth } | Operator::BrIf { relative_depth } = op {
                    goes_back |= *relative_depth == nest;
                }
                operators += usize::from(!matches!(op, Operator::Else | Operator::Nop | Operator::Drop));
            }
        }
        if operators.max(mends) * 2 > OPERATORS_MAX {
            return None;
        }
    }
    None
}

/// What is repeated.
struct Copied<'s, 'a> {
    head: &'s Step<'a>,
    body: &'s [Step<'a>],
    /// What stands behind the loop in the block that falls out of it, in units.
    behind: u32,
}

impl<'a> Copied<'_, 'a> {
    /// Pushes a loop of so many copies; where it is, and its end.
    fn push(&self, out: &mut Vec<Step<'a>>, copies: usize) -> RangeInclusive<usize> {
        let empty = || Operator::Block { blockty: BlockType::Empty };
        out.push(Step::free(empty()));
        // The first copy pays for the round at the loop's head.
        let start = out.len();
        out.push(self.head.clone());
        for copy in 0..copies {
            let round = if copy == 0 { 0 } else { self.head.weight };
            if copy + 1 < copies {
                out.push(Step::new(round, empty()));
                push_body(out, self.body, 2);
                out.push(Step::new(self.behind, Operator::Nop));
                out.push(Step::free(Operator::Br { relative_depth: 2 }));
                out.push(Step::free(Operator::End));
            } else {
                out.push(Step::new(round, Operator::Nop));
                push_body(out, self.body, 1);
                out.push(Step::new(self.behind, Operator::Nop));
            }
        }
        let end = out.len();
        out.push(Step::free(Operator::End));
        out.push(Step::free(Operator::End));
        start..=end
    }
}

/// Pushes a copy of a loop's body, in which branches that leave the loop have `deeper` more blocks to leave.
fn push_body<'a>(out: &mut Vec<Step<'a>>, body: &[Step<'a>], deeper: u32) {
    let mut nest = 0;
    for step in body {
        let op = match step.op {
            Operator::Br { relative_depth } if relative_depth > nest => Operator::Br { relative_depth: relative_depth + deeper },
            Operator::BrIf { relative_depth } if relative_depth > nest => {
                Operator::BrIf { relative_depth: relative_depth + deeper }
            }
            Operator::Block { .. } | Operator::If { .. } => {
                nest += 1;
                step.op.clone()
            }
            Operator::End => {
                nest -= 1;
                step.op.clone()
            }
            _ => step.op.clone(),
        };
        out.push(Step { op, ..step.clone() });
    }
}
