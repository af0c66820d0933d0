//! Where counter updates go: the classic optimal placement of profile counters (Knuth and Stevenson 1973; Ball and Larus 1994).
//!
//! A spanning tree over the graph, of the edges that are gone most often, needs no code. Every point has a *potential*: what the
//! counter lacks there, summed along the tree from the root. Each edge outside of the tree carries `potential(from) + weight -
//! potential(to)`, which may be negative; so along any way from the root to the root the updates add up to exactly the weights of
//! the blocks on it, and at any point the true count is the counter plus the point's potential.

use super::graph::{Edge, Graph, Point, ROOT};

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
        // Fixed edges weigh nothing and come first into the tree; where they close a circle, its points have one potential.
        assert!(
            graph.edges.iter().zip(&updates).all(|(edge, update)| !edge.is_fixed || *update == 0),
            "no code can stand on a fixed edge"
        );
        Self { updates, potentials }
    }
}

/// The edges of a maximum spanning tree (Kruskal), fixed ones first.
fn spanning_tree(graph: &Graph) -> Vec<usize> {
    let mut order: Vec<usize> = (0..graph.edges.len()).collect();
    // A stable sort: equal edges stay in the order of the code.
    order.sort_by(|a, b| {
        let (a, b) = (&graph.edges[*a], &graph.edges[*b]);
        b.is_fixed.cmp(&a.is_fixed).then(b.frequency.total_cmp(&a.frequency))
    });
    let mut forest = Forest((0..graph.points).collect());
    order.retain(|edge| forest.join(graph.edges[*edge].from, graph.edges[*edge].to));
    order
}

/// Walks the tree from the root.
fn potentials(graph: &Graph, tree: &[usize]) -> Vec<i64> {
    let mut neighbours = vec![Vec::new(); graph.points];
    for edge in tree.iter().map(|edge| &graph.edges[*edge]) {
        neighbours[edge.from].push((edge.to, edge.weight));
        neighbours[edge.to].push((edge.from, -edge.weight));
    }
    let mut potentials = vec![0; graph.points];
    let mut is_seen = vec![false; graph.points];
    is_seen[ROOT] = true;
    let mut open = vec![ROOT];
    while let Some(point) = open.pop() {
        for &(next, weight) in &neighbours[point] {
            if !std::mem::replace(&mut is_seen[next], true) {
                potentials[next] = potentials[point] + weight;
                open.push(next);
            }
        }
    }
    potentials
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
