//! Where a function learns how deep it was called, and where it tells others.
//!
//! Who calls a function that is counted notes the depth for it, and must know its own for that. It looks as late as it may: the calls
//! that end before they call on never do. The word that it looks at is its own until it calls, so it must look before the first call that
//! notes on each way, and outside of loops.

use wasmparser::Operator;

use super::body::Step;
use super::calls::{Callee, Callees, Entry, UNCOUNTED_BYTES_MAX};
use super::ways::Ways;

/// What a function does before a step for the sake of depth.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Nesting {
    pub(super) enter: Enter,
    /// Whether it notes its own depth for the function that it calls.
    pub(super) is_noted: bool,
}

/// Whether a function looks how deep it was called.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Enter {
    /// It does not, or it knows.
    #[default]
    Not,
    /// It does.
    Always,
    /// It does unless it has done so on the way here: then its local is not zero.
    Unless,
}

/// What a function knows of its depth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    No,
    Yes,
    /// That depends on the way.
    Perhaps,
}

impl Known {
    fn join(self, other: Self) -> Self {
        if self == other { self } else { Self::Perhaps }
    }

    const fn enter(self) -> Enter {
        match self {
            Self::No => Enter::Always,
            Self::Yes => Enter::Not,
            Self::Perhaps => Enter::Unless,
        }
    }
}

/// What one function does.
#[derive(Debug)]
pub(super) struct Depths {
    is_entered_first: bool,
    is_noted: bool,
    steps: Vec<Nesting>,
}

impl Depths {
    pub(super) fn of(steps: &[Step<'_>], callees: Callees<'_>, entry: Entry) -> Self {
        let is_entered_first = entry.is_counted && entry.frame > UNCOUNTED_BYTES_MAX;
        let is_noted = |step: &Step<'_>| callees.of(&step.op).is_some_and(Callee::is_counted);
        let mut depths = Self { is_entered_first, is_noted: steps.iter().any(is_noted), steps: Vec::new() };
        if !depths.is_noted {
            return depths;
        }
        let notes_inside = loops_with(steps, is_noted);
        let mut ways = Ways::new(if is_entered_first { Known::Yes } else { Known::No }, Known::join);
        for (at, step) in steps.iter().enumerate() {
            let mut nesting = Nesting { enter: Enter::Not, is_noted: is_noted(step) };
            if let Some(known) = ways.here.filter(|_| nesting.is_noted || notes_inside[at]) {
                nesting.enter = known.enter();
                ways.here = Some(Known::Yes);
            }
            depths.steps.push(nesting);
            ways.step(&step.op, |_, _| {});
        }
        depths
    }

    /// Whether it looks when it is entered, because its frame is large.
    pub(super) fn is_entered_first(&self) -> bool {
        self.is_entered_first
    }

    /// Whether it ever notes its depth for others.
    pub(super) fn is_noted(&self) -> bool {
        self.is_noted
    }

    /// What it does before a step.
    pub(super) fn before(&self, at: usize) -> Nesting {
        self.steps.get(at).copied().unwrap_or_default()
    }
}

/// Which steps are loops in which a step is `wanted`.
fn loops_with(steps: &[Step<'_>], wanted: impl Fn(&Step<'_>) -> bool) -> Vec<bool> {
    let mut found = vec![false; steps.len()];
    let mut open = Vec::new();
    let mut seen = 0;
    for (at, step) in steps.iter().enumerate() {
        match &step.op {
            Operator::Block { .. } | Operator::If { .. } => open.push(None),
            Operator::Loop { .. } => open.push(Some((at, seen))),
            Operator::End => {
                if let Some((start, before)) = open.pop().flatten() {
                    found[start] = seen > before;
                }
            }
            _ => seen += usize::from(wanted(step)),
        }
    }
    found
}
