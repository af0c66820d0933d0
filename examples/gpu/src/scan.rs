//! Prefix sums: number `i` of the result is the sum of the numbers up to and with `i`, modulo 2^32.
//!
//! Blocks of numbers are summed in the memory of a workgroup; the blocks' sums are scanned in the same way, level by level, until they fit
//! one block; and then each level is added to the one below. All of it stays on the GPU.

use adit_guest::gpu::{self, Buffer, Gpu, Pipeline};

use crate::grid::grid;

const WGSL: &str = include_str!("scan.wgsl");
/// Numbers that one workgroup scans, as the shader has it.
const BLOCK: usize = 1024;

/// The prefix sums of `numbers`.
///
/// # Errors
/// They are more than the job may have on the GPU: beside themselves they need a thousandth of their bytes.
pub fn prefix_sums(gpu: &Gpu, numbers: &[u32]) -> Result<Vec<u32>, gpu::Error> {
    if numbers.is_empty() {
        return Ok(Vec::new());
    }
    let scan = Scan { gpu, blocks: gpu.pipeline(WGSL, "scan_blocks")?, add: gpu.pipeline(WGSL, "add_sums")? };
    let buffer = gpu.buffer_from(numbers)?;
    scan.run(&buffer)?;
    buffer.read()
}

struct Scan<'a> {
    gpu: &'a Gpu,
    blocks: Pipeline,
    add: Pipeline,
}

impl Scan<'_> {
    /// Has the numbers of a buffer become their prefix sums.
    fn run(&self, numbers: &Buffer<u32>) -> Result<(), gpu::Error> {
        let blocks = numbers.len().div_ceil(BLOCK);
        let workgroups = grid(blocks as u32);
        let sums = self.gpu.buffer::<u32>(blocks)?;
        self.gpu.dispatch(&self.blocks, &[numbers.at(0), sums.at(1)], workgroups)?;
        if blocks == 1 {
            return Ok(());
        }
        self.run(&sums)?;
        self.gpu.dispatch(&self.add, &[numbers.at(0), sums.at(1)], workgroups)
    }
}
