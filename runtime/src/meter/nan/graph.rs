//! The values of a body, where each may come from, who looks at it, and where it has to be canonicalised.

use super::facts::{Facts, Lanes, Need};
use super::operators::{Grain, Parts};

/// A value: what one operator makes, or what arrives at one label from several places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Value(u32);

impl Value {
    /// Bits that are the same on every machine.
    pub(super) const EXACT: Self = Self(0);
    /// The same, and whatever is a NaN is the canonical one: zeros, for instance.
    pub(super) const PLAIN: Self = Self(1);
    const PLAIN_32: Self = Self(2);
    const PLAIN_64: Self = Self(3);
    /// No value, but the users that look at bits.
    const SEEN_AS_BITS: Self = Self(4);
    const SEEN_AS_32: Self = Self(5);
    const SEEN_AS_64: Self = Self(6);
    /// Values from here on are made by the body.
    const FIRST_MADE: u32 = 7;

    /// A value that is the same on every machine, with facts of its own.
    pub(super) fn fixed(facts: Facts) -> Self {
        match facts {
            Facts::ALL => Self::PLAIN,
            Facts::PLAIN_32 => Self::PLAIN_32,
            Facts::PLAIN_64 => Self::PLAIN_64,
            _ => Self::EXACT,
        }
    }

    const fn is_fixed(self) -> bool {
        self.0 <= Self::PLAIN_64.0
    }

    const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A place where a value can be canonicalised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Before this step of the body.
    pub(super) step: u32,
    /// Where the value is then.
    pub(super) holder: Holder,
    /// How many loops are around.
    pub(super) loops: u32,
}

/// What holds a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Holder {
    /// A local.
    Local(u32),
    /// The top of the operand stack.
    Top,
}

/// A canonicalisation to insert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Insertion {
    /// Before this step of the body.
    pub(super) step: u32,
    /// What is canonicalised.
    pub(super) holder: Holder,
    /// As what.
    pub(super) form: Form,
}

/// The shape of a value that is canonicalised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::meter) enum Form {
    F32,
    F64,
    F32x4,
    F64x2,
}

/// The cost of a canonicalisation in one more loop, as a multiple: a guess of how often loops repeat.
const LOOP_COST: u64 = 8;
/// Deeper loops are not told apart.
const LOOPS_MAX: u32 = 12;

#[derive(Debug)]
struct Node {
    /// How it is put together; `None` if it is made as it is.
    parts: Option<Parts>,
    /// What is known of it.
    facts: Facts,
    /// What its users need to know.
    need: Need,
    /// Whether its parts are canonicalised where they fall short of the need.
    forced: bool,
    vector: bool,
    /// Where it can be canonicalised for all of its users.
    origin: Option<Place>,
}

/// A user of a value: it is a part of another one, or looked at.
#[derive(Debug, Clone, Copy)]
struct Edge {
    from: Value,
    to: Value,
    /// Where the value can be canonicalised for this user alone.
    place: Place,
}

/// The values of a body.
#[derive(Debug)]
pub(super) struct Graph {
    nodes: Vec<Node>,
    edges: Vec<Edge>,
}

impl Graph {
    pub(super) fn new() -> Self {
        let fixed = |facts| Node { parts: None, facts, need: Need::Bits, forced: false, vector: false, origin: None };
        let user = |need| Node { forced: true, need, ..fixed(Facts::EXACT) };
        let nodes = vec![
            fixed(Facts::EXACT),
            fixed(Facts::ALL),
            fixed(Facts::PLAIN_32),
            fixed(Facts::PLAIN_64),
            user(Need::Bits),
            user(Need::Numbers(Lanes::Of32)),
            user(Need::Numbers(Lanes::Of64)),
        ];
        Self { nodes, edges: Vec::new() }
    }

    /// How much memory and time this takes, in values and uses.
    pub(super) fn size(&self) -> usize {
        self.nodes.len() + self.edges.len()
    }

    /// Whether a value that the body makes is a vector.
    pub(super) fn is_vector(&self, value: Value) -> bool {
        self.nodes[value.index()].vector
    }

