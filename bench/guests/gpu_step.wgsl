// One small dispatch: what it costs to have a GPU do nearly nothing.
@group(0) @binding(0) var<storage, read_write> numbers: array<u32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) at: vec3<u32>) {
    numbers[at.x] += 1u;
}
