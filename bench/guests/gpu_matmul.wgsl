// c = a x b, each 256 x 256, row by row: tiles of 16 x 16 in workgroup memory.
const SIDE = 256u;
const TILE = 16u;

@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> c: array<f32>;

var<workgroup> tile_a: array<array<f32, TILE>, TILE>;
var<workgroup> tile_b: array<array<f32, TILE>, TILE>;

@compute @workgroup_size(16, 16)
fn main(@builtin(global_invocation_id) at: vec3<u32>, @builtin(local_invocation_id) within: vec3<u32>) {
    var sum = 0.0;
    for (var k = 0u; k < SIDE; k += TILE) {
        tile_a[within.y][within.x] = a[at.y * SIDE + k + within.x];
        tile_b[within.y][within.x] = b[(k + within.y) * SIDE + at.x];
        workgroupBarrier();
        for (var i = 0u; i < TILE; i++) {
            sum += tile_a[within.y][i] * tile_b[i][within.x];
        }
        workgroupBarrier();
    }
    c[at.y * SIDE + at.x] = sum;
}
