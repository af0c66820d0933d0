;; A WASI p1 command that copies standard input to standard output: the least that a job can do and still be one.
(module
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  ;; At 0 one iovec (address, length), at 8 the number of bytes that a call moved, from 1024 on the bytes themselves.
  (memory (export "memory") 1)
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 1024))
    (loop $next
      (i32.store (i32.const 4) (i32.const 32768))
      (if (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable))
      (if (i32.load (i32.const 8))
        (then
          (i32.store (i32.const 4) (i32.load (i32.const 8)))
          (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable))
          ;; Less written than asked would be lost here.
          (if (i32.ne (i32.load (i32.const 4)) (i32.load (i32.const 8))) (then unreachable))
          (br $next)))))
)
