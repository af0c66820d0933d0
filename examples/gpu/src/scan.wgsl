const INVOCATIONS = 256u;
const PER_INVOCATION = 4u;
const BLOCK = INVOCATIONS * PER_INVOCATION;

@group(0) @binding(0) var<storage, read_write> numbers: array<u32>;
@group(0) @binding(1) var<storage, read_write> sums: array<u32>;

var<workgroup> partial: array<u32, INVOCATIONS>;

/// Each block of numbers becomes its own prefix sums; the block's sum goes to `sums`.
@compute @workgroup_size(INVOCATIONS)
fn scan_blocks(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let block = group.x + group.y * groups.x;
    let first = block * BLOCK + local * PER_INVOCATION;
    let count = arrayLength(&numbers);
    var own: array<u32, PER_INVOCATION>;
    var sum = 0u;
    for (var i = 0u; i < PER_INVOCATION; i++) {
        if first + i < count {
            sum += numbers[first + i];
        }
        own[i] = sum;
    }
    let before = scan_partial(local, sum) - sum;
    for (var i = 0u; i < PER_INVOCATION; i++) {
        if first + i < count {
            numbers[first + i] = before + own[i];
        }
    }
    if local == INVOCATIONS - 1u && block < arrayLength(&sums) {
        sums[block] = before + sum;
    }
}

/// The prefix sum of one number of each invocation (Hillis and Steele 1986).
fn scan_partial(local: u32, number: u32) -> u32 {
    partial[local] = number;
    for (var step = 1u; step < INVOCATIONS; step *= 2u) {
        workgroupBarrier();
        var other = 0u;
        if local >= step {
            other = partial[local - step];
        }
        workgroupBarrier();
        partial[local] += other;
    }
    return partial[local];
}

/// To each block but the first is added what `sums`, scanned, has for the one before it.
@compute @workgroup_size(INVOCATIONS)
fn add_sums(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let block = group.x + group.y * groups.x;
    if block == 0u || block >= arrayLength(&sums) {
        return;
    }
    let before = sums[block - 1u];
    for (var i = 0u; i < PER_INVOCATION; i++) {
        let at = block * BLOCK + i * INVOCATIONS + local;
        if at < arrayLength(&numbers) {
            numbers[at] += before;
        }
    }
}
