const TILE = 16u;

struct Step {
    /// Rows, inner, columns, layers.
    size: vec4u,
    /// Distances between rows, columns and layers in each buffer.
    a: vec4u,
    b: vec4u,
    product: vec4u,
    scale: f32,
}

@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> product: array<f32>;

var<workgroup> a_tile: array<array<f32, TILE>, TILE>;
var<workgroup> b_tile: array<array<f32, TILE>, TILE>;

@compute @workgroup_size(TILE, TILE)
fn multiply(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
    let row = group.y * TILE + local.y;
    let column = group.x * TILE + local.x;
    let layer = group.z;
    var sum = 0.0;
    for (var first = 0u; first < step.size.y; first += TILE) {
        a_tile[local.y][local.x] = a_at(row, first + local.x, layer);
        b_tile[local.y][local.x] = b_at(first + local.y, column, layer);
        workgroupBarrier();
        for (var i = 0u; i < TILE; i++) {
            sum += a_tile[local.y][i] * b_tile[i][local.x];
        }
        workgroupBarrier();
    }
    if row < step.size.x && column < step.size.z {
        product[dot(step.product.xyz, vec3u(row, column, layer))] = sum * step.scale;
    }
}

/// A number of the first matrix, or 0 beyond its edge.
fn a_at(row: u32, column: u32, layer: u32) -> f32 {
    if row < step.size.x && column < step.size.y {
        return a[dot(step.a.xyz, vec3u(row, column, layer))];
    }
    return 0.0;
}

/// A number of the second matrix, or 0 beyond its edge.
fn b_at(row: u32, column: u32, layer: u32) -> f32 {
    if row < step.size.y && column < step.size.z {
        return b[dot(step.b.xyz, vec3u(row, column, layer))];
    }
    return 0.0;
}
