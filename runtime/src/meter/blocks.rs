//! The basic blocks of a function and what each weighs, without the graph between them: all that paying for each where it begins needs.

use wasmparser::Operator;

use super::body::{Inlined, Step};
use super::graph::is_root;

/// What the blocks weigh, in units.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Blocks {
    /// The one that the function begins with.
    pub(super) first: u64,
    /// The one that begins behind each step, where one does that is reached.
    pub(super) behind: Vec<Option<u64>>,
}

/// A structured operator that is open.
struct Frame {
    is_loop: bool,
    /// Whether a way leads to the block behind its end.
    is_entered: bool,
    /// Whether it is an `if` that is reached and whose `else` has not come yet.
    no_else: bool,
}

struct Walk {
    blocks: Blocks,
    frames: Vec<Frame>,
    /// The step behind which the block begins that pays; nothing for the first.
    payer: Option<usize>,
    is_reached: bool,
}

impl Blocks {
    /// Those that a [`Graph`](super::graph::Graph) of these steps has.
    pub(super) fn of(steps: &[Step<'_>]) -> Self {
        let mut walk = Walk {
            blocks: Self { first: 0, behind: vec![None; steps.len()] },
            frames: vec![Frame { is_loop: false, is_entered: false, no_else: false }],
            payer: None,
            is_reached: true,
        };
        for (at, step) in steps.iter().enumerate() {
            walk.step(at, step);
        }
        walk.blocks
    }
}

impl Walk {
    fn step(&mut self, at: usize, step: &Step<'_>) {
        let is_loop = matches!(step.op, Operator::Loop { .. });
        if is_loop && self.is_reached {
            // The head of a loop is paid for each time round.
            self.begin(at);
        }
        if self.is_reached {
            self.pay(step.weight);
        }
        match &step.op {
            Operator::Block { .. } => {
                self.open(false, false);
                if self.is_reached && step.inlined == Inlined::Begins {
                    self.begin(at);
                }
            }
            Operator::Loop { .. } => self.open(true, false),
            Operator::If { .. } => {
                self.open(false, self.is_reached);
                if self.is_reached {
                    self.begin(at);
                }
            }
            Operator::Else => {
                self.go(0);
                if self.frames.last_mut().is_some_and(|frame| std::mem::take(&mut frame.no_else)) {
                    self.begin(at);
                }
            }
            Operator::End => self.close(at),
            Operator::Br { relative_depth } => self.go(*relative_depth),
            Operator::BrIf { relative_depth } if self.is_reached => {
                self.go(*relative_depth);
                self.begin(at);
            }
            Operator::BrTable { targets } if self.is_reached => {
                for depth in targets.targets().chain([Ok(targets.default())]).flatten() {
                    self.enter_label(depth);
                }
                self.is_reached = false;
            }
            Operator::Return | Operator::Unreachable => self.is_reached = false,
            op if self.is_reached && is_root(op) => self.begin(at),
            _ => {}
        }
    }

    fn pay(&mut self, weight: u32) {
        let payer = match self.payer {
            Some(at) => self.blocks.behind[at].get_or_insert_default(),
            None => &mut self.blocks.first,
        };
        *payer += u64::from(weight);
    }

    /// Begins a block behind a step.
    fn begin(&mut self, at: usize) {
        self.blocks.behind[at] = Some(0);
        self.payer = Some(at);
        self.is_reached = true;
    }

    fn open(&mut self, is_loop: bool, no_else: bool) {
        self.frames.push(Frame { is_loop, is_entered: false, no_else });
    }

    /// Leads the way to a label, and nowhere else.
    fn go(&mut self, depth: u32) {
        if std::mem::take(&mut self.is_reached) {
            self.enter_label(depth);
        }
    }

    fn enter_label(&mut self, depth: u32) {
        let label = self.frames.len() - 1 - depth as usize;
        self.frames[label].is_entered = true;
    }

    fn close(&mut self, at: usize) {
        // Whoever falls out of a loop goes on in the same block.
        if self.frames.last().is_some_and(|frame| !frame.is_loop) {
            self.go(0);
        }
        let is_function = self.frames.len() == 1;
        let frame = self.frames.pop().expect("an end has its beginning");
        if !is_function && !frame.is_loop && (frame.is_entered || frame.no_else) {
            self.begin(at);
        }
    }
}
