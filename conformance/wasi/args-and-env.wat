;; Writes the argument block without the program's name, then the environment block.
(module
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func $environ_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    ;; 0: how many arguments, 4: bytes of their block; the pointers go to 1024, the block to 2048.
    (if (call $args_sizes_get (i32.const 0) (i32.const 4)) (then unreachable))
    (if (call $args_get (i32.const 1024) (i32.const 2048)) (then unreachable))
    ;; 8 and 12: the same of the environment; the pointers go to 1536, the block to 4096.
    (if (call $environ_sizes_get (i32.const 8) (i32.const 12)) (then unreachable))
    (if (call $environ_get (i32.const 1536) (i32.const 4096)) (then unreachable))
    (if (i32.ne (i32.load (i32.const 0)) (i32.const 3)) (then unreachable))
    (if (i32.ne (i32.load (i32.const 8)) (i32.const 2)) (then unreachable))
    ;; From the second argument to the block's end.
    (i32.store (i32.const 16) (i32.load (i32.const 1028)))
    (i32.store (i32.const 20)
      (i32.sub (i32.add (i32.const 2048) (i32.load (i32.const 4))) (i32.load (i32.const 1028))))
    (i32.store (i32.const 24) (i32.const 4096))
    (i32.store (i32.const 28) (i32.load (i32.const 12)))
    ;; One call may write the first of its buffers alone.
    (if (call $fd_write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 32)) (then unreachable))
    (if (call $fd_write (i32.const 1) (i32.const 24) (i32.const 1) (i32.const 32)) (then unreachable))))