    /// What arithmetic makes.
    pub(super) fn add_arithmetic(&mut self, lanes: Lanes, vector: bool, origin: Place) -> Value {
        self.add(None, Facts::raw(lanes), vector, Some(origin))
    }

    /// What is put together from parts, which are then named by [`Graph::use_part`].
    pub(super) fn add_parts(&mut self, parts: Parts, origin: Option<Place>) -> Value {
        self.add(Some(parts), Facts::ALL, parts.vector, origin)
    }

    fn add(&mut self, parts: Option<Parts>, facts: Facts, vector: bool, origin: Option<Place>) -> Value {
        let value = Value(self.nodes.len() as u32);
        self.nodes.push(Node { parts, facts, need: Need::Nothing, forced: false, vector, origin });
        value
    }

    /// Says where a value can be canonicalised for all of its users.
    pub(super) fn set_origin(&mut self, value: Value, origin: Place) {
        if value.0 >= Value::FIRST_MADE {
            self.nodes[value.index()].origin = Some(origin);
        }
    }

    /// Has all parts of `value` brought to the reference's bits: for values that cannot be canonicalised later, because others lie above
    /// them.
    pub(super) fn pin(&mut self, value: Value) {
        if value.0 >= Value::FIRST_MADE {
            let node = &mut self.nodes[value.index()];
            (node.need, node.forced, node.facts) = (Need::Bits, true, Facts::EXACT);
        }
    }

    /// `from` is a part of `to`.
    pub(super) fn use_part(&mut self, from: Value, to: Value, place: Place) {
        if to.0 >= Value::FIRST_MADE {
            self.edges.push(Edge { from, to, place });
        }
    }

    /// Someone looks at the bits of `from`.
    pub(super) fn use_bits(&mut self, from: Value, place: Place) {
        self.look(from, Value::SEEN_AS_BITS, place);
    }

    /// Someone looks at the lanes of `from` as numbers.
    pub(super) fn use_numbers(&mut self, from: Value, lanes: Lanes, place: Place) {
        let to = match lanes {
            Lanes::Of32 => Value::SEEN_AS_32,
            Lanes::Of64 => Value::SEEN_AS_64,
        };
        self.look(from, to, place);
    }

    fn look(&mut self, from: Value, to: Value, place: Place) {
        if !from.is_fixed() {
            self.edges.push(Edge { from, to, place });
        }
    }

    /// The canonicalisations that give every user what it needs, in the order of the body.
    pub(super) fn solve(mut self) -> Vec<Insertion> {
        self.spread_needs();
        self.settle_facts();
        self.insertions()
    }

    /// A value needs to be known as its users need it. Each value rises at most twice.
    fn spread_needs(&mut self) {
        let sources = Index::new(self.nodes.len(), self.edges.iter().map(|edge| edge.to));
        let mut queue: Vec<Value> = (0..self.nodes.len() as u32).rev().map(Value).collect();
        while let Some(to) = queue.pop() {
            let need = self.need_of_parts(to);
            for &edge in sources.of(to) {
                let from = self.edges[edge as usize].from;
                let node = &mut self.nodes[from.index()];
                let raised = node.need.or(need);
                if raised != node.need {
                    node.need = raised;
                    queue.push(from);
                }
            }
        }
    }

    /// What the parts of a value have to satisfy, that it may satisfy its need.
    fn need_of_parts(&self, value: Value) -> Need {
        let node = &self.nodes[value.index()];
        let Some(parts) = &node.parts else { return node.need };
        let need = match (parts.grain, node.need) {
            (_, Need::Nothing) => Need::Nothing,
            (Grain::Whole, need) => need,
            (Grain::Lanes(lanes), need) if need == Need::Numbers(lanes) => need,
            (Grain::Lanes(_) | Grain::Bits, _) => Need::Bits,
        };
        match parts.grain {
            Grain::Lanes(lanes) if parts.compared => need.or(Need::Numbers(lanes)),
            _ => need,
        }
    }

