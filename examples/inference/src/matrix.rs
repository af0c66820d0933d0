//! Matrix products, the work that all else is little beside.

use wide::{f32x4, f32x8};

/// Columns that are computed at a time: two vectors of 128 bits, which wasm and every x86-64 have.
const COLUMNS: usize = 8;
/// Rows that are computed at a time. Four rows of two vectors are eight of sixteen registers, and leave room for what is multiplied: with
/// six rows compilers of wasm keep some sums in memory.
const ROWS: usize = 4;
/// Terms of a sum that are computed before the next tile is begun, so that what they read stays in the nearest cache: a panel's
/// part is 16 KiB. A sum is then made of partial sums, in an order that depends on nothing but this number.
const DEPTH: usize = 512;

/// A matrix as rows of `f32`, one after the other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows<'a> {
    values: &'a [f32],
    /// Values of a row that are looked at, from `first`.
    first: usize,
    width: usize,
    /// From one row's beginning to the next one's.
    stride: usize,
}

impl<'a> Rows<'a> {
    /// All of `values`, in rows of `width`.
    pub(crate) fn new(values: &'a [f32], width: usize) -> Self {
        assert_eq!(values.len() % width, 0, "rows are whole");
        Self { values, first: 0, width, stride: width }
    }

    /// The part of each row that begins at `first` and is `width` wide.
    pub(crate) fn columns(self, first: usize, width: usize) -> Self {
        assert!(first + width <= self.width, "the part lies within the rows");
        Self { first: self.first + first, width, ..self }
    }

    pub(crate) fn iter(self) -> impl ExactSizeIterator<Item = &'a [f32]> {
        self.values.chunks_exact(self.stride).map(move |row| &row[self.first..self.first + self.width])
    }

    fn height(self) -> usize {
        self.values.len() / self.stride
    }
}

/// The right side of a product, of `depth` rows and `width` columns, laid out as the product reads it: panels of [`COLUMNS`] columns,
/// the last one filled up with zeros.
#[derive(Debug)]
pub(crate) struct Panels {
    values: Vec<f32x8>,
    depth: usize,
    width: usize,
}

impl Panels {
    /// Of a matrix's transpose: each of `rows` is a column, as linear layers and keys are stored.
    pub(crate) fn transposed(rows: Rows<'_>) -> Self {
        let (depth, width) = (rows.width, rows.height());
        let mut values = Vec::with_capacity(depth * width.div_ceil(COLUMNS));
        let zeros = vec![0.0; depth];
        let columns: Vec<&[f32]> = rows.iter().collect();
        for panel in columns.chunks(COLUMNS) {
            let column: [&[f32]; COLUMNS] = std::array::from_fn(|n| &panel.get(n).copied().unwrap_or(&zeros)[..depth]);
            values.extend((0..depth).map(|k| f32x8::from(column.map(|column| column[k]))));
        }
        Self { values, depth, width }
    }

    /// Of a matrix as it is.
    pub(crate) fn of(rows: Rows<'_>) -> Self {
        let (depth, width) = (rows.height(), rows.width);
        let mut values = Vec::with_capacity(depth * width.div_ceil(COLUMNS));
        for first in (0..width).step_by(COLUMNS) {
            let columns = COLUMNS.min(width - first);
            values.extend(rows.columns(first, columns).iter().map(|part| {
                let mut lanes = [0.0; COLUMNS];
                lanes[..columns].copy_from_slice(part);
                f32x8::from(lanes)
            }));
        }
        Self { values, depth, width }
    }
}

/// Adds the product of `left` and `right` to `sums`, whose rows are `stride` long; the product's are put at `first` in them.
///
/// Each sum is made of the same terms in the same order whatever the sizes, without fused operations, so it is the same to the last bit
/// on every machine.
pub(crate) fn add_product(left: Rows<'_>, right: &Panels, sums: &mut [f32], stride: usize, first: usize) {
    assert_eq!(left.width, right.depth, "as many columns on the left as rows on the right");
    assert!(first + right.width <= stride, "the product fits into its rows");
    assert_eq!(left.height() * stride, sums.len(), "as many sums as products");
    let mut strip = Vec::new();
    for from in (0..left.width).step_by(DEPTH) {
        let depth = DEPTH.min(left.width - from);
        interleave(left.columns(from, depth), &mut strip);
        for (panel, column) in right.values.chunks_exact(right.depth).zip((first..).step_by(COLUMNS)) {
            let width = COLUMNS.min(first + right.width - column);
            let panel = &panel[from..from + depth];
            for (rows, sums) in strip.chunks_exact(depth).zip(sums.chunks_mut(ROWS * stride)) {
                let tile = tile(rows, panel);
                for (row, products) in sums.chunks_exact_mut(stride).zip(tile) {
                    add(&mut row[column..column + width], products);
                }
            }
        }
    }
}

