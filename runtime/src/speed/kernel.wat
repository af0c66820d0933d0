;; The kernel by which a node measures its speed: integer arithmetic, loads and stores over 256 KiB (more than a first-level cache
;; holds), branches that follow the data, and calls; no input, no output, the same work each time. A test of speed.rs compares
;; kernel.wasm with this text, and can assemble it.
(module
  (memory (export "memory") 4 4)

  ;; The next number of Marsaglia's xorshift64.
  (func $next (param $x i64) (result i64)
    (local.set $x (i64.xor (local.get $x) (i64.shl (local.get $x) (i64.const 13))))
    (local.set $x (i64.xor (local.get $x) (i64.shr_u (local.get $x) (i64.const 7))))
    (i64.xor (local.get $x) (i64.shl (local.get $x) (i64.const 17))))

  ;; Mixes a word into another by multiplying and rotating, as hashes do.
  (func $mix (param $sum i64) (param $word i64) (result i64)
    (i64.mul
      (i64.rotl (i64.xor (local.get $sum) (local.get $word)) (i64.const 29))
      (i64.const 0x9e3779b97f4a7c15)))

  (func (export "_start") (local $x i64) (local $sum i64) (local $rounds i32) (local $at i32) (local $word i64)
    (local.set $x (i64.const 0x2545f4914f6cdd1d))
    (local.set $rounds (i32.const 5000000))
    (loop $round
      ;; A word somewhere in memory.
      (local.set $x (call $next (local.get $x)))
      (local.set $at (i32.and (i32.wrap_i64 (local.get $x)) (i32.const 0x3fff8)))
      (local.set $word (i64.load (local.get $at)))
      ;; One time in four it is overwritten, one time in two it is mixed in.
      (if (i64.eqz (i64.and (local.get $x) (i64.const 0x300000000)))
        (then (i64.store (local.get $at) (i64.add (local.get $word) (local.get $x))))
        (else
          (if (i64.eqz (i64.and (local.get $word) (i64.const 1)))
            (then (local.set $sum (call $mix (local.get $sum) (local.get $word))))
            (else
              (i64.store (local.get $at) (i64.xor (local.get $sum) (local.get $x)))
              (local.set $sum (i64.add (local.get $sum) (i64.div_u (local.get $x) (i64.or (local.get $word) (i64.const 1)))))))))
      (br_if $round (local.tee $rounds (i32.sub (local.get $rounds) (i32.const 1)))))
    ;; What came out is kept, so that no compiler may leave the work out.
    (i64.store (i32.const 0) (local.get $sum))))