    /// What is known of a value is what is known of all of its parts. Assumes the best first, for loops, and takes back; a value that
    /// falls short of its need is forced. Each value falls at most six times.
    fn settle_facts(&mut self) {
        let sources = Index::new(self.nodes.len(), self.edges.iter().map(|edge| edge.to));
        let users = Index::new(self.nodes.len(), self.edges.iter().map(|edge| edge.from));
        let mut queue: std::collections::VecDeque<Value> = (Value::FIRST_MADE..self.nodes.len() as u32).map(Value).collect();
        let mut queued = vec![true; self.nodes.len()];
        while let Some(value) = queue.pop_front() {
            queued[value.index()] = false;
            if !self.settle(value, sources.of(value)) {
                continue;
            }
            for &edge in users.of(value) {
                let to = self.edges[edge as usize].to;
                if to.0 >= Value::FIRST_MADE && !std::mem::replace(&mut queued[to.index()], true) {
                    queue.push_back(to);
                }
            }
        }
    }

    /// Works out the facts of one value; tells whether they changed.
    fn settle(&mut self, value: Value, sources: &[u32]) -> bool {
        let node = &self.nodes[value.index()];
        let Some(parts) = node.parts else { return false };
        if node.forced {
            return false;
        }
        let mut facts = node.facts.and(parts.kept);
        for &edge in sources {
            let part = self.nodes[self.edges[edge as usize].from.index()].facts;
            facts = facts.and(match parts.grain {
                Grain::Whole => part,
                Grain::Lanes(lanes) => part.in_lanes(lanes),
                Grain::Bits => part.in_bits(),
            });
        }
        let node = &mut self.nodes[value.index()];
        if !facts.can_satisfy(node.need) {
            node.forced = true;
            facts = node.need.facts();
        }
        std::mem::replace(&mut node.facts, facts) != facts
    }

    /// Where a user would take a value that falls short, it is canonicalised: at its origin, if that is cheaper than at each such user.
    fn insertions(&self) -> Vec<Insertion> {
        let mut costs = vec![0u64; self.nodes.len()];
        for edge in self.edges.iter().filter(|edge| self.falls_short(edge)) {
            let cost = &mut costs[edge.from.index()];
            *cost = cost.saturating_add(cost_in(edge.place.loops));
        }
        let at_origin = |value: Value| {
            let origin = self.nodes[value.index()].origin?;
            (costs[value.index()] > cost_in(origin.loops)).then_some(origin)
        };
        let mut insertions: Vec<Insertion> = self
            .edges
            .iter()
            .filter(|edge| self.falls_short(edge))
            .map(|edge| self.insertion(edge.from, at_origin(edge.from).unwrap_or(edge.place)))
            .collect();
        insertions.sort_unstable();
        insertions.dedup();
        insertions
    }

    /// Whether the user of an edge has to canonicalise first. A value that is not forced has no facts but those that all its parts have.
    fn falls_short(&self, edge: &Edge) -> bool {
        self.nodes[edge.to.index()].forced && !self.nodes[edge.from.index()].facts.satisfy(self.need_of_parts(edge.to))
    }

    fn insertion(&self, value: Value, place: Place) -> Insertion {
        let node = &self.nodes[value.index()];
        let lanes = node.facts.raw_lanes().expect("a value that cannot satisfy its users was forced to");
        Insertion { step: place.step, holder: place.holder, form: Form::new(lanes, node.vector) }
    }
}

fn cost_in(loops: u32) -> u64 {
    LOOP_COST.pow(loops.min(LOOPS_MAX))
}

/// The edges at each value.
struct Index {
    starts: Vec<u32>,
    edges: Vec<u32>,
}

impl Index {
    /// Sorts edges, each given by the value that it is listed under, by counting.
    fn new(values: usize, edges: impl ExactSizeIterator<Item = Value> + Clone) -> Self {
        let mut starts = vec![0u32; values + 1];
        for value in edges.clone() {
            starts[value.index() + 1] += 1;
        }
        for i in 0..values {
            starts[i + 1] += starts[i];
        }
        let mut next = starts.clone();
        let mut sorted = vec![0; edges.len()];
        for (edge, value) in edges.enumerate() {
            sorted[next[value.index()] as usize] = edge as u32;
            next[value.index()] += 1;
        }
        Self { starts, edges: sorted }
    }

    fn of(&self, value: Value) -> &[u32] {
        &self.edges[self.starts[value.index()] as usize..self.starts[value.index() + 1] as usize]
    }
}
