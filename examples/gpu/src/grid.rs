use bytemuck::NoUninit;

/// Workgroups in one dimension.
const DIMENSION_MAX: u32 = 65_535;

/// The workgroups of a dispatch with at least `count` of them, whose shader numbers them by `x + y * columns` and ends those over `count`.
pub(crate) fn grid(count: u32) -> [u32; 3] {
    let columns = count.clamp(1, DIMENSION_MAX);
    [columns, count.div_ceil(columns), 1]
}

/// The bytes of numbers: a result's bytes, which are the same on every machine.
pub fn little_endian<T: NoUninit>(numbers: &[T]) -> Vec<u8> {
    const { assert!(cfg!(target_endian = "little"), "wasm is little-endian, and so is all that this is tested on") };
    bytemuck::cast_slice(numbers).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grid_has_enough_workgroups_and_less_than_a_row_too_many() {
        for count in [0, 1, 65_535, 65_536, 200_000, u32::MAX / 2] {
            let [x, y, z] = grid(count).map(u64::from);
            assert!(x * y * z >= u64::from(count) && x * y * z < u64::from(count) + 65_535, "{count}");
            assert!(x <= 65_535 && y <= 65_535);
        }
    }
}
