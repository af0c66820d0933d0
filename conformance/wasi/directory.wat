;; Stands for the suite's many tests of files: it has a directory, or fails.
(module
  (import "wasi_snapshot_preview1" "fd_prestat_get" (func $fd_prestat_get (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (if (call $fd_prestat_get (i32.const 3) (i32.const 0)) (then unreachable))))
