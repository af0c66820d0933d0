/* The host interface `adit_1` of Adit, as far as this job uses it: what WASI has no word for. */
#ifndef ADIT_H
#define ADIT_H

#include <stdint.h>

#ifdef __wasm__
#define ADIT_IMPORT(name) __attribute__((import_module("adit_1"), import_name(#name)))
#else
#define ADIT_IMPORT(name)
#endif

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

#endif
