/* A job for a GPU in C: little-endian 32-bit numbers in, each of them doubled out. */
#include <stdint.h>
#include <stdio.h>

#include "adit.h"

#define NUMBERS_MAX 65536
#define WORKGROUP 64

static const char SHADER[] =
    "@group(0) @binding(0) var<storage, read_write> numbers: array<u32>;\n"
    "@compute @workgroup_size(64)\n"
    "fn main(@builtin(global_invocation_id) id: vec3u) {\n"
    "    if id.x < arrayLength(&numbers) { numbers[id.x] *= 2u; }\n"
    "}\n";

static uint32_t numbers[NUMBERS_MAX];

/* Says in the log why the last call failed. */
static int failed(void) {
    char why[1024];
    int32_t bytes = adit_gpu_error(why, sizeof why);
    adit_log(ADIT_LOG_ERROR, why, bytes < (int32_t)sizeof why ? (uint32_t)bytes : (uint32_t)sizeof why);
    return 1;
}

int main(void) {
    size_t count = fread(numbers, sizeof *numbers, NUMBERS_MAX, stdin);
    uint32_t bytes = (uint32_t)(count * sizeof *numbers);
    struct adit_gpu_limits limits;
    if (adit_gpu_limits(&limits) != 0 || bytes > limits.buffer) {
        return failed();
    }
    int32_t buffer = adit_gpu_buffer_create(bytes);
    int32_t pipeline = adit_gpu_pipeline_create(SHADER, sizeof SHADER - 1, "main", 4);
    if (buffer < 0 || pipeline < 0 || adit_gpu_buffer_write(buffer, 0, numbers, bytes) != 0) {
        return failed();
    }
    struct adit_gpu_binding binding = {.binding = 0, .buffer = (uint32_t)buffer, .offset = 0, .bytes = 0};
    uint32_t workgroups = (uint32_t)((count + WORKGROUP - 1) / WORKGROUP);
    if (adit_gpu_dispatch(pipeline, &binding, 1, workgroups, 1, 1) != 0 || adit_gpu_buffer_read(buffer, 0, numbers, bytes) != 0) {
        return failed();
    }
    if (adit_gpu_buffer_destroy(buffer) != 0 || adit_gpu_pipeline_destroy(pipeline) != 0) {
        return failed();
    }
    return fwrite(numbers, sizeof *numbers, count, stdout) == count && fflush(stdout) == 0 ? 0 : 1;
}
