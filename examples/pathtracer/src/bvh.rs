use crate::geometry::{Bounds, Ray, Shape};
use crate::vec3::{Vec3, vec3};

/// A leaf holds at most this many shapes, unless nothing tells them apart: to test two shapes costs about as much as two more boxes.
const LEAF_SHAPES_MAX: usize = 2;

/// The deepest tree that is built. A deeper node becomes a leaf, however full, so that the walk's stack has a known size.
pub(crate) const DEPTH_MAX: usize = 32;

/// A tree of boxes over shapes. A ray looks only at the shapes whose boxes it enters.
#[derive(Debug)]
pub(crate) struct Bvh {
    /// The root is the first. A branch's children come after it.
    pub(crate) nodes: Vec<Node>,
    /// Positions in the caller's list of shapes, so ordered that each leaf's are together.
    pub(crate) order: Vec<u32>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Node {
    pub(crate) bounds: Bounds,
    pub(crate) kind: NodeKind,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum NodeKind {
    Branch { left: u32, right: u32 },
    Leaf { first: u32, count: u32 },
}

impl Bvh {
    /// The tree over `shapes`, which every later call must be given again.
    pub(crate) fn new(shapes: &[Shape]) -> Self {
        let items = shapes.iter().enumerate().map(|(index, shape)| Item { index: index as u32, bounds: shape.bounds() });
        let mut builder = Builder { items: items.collect(), nodes: Vec::new() };
        builder.build(0, shapes.len(), 0);
        Self { nodes: builder.nodes, order: builder.items.iter().map(|item| item.index).collect() }
    }

    /// The nearest shape that `ray` meets, by its position, and how far away.
    pub(crate) fn nearest(&self, shapes: &[Shape], ray: &Ray) -> Option<(usize, f32)> {
        let mut nearest = None;
        let mut limit = f32::INFINITY;
        self.walk(ray, f32::INFINITY, |index| {
            if let Some(distance) = shapes[index].intersect(ray, limit) {
                nearest = Some((index, distance));
                limit = distance;
            }
            Some(limit)
        });
        nearest
    }

    /// Whether `ray` meets any shape before `limit`.
    pub(crate) fn is_blocked(&self, shapes: &[Shape], ray: &Ray, limit: f32) -> bool {
        !self.walk(ray, limit, |index| shapes[index].intersect(ray, limit).is_none().then_some(limit))
    }

    /// Shows `visit` the shapes whose boxes `ray` enters before `limit`, near boxes first. `visit` answers with the limit from then on, or
    /// with `None` to end the walk. Returns whether the walk came to its own end.
    fn walk(&self, ray: &Ray, mut limit: f32, mut visit: impl FnMut(usize) -> Option<f32>) -> bool {
        let Vec3 { x, y, z } = ray.direction;
        let inverse = vec3(1.0 / x, 1.0 / y, 1.0 / z);
        let enter = |node: u32, limit: f32| self.nodes[node as usize].bounds.enter(ray.origin, inverse, limit);
        // At every level of the tree at most one sibling waits.
        let mut waiting = [(0u32, 0f32); DEPTH_MAX + 1];
        let mut depth = 0usize;
        let mut next = enter(0, limit).map(|_| 0);
        loop {
            let Some(node) = next else {
                let Some(&(node, near)) = depth.checked_sub(1).map(|top| &waiting[top]) else { return true };
                depth -= 1;
                // What was found since may be nearer than this box.
                next = (near < limit).then_some(node);
                continue;
            };
            next = match self.nodes[node as usize].kind {
                NodeKind::Leaf { first, count } => {
                    for &index in &self.order[first as usize..(first + count) as usize] {
                        let Some(new_limit) = visit(index as usize) else { return false };
                        limit = new_limit;
                    }
                    None
                }
                NodeKind::Branch { left, right } => match (enter(left, limit), enter(right, limit)) {
                    (Some(to_left), Some(to_right)) => {
                        let (near, far) = if to_left <= to_right { (left, (right, to_right)) } else { (right, (left, to_left)) };
                        waiting[depth] = far;
                        depth += 1;
                        Some(near)
                    }
                    (Some(_), None) => Some(left),
                    (None, Some(_)) => Some(right),
                    (None, None) => None,
                },
            };
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Item {
    index: u32,
    bounds: Bounds,
}

struct Builder {
    items: Vec<Item>,
    nodes: Vec<Node>,
}

impl Builder {
    /// Builds the node over `items[first..end]` and returns its position.
    fn build(&mut self, first: usize, end: usize, depth: usize) -> u32 {
        let bounds = around(&self.items[first..end]);
        let position = self.nodes.len();
        self.nodes.push(Node { bounds, kind: NodeKind::Leaf { first: first as u32, count: (end - first) as u32 } });
        if end - first > LEAF_SHAPES_MAX && depth < DEPTH_MAX {
            let middle = first + best_split(&mut self.items[first..end]);
            let left = self.build(first, middle, depth + 1);
            let right = self.build(middle, end, depth + 1);
            self.nodes[position].kind = NodeKind::Branch { left, right };
        }
        position as u32
    }
}

/// Orders `items` along the axis and returns the place where to cut them so that a random ray does the least work: the sum over both sides
/// of area times shapes (the surface area heuristic).
fn best_split(items: &mut [Item]) -> usize {
    let mut best = (f32::INFINITY, 0, 1);
    for axis in 0..3 {
        sort_along(items, axis);
        for (cost, cut) in split_costs(items) {
            if cost < best.0 {
                best = (cost, axis, cut);
            }
        }
    }
    let (_, axis, cut) = best;
    sort_along(items, axis);
    cut
}

fn sort_along(items: &mut [Item], axis: usize) {
    // The position breaks ties, so that the order does not depend on the one before.
    items
        .sort_unstable_by(|a, b| a.bounds.centre()[axis].total_cmp(&b.bounds.centre()[axis]).then_with(|| a.index.cmp(&b.index)));
}

/// The cost of every cut, with its place.
fn split_costs(items: &[Item]) -> Vec<(f32, usize)> {
    let mut bounds = Bounds::EMPTY;
    let mut costs: Vec<_> = (1..items.len())
        .map(|cut| {
            bounds = bounds.union(items[cut - 1].bounds);
            (bounds.half_area() * cut as f32, cut)
        })
        .collect();
    let mut bounds = Bounds::EMPTY;
    for (cost, cut) in costs.iter_mut().rev() {
        bounds = bounds.union(items[*cut].bounds);
        *cost += bounds.half_area() * (items.len() - *cut) as f32;
    }
    costs
}

fn around(items: &[Item]) -> Bounds {
    items.iter().fold(Bounds::EMPTY, |bounds, item| bounds.union(item.bounds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::{Sphere, Triangle};
    use crate::sampler::{Sampler, sphere};

    fn cloud(sampler: &mut Sampler, count: usize) -> Vec<Shape> {
        let mut point = |scale: f32| vec3(sampler.number() - 0.5, sampler.number() - 0.5, sampler.number() - 0.5) * scale;
        (0..count)
            .map(|index| {
                let centre = point(10.0);
                match index % 2 {
                    0 => Shape::Sphere(Sphere { centre, radius: 0.3 }),
                    _ => Shape::Triangle(Triangle::new([centre, centre + point(2.0), centre + point(2.0)])),
                }
            })
            .collect()
    }

    fn nearest_of_all(shapes: &[Shape], ray: &Ray) -> Option<(usize, f32)> {
        let hits = shapes.iter().enumerate().filter_map(|(index, shape)| Some((index, shape.intersect(ray, f32::INFINITY)?)));
        hits.min_by(|a, b| a.1.total_cmp(&b.1))
    }

    #[test]
    fn the_tree_finds_what_a_search_of_all_shapes_finds() {
        let mut sampler = Sampler::new(3, 0, 0, 1);
        for count in [1, 2, 3, 17, 200] {
            let shapes = cloud(&mut sampler, count);
            let bvh = Bvh::new(&shapes);
            let mut hits = 0;
            for _ in 0..500 {
                let origin = sphere((sampler.number(), sampler.number())) * 12.0;
                let to = sphere((sampler.number(), sampler.number())) * 4.0;
                let ray = Ray { origin, direction: (to - origin).normalized() };
                let expected = nearest_of_all(&shapes, &ray);
                assert_eq!(bvh.nearest(&shapes, &ray), expected);
                let Some((_, distance)) = expected else {
                    assert!(!bvh.is_blocked(&shapes, &ray, f32::INFINITY));
                    continue;
                };
                hits += 1;
                assert!(bvh.is_blocked(&shapes, &ray, distance * 1.001));
                assert!(!bvh.is_blocked(&shapes, &ray, distance));
            }
            assert!(hits > 0, "the rays must meet some of the {count} shapes");
        }
    }

    #[test]
    fn shapes_in_one_place_end_in_a_leaf() {
        let shapes = vec![Shape::Sphere(Sphere { centre: Vec3::ZERO, radius: 1.0 }); 100];
        let ray = Ray { origin: vec3(0.0, 0.0, 5.0), direction: vec3(0.0, 0.0, -1.0) };
        assert!(Bvh::new(&shapes).nearest(&shapes, &ray).is_some_and(|(_, distance)| distance == 4.0));
    }
}
