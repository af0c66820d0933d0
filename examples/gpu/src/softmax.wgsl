const INVOCATIONS = 64u;

/// Rows and columns.
@group(0) @binding(0) var<uniform> size: vec2u;
@group(0) @binding(1) var<storage, read_write> numbers: array<f32>;

var<workgroup> partial: array<f32, INVOCATIONS>;

/// A workgroup for each row.
@compute @workgroup_size(INVOCATIONS)
fn softmax(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let row = group.x + group.y * groups.x;
    if row >= size.x {
        return;
    }
    let first = row * size.y;
    // The greatest is taken off all, which changes no share and keeps `exp` within its range.
    var greatest = numbers[first];
    for (var i = local; i < size.y; i += INVOCATIONS) {
        greatest = max(greatest, numbers[first + i]);
    }
    greatest = greatest_of_all(local, greatest);
    var sum = 0.0;
    for (var i = local; i < size.y; i += INVOCATIONS) {
        let raised = exp(numbers[first + i] - greatest);
        numbers[first + i] = raised;
        sum += raised;
    }
    sum = sum_of_all(local, sum);
    for (var i = local; i < size.y; i += INVOCATIONS) {
        numbers[first + i] /= sum;
    }
}

fn greatest_of_all(local: u32, number: f32) -> f32 {
    partial[local] = number;
    for (var step = INVOCATIONS / 2u; step > 0u; step /= 2u) {
        workgroupBarrier();
        if local < step {
            partial[local] = max(partial[local], partial[local + step]);
        }
    }
    return workgroupUniformLoad(&partial[0]);
}

fn sum_of_all(local: u32, number: f32) -> f32 {
    partial[local] = number;
    for (var step = INVOCATIONS / 2u; step > 0u; step /= 2u) {
        workgroupBarrier();
        if local < step {
            partial[local] += partial[local + step];
        }
    }
    return workgroupUniformLoad(&partial[0]);
}
