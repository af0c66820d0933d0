/* The host interface `adit_1` of Adit, for guests in C, C++ and whatever else reads a C header.
 *
 * A guest is a WASI preview 1 command: standard input is the job's input, standard output its output, standard error a part of its log.
 * What WASI has no word for is declared here. What each function does, to the byte, is in `abi.md` beside this file; a test compares the two
 * with each other and with the host.
 *
 *     #include "adit.h"
 *
 *     int main(void) {
 *         adit_log(ADIT_LOG_INFO, "hello", 5);
 *         adit_progress(1, 1);
 *         return ADIT_EXIT_FINISHED;
 *     }
 *
 * Build it for wasm32 with WASI: `zig cc -target wasm32-wasi -O2 job.c -o job.wasm`, or `clang --target=wasm32-wasi` with a WASI C library.
 * For Zig there is `adit.zig`: a translated header loses the name of the import module.
 *
 * The number in the module's name is the interface's version. What is declared here keeps its name, type and meaning for ever; a module that
 * uses what a host does not have is refused before it runs.
 */
#ifndef ADIT_H
#define ADIT_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The import module. */
#define ADIT_MODULE "adit_1"

#ifdef __wasm__
#define ADIT_IMPORT(name) __attribute__((import_module(ADIT_MODULE), import_name(#name)))
#else
#define ADIT_IMPORT(name)
#endif

/* Exit codes, as guests of the Rust SDK use them. */
#define ADIT_EXIT_FINISHED 0 /* standard output holds the output */
#define ADIT_EXIT_FAILED 1   /* the job returned an error */
#define ADIT_EXIT_INPUT 2    /* the input is not what the job reads */
#define ADIT_EXIT_OUTPUT 3   /* the output could not be encoded or written */

/* --- Log and progress ------------------------------------------------------------------------------------------------------------------ */

#define ADIT_LOG_ERROR 1
#define ADIT_LOG_WARN 2
#define ADIT_LOG_INFO 3
#define ADIT_LOG_DEBUG 4
#define ADIT_LOG_TRACE 5

/* One message for the job's log: `len` bytes of UTF-8 at `ptr`. */
ADIT_IMPORT(log)
void adit_log(int32_t level, const void *ptr, uint32_t len);

/* `done` of `total` steps are finished; 0 in all is an unknown number. */
ADIT_IMPORT(progress)
void adit_progress(uint64_t done, uint64_t total);

/* --- Budget ---------------------------------------------------------------------------------------------------------------------------- */

/* Fuel that is left of the job's limit, this call paid for. Exact: the same on every node. */
ADIT_IMPORT(fuel_left)
int64_t adit_fuel_left(void);

/* --- Named inputs: blobs beside standard input, numbered from 0 in the order of their names -------------------------------------------- */

#define ADIT_INPUTS_MAX 16
#define ADIT_INPUT_NAME_BYTES_MAX 64

/* How many there are. */
ADIT_IMPORT(input_count)
int32_t adit_input_count(void);

/* Writes at most `len` bytes of the name of number `index`, without a zero at the end. The bytes of the whole name, or -1. */
ADIT_IMPORT(input_name)
int32_t adit_input_name(int32_t index, void *ptr, uint32_t len);

/* The number of the input of that name (`len` bytes, no zero at the end), or -1. */
ADIT_IMPORT(input_find)
int32_t adit_input_find(const void *name, uint32_t len);

/* Its size, or -1. */
ADIT_IMPORT(input_bytes)
int64_t adit_input_bytes(int32_t index);

/* Reads from `offset` on. How many bytes, fewer than `len` only at the end; or -1. */
ADIT_IMPORT(input_read)
int32_t adit_input_read(int32_t index, uint64_t offset, void *ptr, uint32_t len);

/* --- GPU: compute shaders in WGSL ------------------------------------------------------------------------------------------------------ */

/* What each function below returns where it fails; else 0 or more. */
#define ADIT_GPU_UNAVAILABLE (-1) /* the job has no GPU */
#define ADIT_GPU_INVALID (-2)     /* an argument is not what the call takes */
#define ADIT_GPU_LIMIT (-3)       /* a limit of the job would be exceeded */
#define ADIT_GPU_SHADER (-4)      /* the shader is refused */