/// Rows side by side, [`ROWS`] at a time, in the order in which [`tile`] reads them; the last ones filled up with zeros.
fn interleave(rows: Rows<'_>, strip: &mut Vec<f32x4>) {
    strip.clear();
    let zeros = vec![0.0; rows.width];
    let rows_of: Vec<&[f32]> = rows.iter().collect();
    for some in rows_of.chunks(ROWS) {
        let row: [&[f32]; ROWS] = std::array::from_fn(|n| &some.get(n).copied().unwrap_or(&zeros)[..rows.width]);
        strip.extend((0..rows.width).map(|k| f32x4::from(row.map(|row| row[k]))));
    }
}

/// The products of [`ROWS`] rows and [`COLUMNS`] columns.
///
/// A function of its own, so that all that its loop needs is in registers. A step reads the four rows' numbers as one vector, of which each is
/// spread by a shuffle: a number that is read alone and spread takes a compiler of wasm three instructions (measured: 1.36 times the time).
/// A loop of several steps is slower, as all that it reads is read first.
#[inline(never)]
fn tile(rows: &[f32x4], panel: &[f32x8]) -> [f32x8; ROWS] {
    let mut sums = [f32x8::ZERO; ROWS];
    for (left, right) in rows.iter().zip(panel) {
        for (sum, value) in sums.iter_mut().zip(left.to_array()) {
            // Not `mul_add`, which rounds once or twice as the machine has it.
            *sum += f32x8::splat(value) * *right;
        }
    }
    sums
}

#[inline(always)]
fn add(row: &mut [f32], products: f32x8) {
    match <&mut [f32; COLUMNS]>::try_from(&mut *row) {
        Ok(whole) => *whole = (f32x8::from(*whole) + products).to_array(),
        Err(_) => row.iter_mut().zip(products.to_array()).for_each(|(sum, product)| *sum += product),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers whose products and sums `f32` holds exactly, so that any order gives the same.
    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|n| ((n * 37 + seed * 11) % 17) as f32 - 8.0).collect()
    }

    fn naive(left: &[f32], right: &[f32], depth: usize, width: usize) -> Vec<f32> {
        let rows = left.chunks_exact(depth);
        let cell = |row: &[f32], column| row.iter().enumerate().map(|(k, value)| value * right[k * width + column]).sum::<f32>();
        rows.flat_map(|row| (0..width).map(move |column| cell(row, column))).collect()
    }

    #[test]
    fn products_of_all_sizes_are_those_of_the_definition() {
        for (height, depth, width) in
            [(1, 1, 1), (6, 8, 8), (5, 3, 7), (7, 9, 17), (13, 511, 9), (6, 512, 8), (4, 1025, 20), (0, 4, 4)]
        {
            let (left, right) = (numbers(height * depth, 1), numbers(depth * width, 2));
            let mut sums = vec![0.0; height * width];
            add_product(Rows::new(&left, depth), &Panels::of(Rows::new(&right, width)), &mut sums, width, 0);
            assert_eq!(sums, naive(&left, &right, depth, width), "{height}x{depth} by {depth}x{width}");
        }
    }

    #[test]
    fn transposed_panels_are_those_of_the_transpose() {
        let (depth, width) = (5, 11);
        let rows = numbers(depth * width, 3);
        let transpose: Vec<f32> = (0..depth).flat_map(|k| rows.iter().skip(k).step_by(depth).copied()).collect();
        let (one, other) = (Panels::transposed(Rows::new(&rows, depth)), Panels::of(Rows::new(&transpose, width)));
        assert_eq!(one.values, other.values);
        assert_eq!((one.depth, one.width), (other.depth, other.width));
    }

    #[test]
    fn parts_of_rows_are_multiplied_and_put_into_parts_of_rows() {
        let (left, right) = (numbers(4 * 6, 4), numbers(3 * 10, 5));
        let mut sums = vec![1.0; 4 * 12];
        add_product(Rows::new(&left, 6).columns(2, 3), &Panels::of(Rows::new(&right, 10).columns(1, 9)), &mut sums, 12, 2);
        for (n, row) in sums.chunks_exact(12).enumerate() {
            for (column, sum) in row.iter().enumerate() {
                let product = |column: usize| (0..3).map(|k| left[n * 6 + 2 + k] * right[k * 10 + column - 1]).sum::<f32>();
                assert_eq!(*sum, 1.0 + if (2..11).contains(&column) { product(column) } else { 0.0 }, "{n}, {column}");
            }
        }
    }

    #[test]
    fn sums_do_not_depend_on_the_rows_beside_them() {
        let depth = 700;
        let (left, right) = (numbers(20 * depth, 6), numbers(depth * 9, 7));
        let left: Vec<f32> = left.iter().map(|value| value / 3.0).collect();
        let panels = Panels::of(Rows::new(&right, 9));
        let product = |rows: &[f32]| {
            let mut sums = vec![0.0; rows.len() / depth * 9];
            add_product(Rows::new(rows, depth), &panels, &mut sums, 9, 0);
            sums
        };
        let whole = product(&left);
        for n in 0..20 {
            assert_eq!(product(&left[n * depth..(n + 1) * depth]), whole[n * 9..(n + 1) * 9], "{n}");
        }
    }
}
