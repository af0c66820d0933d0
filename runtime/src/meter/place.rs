//! Where counter updates go: the classic optimal placement of profile counters (Knuth and Stevenson 1973; Ball and Larus 1994).
//!
//! A spanning tree over the graph, of the edges that are gone most often, needs no code. Every point has a *potential*: what the
//! counter lacks there, summed along the tree from the root. Each edge outside of the tree carries `potential(from) + weight -
//! potential(to)`, which may be negative; so along any way from the root to the root the updates add up to exactly the weights of
//! the blocks on it, and at any point the true count is the counter plus the point's potential.

use super::graph::{EXIT, Edge, Graph, Point, ROOT};

/// The counter updates of one function.
#[derive(Debug)]
pub(super) struct Placement {
    /// What each edge adds to the counter, in units; 0 for those of the tree.
    pub(super) updates: Vec<i64>,
    /// What the counter lacks at each point, in units.
    pub(super) potentials: Vec<i64>,
}

impl Placement {
    /// The placement with the fewest updates executed, for all that is known of frequencies.
    pub(super) fn of(graph: &Graph) -> Self {
        let potentials = potentials(graph, &spanning_tree(graph));
        let update = |edge: &Edge| potentials[edge.from] + edge.weight - potentials[edge.to];
        let updates: Vec<i64> = graph.edges.iter().map(update).collect();
        // Fixed edges come first into the tree. They close circles only among branches that carry values, which weigh nothing.
        assert!(
            graph.edges.iter().zip(&updates).all(|(edge, update)| !edge.is_fixed || *update == 0),
            "no code can stand on a fixed edge"
        );
        Self { updates, potentials }
    }
}

/// What the tree may be made of: two points, and how much more the second lacks than the first.
#[derive(Debug, Clone, Copy)]
struct Branch {
    from: Point,
    to: Point,
    weight: i64,
    is_fixed: bool,
    worth: f64,
}

/// What a function had best leave its callers to add, in units.
pub(super) fn cheapest_debt(graph: &Graph) -> i64 {
    potentials(graph, &spanning_tree(graph))[EXIT]
}

/// The branches of a maximum spanning tree (Kruskal), fixed ones first. Beside the graph's edges it may have its pulls, as edges from
/// the root along which nothing goes.
fn spanning_tree(graph: &Graph) -> Vec<Branch> {
    let edge = |edge: &Edge| {
        let Edge { from, to, weight, is_fixed, frequency: worth, .. } = *edge;
        Branch { from, to, weight, is_fixed, worth }
    };
    let pull = |&(to, worth): &(Point, f64)| Branch { from: ROOT, to, weight: 0, is_fixed: false, worth };
    let mut branches: Vec<Branch> = graph.edges.iter().map(edge).chain(graph.pulls.iter().map(pull)).collect();
    // A stable sort: equal edges stay in the order of the code.
    branches.sort_by(|a, b| b.is_fixed.cmp(&a.is_fixed).then(b.worth.total_cmp(&a.worth)));
    let mut forest = Forest((0..graph.points).collect());
    branches.retain(|branch| forest.join(branch.from, branch.to));
    branches
}

/// Walks the tree from the root.
fn potentials(graph: &Graph, tree: &[Branch]) -> Vec<i64> {
    let mut neighbours = Neighbours::new(graph.points, 2 * tree.len());
    for branch in tree {
        neighbours.add(branch.from, branch.to, branch.weight);
        neighbours.add(branch.to, branch.from, -branch.weight);
    }
    let mut potentials = vec![0; graph.points];
    let mut is_seen = vec![false; graph.points];
    is_seen[ROOT] = true;
    let mut open = vec![ROOT];
    while let Some(point) = open.pop() {
        for (next, weight) in neighbours.of(point) {
            if !std::mem::replace(&mut is_seen[next], true) {
                potentials[next] = potentials[point] + weight;
                open.push(next);
            }
        }
    }
    potentials
}

/// Which points are next to which: a chain for each, all in one allocation, as there are millions of points in a large module.
struct Neighbours {
    /// Where each point's chain begins; [`Self::END`] where it has none.
    first: Vec<usize>,
    /// A neighbour, how much more it lacks, and where the chain goes on.
    links: Vec<(Point, i64, usize)>,
}

impl Neighbours {
    const END: usize = usize::MAX;

    fn new(points: usize, links: usize) -> Self {
        Self { first: vec![Self::END; points], links: Vec::with_capacity(links) }
    }

    fn add(&mut self, point: Point, neighbour: Point, weight: i64) {
        let next = std::mem::replace(&mut self.first[point], self.links.len());
        self.links.push((neighbour, weight, next));
    }

    fn of(&self, point: Point) -> impl Iterator<Item = (Point, i64)> {
        let mut at = self.first[point];
        std::iter::from_fn(move || {
            let (neighbour, weight, next) = *self.links.get(at)?;
            at = next;
            Some((neighbour, weight))
        })
    }
}

/// Which points are connected (union-find).
struct Forest(Vec<Point>);

impl Forest {
    fn root(&mut self, mut point: Point) -> Point {
        while self.0[point] != point {
            self.0[point] = self.0[self.0[point]];
            point = self.0[point];
        }
        point
    }

    /// Connects two points, and says whether they were not before.
    fn join(&mut self, a: Point, b: Point) -> bool {
        let (a, b) = (self.root(a), self.root(b));
        self.0[a] = b;
        a != b
    }
}