/* Numbers that hold on every node. */
#define ADIT_GPU_ALIGN 4
#define ADIT_GPU_BINDING_ALIGN 256
#define ADIT_GPU_BINDINGS_MAX 32
#define ADIT_GPU_STORAGE_BINDINGS_MAX 8
#define ADIT_GPU_UNIFORM_BINDINGS_MAX 12
#define ADIT_GPU_BINDING_NUMBER_MAX 999
#define ADIT_GPU_UNIFORM_BYTES_MAX 65536
#define ADIT_GPU_DIMENSION_MAX 65535
#define ADIT_GPU_SHADER_BYTES_MAX 65536
#define ADIT_GPU_ENTRY_BYTES_MAX 1024
#define ADIT_GPU_VARIABLE_BYTES_MAX 8192
#define ADIT_GPU_SHADER_OPERATIONS_MAX 180000
#define ADIT_GPU_JOB_OPERATIONS_MAX 1800000
#define ADIT_GPU_PIPELINE_OPERATIONS_MIN 1000

/* What the job may use. */
struct adit_gpu_limits {
    uint64_t memory;           /* bytes of all buffers together */
    uint64_t buffer;           /* bytes of the largest buffer */
    uint64_t dispatches;       /* over the whole job */
    uint64_t workgroups;       /* of one dispatch */
    uint64_t time_ns;          /* GPU time over the whole job */
    uint32_t buffers;          /* at one time */
    uint32_t pipelines;        /* at one time */
    uint32_t invocations;      /* of one workgroup */
    uint32_t workgroup_memory; /* bytes that they share */
};

/* A buffer, or a part of it, for a dispatch. */
struct adit_gpu_binding {
    uint32_t binding; /* its number in the shader */
    uint32_t buffer;
    uint64_t offset;
    uint64_t bytes; /* 0 is the rest of the buffer */
};

ADIT_IMPORT(gpu_limits)
int32_t adit_gpu_limits(struct adit_gpu_limits *limits);

/* A buffer of zeros, as a handle. */
ADIT_IMPORT(gpu_buffer_create)
int32_t adit_gpu_buffer_create(uint64_t bytes);

ADIT_IMPORT(gpu_buffer_destroy)
int32_t adit_gpu_buffer_destroy(int32_t buffer);

/* The guest's memory is read when this returns. */
ADIT_IMPORT(gpu_buffer_write)
int32_t adit_gpu_buffer_write(int32_t buffer, uint64_t offset, const void *ptr, uint32_t len);

/* Waits for all that was recorded before. */
ADIT_IMPORT(gpu_buffer_read)
int32_t adit_gpu_buffer_read(int32_t buffer, uint64_t offset, void *ptr, uint32_t len);

ADIT_IMPORT(gpu_buffer_copy)
int32_t adit_gpu_buffer_copy(int32_t from, uint64_t from_offset, int32_t to, uint64_t to_offset, uint64_t bytes);

/* A compute pipeline of a shader and its entry point's name, as a handle. */
ADIT_IMPORT(gpu_pipeline_create)
int32_t adit_gpu_pipeline_create(const void *wgsl, uint32_t wgsl_len, const void *entry, uint32_t entry_len);

ADIT_IMPORT(gpu_pipeline_destroy)
int32_t adit_gpu_pipeline_destroy(int32_t pipeline);

/* Records `x * y * z` workgroups of a pipeline, over `count` bindings. */
ADIT_IMPORT(gpu_dispatch)
int32_t adit_gpu_dispatch(int32_t pipeline, const struct adit_gpu_binding *bindings, uint32_t count, uint32_t x, uint32_t y, uint32_t z);

/* Has the GPU begin what was recorded, and does not wait. */
ADIT_IMPORT(gpu_submit)
int32_t adit_gpu_submit(void);

/* Waits until all that was recorded is done. */
ADIT_IMPORT(gpu_finish)
int32_t adit_gpu_finish(void);

/* Writes at most `len` bytes of why the last call that failed did. The bytes of the whole message; 0 where none has failed. */
ADIT_IMPORT(gpu_error)
int32_t adit_gpu_error(void *ptr, uint32_t len);

#ifdef __cplusplus
}
#endif

#endif
