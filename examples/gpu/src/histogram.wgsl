const INVOCATIONS = 256u;

/// Bytes, four in a word.
@group(0) @binding(0) var<storage, read> words: array<u32>;
/// How many bytes there are.
@group(0) @binding(1) var<uniform> length: u32;
@group(0) @binding(2) var<storage, read_write> bins: array<atomic<u32>, 256>;

var<workgroup> own: array<atomic<u32>, 256>;

@compute @workgroup_size(INVOCATIONS)
fn count(
    @builtin(global_invocation_id) id: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let all = groups.x * INVOCATIONS;
    for (var at = id.x; at < (length + 3u) / 4u; at += all) {
        let here = min(length - at * 4u, 4u);
        for (var i = 0u; i < here; i++) {
            atomicAdd(&own[extractBits(words[at], i * 8u, 8u)], 1u);
        }
    }
    workgroupBarrier();
    let sum = atomicLoad(&own[local]);
    if sum > 0u {
        atomicAdd(&bins[local], sum);
    }
}
