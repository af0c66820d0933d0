//! A histogram of integers whose buckets grow with the values: seven bits of precision at every size. Merging two is adding them, so the
//! order in which files are summarised does not matter to a bit.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Bits of a value below its highest one that tell buckets apart.
const PRECISION: u32 = 7;
/// A value stands in a bucket whose middle differs from it by at most this part of it.
pub const RELATIVE_ERROR: f64 = 1.0 / (1 << (PRECISION + 1)) as f64;

/// The bucket of the largest number, and that of the least with its sign: what a node calls a bucket beyond is none.
const LAST_BUCKET: i32 = ((64 - PRECISION as i32 - 1) << PRECISION) + (1 << PRECISION);

/// How many values fell into each bucket.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<i32, u64>")]
pub struct Sketch(BTreeMap<i32, u64>);

impl TryFrom<BTreeMap<i32, u64>> for Sketch {
    type Error = String;

    fn try_from(counts: BTreeMap<i32, u64>) -> Result<Self, String> {
        match counts.keys().find(|bucket| bucket.unsigned_abs() > LAST_BUCKET.unsigned_abs()) {
            Some(bucket) => Err(format!("no number is in the bucket {bucket}")),
            None => Ok(Self(counts)),
        }
    }
}

impl Sketch {
    /// Counts a value.
    pub fn add(&mut self, value: i64) {
        *self.0.entry(bucket(value)).or_default() += 1;
    }

    /// Adds what another counted.
    pub fn merge(&mut self, other: &Self) {
        for (bucket, count) in &other.0 {
            let sum = self.0.entry(*bucket).or_default();
            *sum = sum.saturating_add(*count);
        }
    }

    /// Where the value of a rank is, which counts from 1 at the least value: the least and the most that it can be, and how many values
    /// are in lower buckets. None where there are fewer values.
    pub fn find(&self, rank: u64) -> Option<(i64, i64, u64)> {
        let mut below = 0u64;
        for (bucket, count) in &self.0 {
            if rank <= below.saturating_add(*count) {
                let (least, most) = bounds(*bucket);
                return Some((least, most, below));
            }
            below = below.saturating_add(*count);
        }
        None
    }
}

/// The bucket of a value: negative for negative ones, so that buckets are ordered as values are.
fn bucket(value: i64) -> i32 {
    let size = value.unsigned_abs();
    let bits = 64 - size.leading_zeros();
    let shift = bits.saturating_sub(PRECISION + 1);
    // Up to eight bits a value is its own bucket; then the number of bits that are cut off counts 128 buckets each.
    let index = (shift << PRECISION) as i32 + (size >> shift) as i32;
    if value < 0 { -index } else { index }
}

/// The least and the most value of a bucket.
fn bounds(bucket: i32) -> (i64, i64) {
    let index = bucket.unsigned_abs();
    let shift = (index >> PRECISION).saturating_sub(1);
    let least = u64::from(index - (shift << PRECISION)) << shift;
    let most = least + ((1 << shift) - 1);
    if bucket < 0 { (negative(most), negative(least)) } else { (least as i64, i64::try_from(most).unwrap_or(i64::MAX)) }
}

fn negative(size: u64) -> i64 {
    0i64.checked_sub_unsigned(size).unwrap_or(i64::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of every size, and those around where sizes change.
    fn values() -> Vec<i64> {
        let mut values = vec![0, i64::MAX, i64::MIN, i64::MIN + 1];
        for bits in 0..63 {
            for near in [-2i64, -1, 0, 1, 2, 77] {
                let value = (1i64 << bits).saturating_add(near << bits.min(3));
                values.extend([value, value.saturating_neg()]);
            }
        }
        values.sort_unstable();
        values.dedup();
        values
    }

    #[test]
    fn each_value_is_in_its_bucket_and_buckets_are_ordered() {
        for value in values() {
            let (least, most) = bounds(bucket(value));
            assert!((least..=most).contains(&value), "{value} in {least} to {most}");
            assert_eq!((bucket(least), bucket(most)), (bucket(value), bucket(value)), "{value}");
        }
        assert!(values().windows(2).all(|pair| bucket(pair[0]) <= bucket(pair[1])));
    }

    #[test]
    fn buckets_of_no_numbers_are_refused() {
        assert_eq!([i64::MIN, i64::MIN + 1, i64::MAX].map(bucket), [-LAST_BUCKET, 1 - LAST_BUCKET, LAST_BUCKET - 1]);
        for (bucket, is_one) in [(LAST_BUCKET, true), (-LAST_BUCKET, true), (LAST_BUCKET + 1, false), (i32::MIN, false)] {
            assert_eq!(Sketch::try_from(BTreeMap::from([(bucket, 1)])).is_ok(), is_one, "{bucket}");
        }
    }

    #[test]
    fn the_middle_of_a_bucket_is_near_all_of_its_values() {
        for value in values() {
            let (least, most) = bounds(bucket(value));
            let middle = least as f64 / 2.0 + most as f64 / 2.0;
            assert!((middle - value as f64).abs() <= RELATIVE_ERROR * (value as f64).abs(), "{value}");
        }
    }

    #[test]
    fn ranks_are_found_with_what_is_below() {
        let mut sketch = Sketch::default();
        [5, -3, 5, 1000, 1001].into_iter().for_each(|value| sketch.add(value));
        assert_eq!(sketch.find(1), Some((-3, -3, 0)));
        assert_eq!(sketch.find(3), Some((5, 5, 1)));
        assert_eq!(sketch.find(5), Some((1000, 1003, 3)));
        assert_eq!(sketch.find(6), None);
    }

    #[test]
    fn merging_is_counting_all_at_once() {
        let (mut left, mut right, mut all) = (Sketch::default(), Sketch::default(), Sketch::default());
        for (n, value) in values().into_iter().enumerate() {
            if n % 2 == 0 {
                left.add(value)
            } else {
                right.add(value)
            }
            all.add(value);
        }
        left.merge(&right);
        assert_eq!(left, all);
    }
}
