//! What is true on the ways to each step of a function: its structure is walked once, and what ways bring along is joined where they meet.

use wasmparser::Operator;

/// A structured operator that is open.
#[derive(Debug)]
struct Frame<S> {
    /// Where it is among the open loops, where it is one.
    loop_index: Option<usize>,
    /// What the ways to its end bring that come by branches.
    end: Option<S>,
    /// What the way into an arm of an `if` brings that has not begun yet.
    other_arm: Option<S>,
}

/// The walk.
#[derive(Debug)]
pub(super) struct Ways<S> {
    /// What is true here; nothing where no way leads.
    pub(super) here: Option<S>,
    frames: Vec<Frame<S>>,
    loops: usize,
    join: fn(S, S) -> S,
}

impl<S: Copy> Ways<S> {
    /// A walk from where `start` is true. What two ways bring becomes one by `join`.
    pub(super) fn new(start: S, join: fn(S, S) -> S) -> Self {
        let function = Frame { loop_index: None, end: None, other_arm: None };
        Self { here: Some(start), frames: vec![function], loops: 0, join }
    }

    /// How many loops are open.
    pub(super) fn loops(&self) -> usize {
        self.loops
    }

    /// Goes over an operator. `goes_back` is told of each way back to the head of an open loop.
    pub(super) fn step(&mut self, op: &Operator<'_>, mut goes_back: impl FnMut(usize, S)) {
        match op {
            Operator::Block { .. } => self.open(None, None),
            Operator::If { .. } => self.open(None, self.here),
            Operator::Loop { .. } => {
                self.open(Some(self.loops), None);
                self.loops += 1;
            }
            Operator::Else => {
                let frame = self.frames.last_mut().expect("an else has its if");
                frame.end = meet(self.join, frame.end, self.here);
                self.here = frame.other_arm.take();
            }
            Operator::End => {
                let frame = self.frames.pop().expect("an end has its beginning");
                self.here = meet(self.join, meet(self.join, self.here, frame.end), frame.other_arm);
                self.loops -= usize::from(frame.loop_index.is_some());
            }
            Operator::Br { relative_depth } => {
                self.branch(*relative_depth, &mut goes_back);
                self.here = None;
            }
            Operator::BrIf { relative_depth } => self.branch(*relative_depth, &mut goes_back),
            Operator::BrTable { targets } => {
                let depths = targets.targets().chain([Ok(targets.default())]).flatten();
                depths.for_each(|depth| self.branch(depth, &mut goes_back));
                self.here = None;
            }
            Operator::Return | Operator::Unreachable => self.here = None,
            _ => {}
        }
    }

    fn open(&mut self, loop_index: Option<usize>, other_arm: Option<S>) {
        self.frames.push(Frame { loop_index, end: None, other_arm });
    }

    fn branch(&mut self, depth: u32, goes_back: &mut impl FnMut(usize, S)) {
        let Some(here) = self.here else { return };
        let target = self.frames.len() - 1 - depth as usize;
        let frame = &mut self.frames[target];
        match frame.loop_index {
            Some(index) => goes_back(index, here),
            None => frame.end = meet(self.join, frame.end, Some(here)),
        }
    }
}

fn meet<S: Copy>(join: fn(S, S) -> S, a: Option<S>, b: Option<S>) -> Option<S> {
    match (a, b) {
        (Some(a), Some(b)) => Some(join(a, b)),
        (a, b) => a.or(b),
    }
}
