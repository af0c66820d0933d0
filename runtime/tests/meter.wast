;;; The meter's table: a job each. A line of two semicolons says a program's name and how it ends, which no change of the weights may
;;; change; what it is billed stands in `golden.txt`, by name. A limit of fuel ends what is endless.

;; nothing: finished
(module
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)))

;; straight: finished
(module
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (drop (i32.add (i32.const 1) (i32.const 2)))))

;; block: finished
(module
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (block (nop))))

;; block_left_early: finished
(module
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (block (br 0) (drop (i32.const 1)))))

;; block_with_result: finished
(module
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (drop (block (result i32) (i32.const 1)))))

;; block_with_params_and_results: finished
(module
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (i32.const 1) (i32.const 2) (block (param i32 i32) (result i32 i32) (i32.add) (i32.const 3)) (drop) (drop)))

;; if_taken: finished
(module
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (if (i32.const 1) (then (local.set $i (i32.const 2))))))

;; if_not_taken: finished
(module
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (if (i32.const 0) (then (local.set $i (i32.const 2))))))

;; if_else_taken: finished
(module
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (if (i32.const 1) (then (local.set $i (i32.const 2))) (else (local.set $n (i64.const 1)) (local.set $n (i64.const 2))))))

;; if_else_not_taken: finished
(module
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (if (i32.const 0) (then (local.set $i (i32.const 2))) (else (local.set $n (i64.const 1)) (local.set $n (i64.const 2))))))

;; if_with_params_and_results: finished
(module
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (i32.const 5) (if (param i32) (result i32) (i32.const 0) (then (i32.const 1) (i32.add)) (else (i32.const 2) (i32.mul))) (drop)))

;; if_param_without_else: finished
(module
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (i32.const 5) (i32.const 0) (if (param i32) (result i32) (then (i32.const 1) (i32.add))) (drop)))

;; loop_left_at_once: finished
(module
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (loop (nop))))

;; loop_never_repeated_in_dead_code: finished
(module
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (return) (loop (br 0))))

;; loop_of_100: finished
(module
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (loop $l (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 100))))))

;; loop_of_101: finished
(module
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (loop $l (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 101))))))

;; loop_with_continue_in_the_middle: finished
(module
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (block $out (loop $l (local.set $i (i32.add (local.get $i) (i32.const 1))) (br_if $l (i32.and (local.get $i) (i32.const 1))) (local.set $n (i64.add (local.get $n) (i64.const 3))) (br_if $out (i32.ge_u (local.get $i) (i32.const 37))) (br $l)))))

;; loop_with_exit_in_an_if: finished
(module
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (loop $l (if (i32.lt_u (local.get $i) (i32.const 23)) (then (local.set $i (i32.add (local.get $i) (i32.const 1))) (br $l)) (else (return))))))

;; loop_with_params: finished
(module
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (i32.const 9) (loop $l (param i32) (i32.const 1) (i32.sub) (local.tee $i) (local.get $i) (br_if $l) (drop))))

;; nested_loops: finished
(module
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (loop $a (local.set $n (i64.const 0)) (loop $b (br_if $b (i64.lt_u (local.tee $n (i64.add (local.get $n) (i64.const 1))) (i64.const 13)))) (br_if $a (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 7))))))

;; outer_loop_continued_from_inner: finished
(module
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (loop $a (loop $b (local.set $i (i32.add (local.get $i) (i32.const 1))) (br_if $a (i32.eq (i32.rem_u (local.get $i) (i32.const 5)) (i32.const 0))) (br_if $b (i32.lt_u (local.get $i) (i32.const 42)))))))

;; br_if_with_value: finished
(module
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (drop (block $b (result i32) (br_if $b (i32.const 1) (i32.const 1)) (drop) (i32.const 2)))))

;; br_if_with_value_not_taken: finished
(module
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (drop (block $b (result i32) (br_if $b (i32.const 1) (i32.const 0)) (drop) (i32.const 2)))))

;; br_table_0: finished
(module
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (block $a (block $b (block $c (br_table $c $b $b $a (i32.const 0))) (local.set $i (i32.const 1))) (local.set $n (i64.const 2)))))

;; br_table_1: finished
(module
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (block $a (block $b (block $c (br_table $c $b $b $a (i32.const 1))) (local.set $i (i32.const 1))) (local.set $n (i64.const 2)))))

;; br_table_2: finished
(module
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (block $a (block $b (block $c (br_table $c $b $b $a (i32.const 2))) (local.set $i (i32.const 1))) (local.set $n (i64.const 2)))))

;; br_table_3: finished
(module
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (block $a (block $b (block $c (br_table $c $b $b $a (i32.const 3))) (local.set $i (i32.const 1))) (local.set $n (i64.const 2)))))

;; br_table_9: finished
(module
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (block $a (block $b (block $c (br_table $c $b $b $a (i32.const 9))) (local.set $i (i32.const 1))) (local.set $n (i64.const 2)))))

;; br_table_back_to_a_loop: finished
(module
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (loop $l (block $out (local.set $i (i32.add (local.get $i) (i32.const 1))) (br_table $l $l $l $l $out (local.get $i))))))

;; br_table_with_value: finished
(module
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (drop (block $a (result i32) (block $b (result i32) (br_table $a $b (i32.const 7) (i32.const 1))) (i32.const 1) (i32.add)))))

;; dead_code_after_br: finished
(module
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (block (br 0) (drop (i32.div_u (i32.const 1) (i32.const 0))))))

;; dead_code_after_return: finished
(module
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (return) (drop (i32.div_u (i32.const 1) (i32.const 0)))))

;; dead_code_after_unreachable: trapped
(module
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (unreachable) (drop (i32.const 1))))

;; dead_loop_in_dead_block: finished
(module
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (block $b (br $b) (block (loop (br 0)) (if (i32.const 1) (then (nop)) (else (br $b)))))))

;; select: finished
(module
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (local.set $i (select (i32.const 1) (i32.const 2) (i32.const 0)))))

;; call: finished
(module (func $f (drop (i32.const 1)))
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (call $f) (call $f)))

;; call_in_a_loop: finished
(module (func $f)
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (loop $l (call $f) (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 10))))))

;; recursion: finished
(module (func $fib (param i32) (result i32) (if (result i32) (i32.lt_u (local.get 0) (i32.const 2)) (then (local.get 0)) (else (i32.add (call $fib (i32.sub (local.get 0) (i32.const 1))) (call $fib (i32.sub (local.get 0) (i32.const 2)))))))
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (drop (call $fib (i32.const 12)))))

;; multiple_results: finished
(module (func $f (result i32 i64) (i32.const 1) (i64.const 2))
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (call $f) (drop) (drop)))

;; call_indirect: finished
(module (type $v (func)) (table 4 8 funcref) (elem (i32.const 0) $f $g) (func $f) (func $g (drop (i32.const 1)))
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (call_indirect (type $v) (i32.const 0)) (call_indirect (type $v) (i32.const 1))))

;; start_function: finished
(module (global $g (mut i32) (i32.const 0)) (func $s (global.set $g (i32.const 7))) (start $s)
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (drop (global.get $g))))

;; start_function_that_traps: trapped
(module (func $s (drop (i32.div_u (i32.const 1) (i32.const 0)))) (start $s)
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)))

;; names_of_the_meters_own: finished
(module (memory (export "$meter") 1) (export "$meter'" (memory 0)) (func (export "$start") (unreachable))
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (drop (i32.load (i32.const 0)))))

;; globals: finished
(module (global $g (mut i64) (i64.const 0))
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (global.set $g (i64.add (global.get $g) (i64.const 1)))))

;; memory_size: finished
(module (memory (export "memory") 1 4)
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (drop (memory.size))))

;; memory_grow: finished
(module (memory (export "memory") 1 4)
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (drop (memory.grow (i32.const 2)))))

;; memory_grow_refused: finished
(module (memory (export "memory") 1 4)
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (drop (memory.grow (i32.const 9)))))

;; memory_grow_by_nothing: finished
(module (memory (export "memory") 1 4)
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (drop (memory.grow (i32.const 0)))))

;; memory_grow_by_all: finished
(module (memory (export "memory") 1 4)
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (drop (memory.grow (i32.const -1)))))

;; table_grow: finished
(module (table 1 8 funcref)
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (drop (table.grow 0 (ref.null func) (i32.const 3)))))

;; table_grow_refused: finished
(module (table 1 8 funcref)
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (drop (table.grow 0 (ref.null func) (i32.const 9)))))

;; table_get_and_set: finished
(module (type $v (func)) (table 4 8 funcref) (elem (i32.const 0) $f $g) (func $f) (func $g (drop (i32.const 1)))
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (table.set 0 (i32.const 1) (table.get 0 (i32.const 0)))))

;; table_fill: finished
(module (type $v (func)) (table 4 8 funcref) (elem (i32.const 0) $f $g) (func $f) (func $g (drop (i32.const 1)))
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (table.fill 0 (i32.const 0) (ref.null func) (i32.const 4))))

;; table_copy: finished
(module (type $v (func)) (table 4 8 funcref) (elem (i32.const 0) $f $g) (func $f) (func $g (drop (i32.const 1)))
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (table.copy (i32.const 2) (i32.const 0) (i32.const 2))))

;; table_init: finished
(module (table 2 funcref) (elem $e func $f) (func $f)
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (table.init 0 $e (i32.const 0) (i32.const 0) (i32.const 1)) (elem.drop $e)))

;; memory_fill: finished
(module (memory (export "memory") 1 4)
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (memory.fill (i32.const 0) (i32.const 1) (i32.const 4096))))

;; memory_copy: finished
(module (memory (export "memory") 1 4)
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (memory.copy (i32.const 64) (i32.const 0) (i32.const 1024))))

;; memory_init: finished
(module (memory (export "memory") 1 4)(data $d "01234567890123456789012345678901")
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (memory.init $d (i32.const 0) (i32.const 0) (i32.const 32)) (data.drop $d)))

;; wide_arithmetic: finished
(module
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (i64.mul_wide_u (i64.const -1) (i64.const -1)) (drop) (drop) (i64.add128 (i64.const 1) (i64.const 2) (i64.const 3) (i64.const 4)) (drop) (drop)))

;; vectors: finished
(module (memory (export "memory") 1 4)
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (drop (i32x4.add (v128.const i32x4 1 2 3 4) (i32x4.splat (i32.const 1)))) (v128.store (i32.const 0) (f64x2.sqrt (f64x2.splat (f64.const 2))))))

;; floats: finished
(module
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (loop $l (local.set $x (f64.sqrt (f64.add (local.get $x) (f64.const 1)))) (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 50))))))

;; trap_unreachable: trapped
(module (type $v (func)) (type $w (func (param i32))) (memory (export "memory") 1 1) (data $d "abc") (table 4 4 funcref) (elem (i32.const 0) $f) (elem $e func $f) (func $f)
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (loop $l (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000)))) (unreachable) (drop (i32.const 1)) (drop (f64.sqrt (local.get $x)))))

;; trap_i32_div_s: trapped
(module (type $v (func)) (type $w (func (param i32))) (memory (export "memory") 1 1) (data $d "abc") (table 4 4 funcref) (elem (i32.const 0) $f) (elem $e func $f) (func $f)
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (loop $l (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000)))) (drop (i32.div_s (i32.const 1) (i32.const 0))) (drop (i32.const 1)) (drop (f64.sqrt (local.get $x)))))

;; trap_i32_div_u: trapped
(module (type $v (func)) (type $w (func (param i32))) (memory (export "memory") 1 1) (data $d "abc") (table 4 4 funcref) (elem (i32.const 0) $f) (elem $e func $f) (func $f)
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (loop $l (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000)))) (drop (i32.div_u (i32.const 1) (i32.const 0))) (drop (i32.const 1)) (drop (f64.sqrt (local.get $x)))))

;; trap_i32_rem_s: trapped
(module (type $v (func)) (type $w (func (param i32))) (memory (export "memory") 1 1) (data $d "abc") (table 4 4 funcref) (elem (i32.const 0) $f) (elem $e func $f) (func $f)
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (loop $l (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000)))) (drop (i32.rem_s (i32.const 1) (i32.const 0))) (drop (i32.const 1)) (drop (f64.sqrt (local.get $x)))))

;; trap_i64_div_s: trapped
(module (type $v (func)) (type $w (func (param i32))) (memory (export "memory") 1 1) (data $d "abc") (table 4 4 funcref) (elem (i32.const 0) $f) (elem $e func $f) (func $f)
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (loop $l (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000)))) (drop (i64.div_s (i64.const 1) (i64.const 0))) (drop (i32.const 1)) (drop (f64.sqrt (local.get $x)))))

;; trap_i64_rem_u: trapped
(module (type $v (func)) (type $w (func (param i32))) (memory (export "memory") 1 1) (data $d "abc") (table 4 4 funcref) (elem (i32.const 0) $f) (elem $e func $f) (func $f)
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (loop $l (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000)))) (drop (i64.rem_u (i64.const 1) (i64.const 0))) (drop (i32.const 1)) (drop (f64.sqrt (local.get $x)))))

;; trap_i32_div_overflow: trapped
(module (type $v (func)) (type $w (func (param i32))) (memory (export "memory") 1 1) (data $d "abc") (table 4 4 funcref) (elem (i32.const 0) $f) (elem $e func $f) (func $f)
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (loop $l (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000)))) (drop (i32.div_s (i32.const 0x80000000) (i32.const -1))) (drop (i32.const 1)) (drop (f64.sqrt (local.get $x)))))

;; trap_i64_div_overflow: trapped
(module (type $v (func)) (type $w (func (param i32))) (memory (export "memory") 1 1) (data $d "abc") (table 4 4 funcref) (elem (i32.const 0) $f) (elem $e func $f) (func $f)
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (loop $l (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000)))) (drop (i64.div_s (i64.const 0x8000000000000000) (i64.const -1))) (drop (i32.const 1)) (drop (f64.sqrt (local.get $x)))))

;; trap_trunc_nan: trapped
(module (type $v (func)) (type $w (func (param i32))) (memory (export "memory") 1 1) (data $d "abc") (table 4 4 funcref) (elem (i32.const 0) $f) (elem $e func $f) (func $f)
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (loop $l (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000)))) (drop (i32.trunc_f64_s (f64.const nan))) (drop (i32.const 1)) (drop (f64.sqrt (local.get $x)))))

;; trap_trunc_large: trapped
(module (type $v (func)) (type $w (func (param i32))) (memory (export "memory") 1 1) (data $d "abc") (table 4 4 funcref) (elem (i32.const 0) $f) (elem $e func $f) (func $f)
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (loop $l (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000)))) (drop (i32.trunc_f64_u (f64.const 1e30))) (drop (i32.const 1)) (drop (f64.sqrt (local.get $x)))))

;; trap_trunc_i64: trapped
(module (type $v (func)) (type $w (func (param i32))) (memory (export "memory") 1 1) (data $d "abc") (table 4 4 funcref) (elem (i32.const 0) $f) (elem $e func $f) (func $f)
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (loop $l (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000)))) (drop (i64.trunc_f32_s (f32.const 1e30))) (drop (i32.const 1)) (drop (f64.sqrt (local.get $x)))))

;; trap_load: trapped
(module (type $v (func)) (type $w (func (param i32))) (memory (export "memory") 1 1) (data $d "abc") (table 4 4 funcref) (elem (i32.const 0) $f) (elem $e func $f) (func $f)
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (loop $l (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000)))) (drop (i32.load (i32.const -4))) (drop (i32.const 1)) (drop (f64.sqrt (local.get $x)))))

;; trap_load_offset: trapped
(module (type $v (func)) (type $w (func (param i32))) (memory (export "memory") 1 1) (data $d "abc") (table 4 4 funcref) (elem (i32.const 0) $f) (elem $e func $f) (func $f)
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (loop $l (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000)))) (drop (i64.load offset=0xfffffff0 (i32.const 8))) (drop (i32.const 1)) (drop (f64.sqrt (local.get $x)))))

;; trap_in_a_loop_at_an_offset_of_64_mib: trapped
(module (memory 2)
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (loop $l
      (if (i32.eq (local.get $i) (i32.const 700)) (then (drop (i64.load offset=0x4000000 (local.get $i)))))
      (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000))))))

;; trap_in_a_loop_at_an_offset_of_3_gib: trapped
(module (memory 2)
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (loop $l
      (if (i32.eq (local.get $i) (i32.const 700)) (then (i64.store offset=0xc0000000 (local.get $i) (i64.const 1))))
      (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000))))))

;; trap_in_a_loop_at_an_address_of_4_gib: trapped
(module (memory 2)
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (loop $l
      (if (i32.eq (local.get $i) (i32.const 700)) (then (drop (i32.load offset=0x1ffff00 (i32.sub (i32.const 0) (local.get $i))))))
      (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000))))))

;; trap_store: trapped
(module (type $v (func)) (type $w (func (param i32))) (memory (export "memory") 1 1) (data $d "abc") (table 4 4 funcref) (elem (i32.const 0) $f) (elem $e func $f) (func $f)
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (loop $l (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000)))) (i64.store (i32.const 65530) (i64.const 1)) (drop (i32.const 1)) (drop (f64.sqrt (local.get $x)))))

;; trap_v128_load: trapped
(module (type $v (func)) (type $w (func (param i32))) (memory (export "memory") 1 1) (data $d "abc") (table 4 4 funcref) (elem (i32.const 0) $f) (elem $e func $f) (func $f)
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (loop $l (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000)))) (drop (v128.load (i32.const 65530))) (drop (i32.const 1)) (drop (f64.sqrt (local.get $x)))))

;; trap_memory_fill: trapped
(module (type $v (func)) (type $w (func (param i32))) (memory (export "memory") 1 1) (data $d "abc") (table 4 4 funcref) (elem (i32.const 0) $f) (elem $e func $f) (func $f)
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (loop $l (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000)))) (memory.fill (i32.const 65530) (i32.const 0) (i32.const 64)) (drop (i32.const 1)) (drop (f64.sqrt (local.get $x)))))

;; trap_memory_copy: trapped
(module (type $v (func)) (type $w (func (param i32))) (memory (export "memory") 1 1) (data $d "abc") (table 4 4 funcref) (elem (i32.const 0) $f) (elem $e func $f) (func $f)
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (loop $l (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000)))) (memory.copy (i32.const 0) (i32.const 65530) (i32.const 64)) (drop (i32.const 1)) (drop (f64.sqrt (local.get $x)))))

;; trap_memory_init: trapped
(module (type $v (func)) (type $w (func (param i32))) (memory (export "memory") 1 1) (data $d "abc") (table 4 4 funcref) (elem (i32.const 0) $f) (elem $e func $f) (func $f)
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (loop $l (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000)))) (memory.init $d (i32.const 0) (i32.const 0) (i32.const 64)) (drop (i32.const 1)) (drop (f64.sqrt (local.get $x)))))

;; trap_table_get: trapped
(module (type $v (func)) (type $w (func (param i32))) (memory (export "memory") 1 1) (data $d "abc") (table 4 4 funcref) (elem (i32.const 0) $f) (elem $e func $f) (func $f)
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (loop $l (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000)))) (drop (table.get 0 (i32.const 4))) (drop (i32.const 1)) (drop (f64.sqrt (local.get $x)))))

;; trap_table_set: trapped
(module (type $v (func)) (type $w (func (param i32))) (memory (export "memory") 1 1) (data $d "abc") (table 4 4 funcref) (elem (i32.const 0) $f) (elem $e func $f) (func $f)
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (loop $l (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000)))) (table.set 0 (i32.const 4) (ref.null func)) (drop (i32.const 1)) (drop (f64.sqrt (local.get $x)))))

;; trap_table_fill: trapped
(module (type $v (func)) (type $w (func (param i32))) (memory (export "memory") 1 1) (data $d "abc") (table 4 4 funcref) (elem (i32.const 0) $f) (elem $e func $f) (func $f)
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (loop $l (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000)))) (table.fill 0 (i32.const 3) (ref.null func) (i32.const 4)) (drop (i32.const 1)) (drop (f64.sqrt (local.get $x)))))

;; trap_table_copy: trapped
(module (type $v (func)) (type $w (func (param i32))) (memory (export "memory") 1 1) (data $d "abc") (table 4 4 funcref) (elem (i32.const 0) $f) (elem $e func $f) (func $f)
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (loop $l (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000)))) (table.copy (i32.const 3) (i32.const 0) (i32.const 2)) (drop (i32.const 1)) (drop (f64.sqrt (local.get $x)))))

;; trap_table_init: trapped
(module (type $v (func)) (type $w (func (param i32))) (memory (export "memory") 1 1) (data $d "abc") (table 4 4 funcref) (elem (i32.const 0) $f) (elem $e func $f) (func $f)
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (loop $l (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000)))) (table.init 0 $e (i32.const 0) (i32.const 0) (i32.const 5)) (drop (i32.const 1)) (drop (f64.sqrt (local.get $x)))))

;; trap_indirect_null: trapped
(module (type $v (func)) (type $w (func (param i32))) (memory (export "memory") 1 1) (data $d "abc") (table 4 4 funcref) (elem (i32.const 0) $f) (elem $e func $f) (func $f)
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (loop $l (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000)))) (call_indirect (type $v) (i32.const 3)) (drop (i32.const 1)) (drop (f64.sqrt (local.get $x)))))

;; trap_indirect_outside: trapped
(module (type $v (func)) (type $w (func (param i32))) (memory (export "memory") 1 1) (data $d "abc") (table 4 4 funcref) (elem (i32.const 0) $f) (elem $e func $f) (func $f)
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (loop $l (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000)))) (call_indirect (type $v) (i32.const 44)) (drop (i32.const 1)) (drop (f64.sqrt (local.get $x)))))

;; trap_indirect_signature: trapped
(module (type $v (func)) (type $w (func (param i32))) (memory (export "memory") 1 1) (data $d "abc") (table 4 4 funcref) (elem (i32.const 0) $f) (elem $e func $f) (func $f)
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (loop $l (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000)))) (call_indirect (type $w) (i32.const 1) (i32.const 0)) (drop (i32.const 1)) (drop (f64.sqrt (local.get $x)))))

;; trap_in_a_loop_of_copies: trapped
(module
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (loop $l (local.set $i (i32.add (local.get $i) (i32.const 1))) (drop (i32.div_u (i32.const 9) (i32.sub (local.get $i) (i32.const 77)))) (br $l))))

;; trap_in_a_callee: trapped
(module (func $f (drop (i32.const 3)) (if (i32.const 1) (then (unreachable))))
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (loop $l (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 100)))) (call $f) (drop (i32.const 1))))

;; endless_loop: out-of-fuel
(module
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (loop $l (br $l))))

;; endless_loop_of_work: out-of-fuel
(module
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (loop $l (local.set $n (i64.mul (local.get $n) (i64.const 3))) (br $l))))

;; endless_fill: out-of-fuel
(module (memory (export "memory") 1 4)
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (loop $l (memory.fill (i32.const 0) (i32.const 1) (i32.const 65536)) (br $l))))

;; endless_branch_table: out-of-fuel
(module
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (loop $l (br_table $l $l $l (i32.const 5)))))

;; depth_small: stack-overflow
(module (func $f (call $f))
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (call $f)))

;; depth_mutual: stack-overflow
(module (func $f (call $g)) (func $g (local i64 i64 i64) (call $f))
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (call $f)))

;; depth_indirect: stack-overflow
(module (type $v (func)) (table 1 funcref) (elem (i32.const 0) $f) (func $f (call_indirect (type $v) (i32.const 0)))
  (func (export "_start") (local $i i32) (local $n i64) (local $x f64)
    (call_indirect (type $v) (i32.const 0))))

;;; What operators compute, bit for bit: values at the ends of their types against each other, all results written out.

;; f64_by_f64: finished
(module (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 64) "\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\80\00\00\00\00\00\00\f0\3f\00\00\00\00\00\00\f8\bf\00\00\00\00\00\00\f0\7f\00\00\00\00\00\00\f0\ff\00\00\00\00\00\00\f8\7f\01\00\00\00\00\00\f8\ff"
    "\01\00\00\00\00\00\f0\7f\01\00\00\00\00\00\00\00\ff\ff\ff\ff\ff\ff\0f\00\ff\ff\ff\ff\ff\ff\ef\7f\00\00\e0\ff\ff\ff\df\41\00\00\00\00\00\00\e0\43\00\00\00\00\00\00\e0\3f\00\00\00\00\00\00\0c\c0")
  (func $write (param $from i32) (param $bytes i32)
    (i32.store (i32.const 0) (local.get $from)) (i32.store (i32.const 4) (local.get $bytes))
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable)))
  (func (export "_start") (local $i i32) (local $j i32) (local $o i32) (local $a f64) (local $b f64)
    (local.set $o (i32.const 8192))
    (loop $left
      (local.set $a (f64.load offset=64 (local.get $i)))
      (local.set $j (i32.const 0))
      (loop $right
        (local.set $b (f64.load offset=64 (local.get $j)))
        (f64.store offset=0 (local.get $o) (f64.add (local.get $a) (local.get $b)))
        (f64.store offset=8 (local.get $o) (f64.sub (local.get $a) (local.get $b)))
        (f64.store offset=16 (local.get $o) (f64.mul (local.get $a) (local.get $b)))
        (f64.store offset=24 (local.get $o) (f64.div (local.get $a) (local.get $b)))
        (f64.store offset=32 (local.get $o) (f64.min (local.get $a) (local.get $b)))
        (f64.store offset=40 (local.get $o) (f64.max (local.get $a) (local.get $b)))
        (f64.store offset=48 (local.get $o) (f64.copysign (local.get $a) (local.get $b)))
        (i32.store offset=56 (local.get $o) (f64.eq (local.get $a) (local.get $b)))
        (i32.store offset=60 (local.get $o) (f64.ne (local.get $a) (local.get $b)))
        (i32.store offset=64 (local.get $o) (f64.lt (local.get $a) (local.get $b)))
        (i32.store offset=68 (local.get $o) (f64.gt (local.get $a) (local.get $b)))
        (i32.store offset=72 (local.get $o) (f64.le (local.get $a) (local.get $b)))
        (i32.store offset=76 (local.get $o) (f64.ge (local.get $a) (local.get $b)))
        (local.set $o (i32.add (local.get $o) (i32.const 80)))
        (br_if $right (i32.lt_u (local.tee $j (i32.add (local.get $j) (i32.const 8))) (i32.const 128))))
      (br_if $left (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 8))) (i32.const 128))))
    (call $write (i32.const 8192) (i32.const 20480))))

;; f32_by_f32: finished
(module (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 64) "\00\00\00\00\00\00\00\80\00\00\80\3f\00\00\c0\bf\00\00\80\7f\00\00\80\ff\00\00\c0\7f\01\00\c0\ff"
    "\01\00\80\7f\01\00\00\00\ff\ff\7f\00\ff\ff\7f\7f\ff\ff\ff\4e\00\00\00\5f\00\00\00\3f\00\00\60\c0")
  (func $write (param $from i32) (param $bytes i32)
    (i32.store (i32.const 0) (local.get $from)) (i32.store (i32.const 4) (local.get $bytes))
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable)))
  (func (export "_start") (local $i i32) (local $j i32) (local $o i32) (local $a f32) (local $b f32)
    (local.set $o (i32.const 8192))
    (loop $left
      (local.set $a (f32.load offset=64 (local.get $i)))
      (local.set $j (i32.const 0))
      (loop $right
        (local.set $b (f32.load offset=64 (local.get $j)))
        (f32.store offset=0 (local.get $o) (f32.add (local.get $a) (local.get $b)))
        (f32.store offset=4 (local.get $o) (f32.sub (local.get $a) (local.get $b)))
        (f32.store offset=8 (local.get $o) (f32.mul (local.get $a) (local.get $b)))
        (f32.store offset=12 (local.get $o) (f32.div (local.get $a) (local.get $b)))
        (f32.store offset=16 (local.get $o) (f32.min (local.get $a) (local.get $b)))
        (f32.store offset=20 (local.get $o) (f32.max (local.get $a) (local.get $b)))
        (f32.store offset=24 (local.get $o) (f32.copysign (local.get $a) (local.get $b)))
        (i32.store offset=28 (local.get $o) (f32.eq (local.get $a) (local.get $b)))
        (i32.store offset=32 (local.get $o) (f32.ne (local.get $a) (local.get $b)))
        (i32.store offset=36 (local.get $o) (f32.lt (local.get $a) (local.get $b)))
        (i32.store offset=40 (local.get $o) (f32.gt (local.get $a) (local.get $b)))
        (i32.store offset=44 (local.get $o) (f32.le (local.get $a) (local.get $b)))
        (i32.store offset=48 (local.get $o) (f32.ge (local.get $a) (local.get $b)))
        (local.set $o (i32.add (local.get $o) (i32.const 52)))
        (br_if $right (i32.lt_u (local.tee $j (i32.add (local.get $j) (i32.const 4))) (i32.const 64))))
      (br_if $left (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4))) (i32.const 64))))
    (call $write (i32.const 8192) (i32.const 13312))))

;; f64_alone: finished
(module (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 64) "\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\80\00\00\00\00\00\00\f0\3f\00\00\00\00\00\00\f8\bf\00\00\00\00\00\00\f0\7f\00\00\00\00\00\00\f0\ff\00\00\00\00\00\00\f8\7f\01\00\00\00\00\00\f8\ff"
    "\01\00\00\00\00\00\f0\7f\01\00\00\00\00\00\00\00\ff\ff\ff\ff\ff\ff\0f\00\ff\ff\ff\ff\ff\ff\ef\7f\00\00\e0\ff\ff\ff\df\41\00\00\00\00\00\00\e0\43\00\00\00\00\00\00\e0\3f\00\00\00\00\00\00\0c\c0")
  (func $write (param $from i32) (param $bytes i32)
    (i32.store (i32.const 0) (local.get $from)) (i32.store (i32.const 4) (local.get $bytes))
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable)))
  (func (export "_start") (local $i i32) (local $o i32) (local $a f64)
    (local.set $o (i32.const 8192))
    (loop $each
      (local.set $a (f64.load offset=64 (local.get $i)))
      (f64.store offset=0 (local.get $o) (f64.sqrt (local.get $a)))
      (f64.store offset=8 (local.get $o) (f64.ceil (local.get $a)))
      (f64.store offset=16 (local.get $o) (f64.floor (local.get $a)))
      (f64.store offset=24 (local.get $o) (f64.trunc (local.get $a)))
      (f64.store offset=32 (local.get $o) (f64.nearest (local.get $a)))
      (f64.store offset=40 (local.get $o) (f64.neg (local.get $a)))
      (f64.store offset=48 (local.get $o) (f64.abs (local.get $a)))
      (f32.store offset=56 (local.get $o) (f32.demote_f64 (local.get $a)))
      (i64.store offset=60 (local.get $o) (i64.reinterpret_f64 (local.get $a)))
      (i32.store offset=68 (local.get $o) (i32.trunc_sat_f64_s (local.get $a)))
      (i32.store offset=72 (local.get $o) (i32.trunc_sat_f64_u (local.get $a)))
      (i64.store offset=76 (local.get $o) (i64.trunc_sat_f64_s (local.get $a)))
      (i64.store offset=84 (local.get $o) (i64.trunc_sat_f64_u (local.get $a)))
      (local.set $o (i32.add (local.get $o) (i32.const 92)))
      (br_if $each (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 8))) (i32.const 128))))
    (call $write (i32.const 8192) (i32.const 1472))))

;; f32_alone: finished
(module (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 64) "\00\00\00\00\00\00\00\80\00\00\80\3f\00\00\c0\bf\00\00\80\7f\00\00\80\ff\00\00\c0\7f\01\00\c0\ff"
    "\01\00\80\7f\01\00\00\00\ff\ff\7f\00\ff\ff\7f\7f\ff\ff\ff\4e\00\00\00\5f\00\00\00\3f\00\00\60\c0")
  (func $write (param $from i32) (param $bytes i32)
    (i32.store (i32.const 0) (local.get $from)) (i32.store (i32.const 4) (local.get $bytes))
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable)))
  (func (export "_start") (local $i i32) (local $o i32) (local $a f32)
    (local.set $o (i32.const 8192))
    (loop $each
      (local.set $a (f32.load offset=64 (local.get $i)))
      (f32.store offset=0 (local.get $o) (f32.sqrt (local.get $a)))
      (f32.store offset=4 (local.get $o) (f32.ceil (local.get $a)))
      (f32.store offset=8 (local.get $o) (f32.floor (local.get $a)))
      (f32.store offset=12 (local.get $o) (f32.trunc (local.get $a)))
      (f32.store offset=16 (local.get $o) (f32.nearest (local.get $a)))
      (f32.store offset=20 (local.get $o) (f32.neg (local.get $a)))
      (f32.store offset=24 (local.get $o) (f32.abs (local.get $a)))
      (f64.store offset=28 (local.get $o) (f64.promote_f32 (local.get $a)))
      (i32.store offset=36 (local.get $o) (i32.reinterpret_f32 (local.get $a)))
      (i32.store offset=40 (local.get $o) (i32.trunc_sat_f32_s (local.get $a)))
      (i32.store offset=44 (local.get $o) (i32.trunc_sat_f32_u (local.get $a)))
      (i64.store offset=48 (local.get $o) (i64.trunc_sat_f32_s (local.get $a)))
      (i64.store offset=56 (local.get $o) (i64.trunc_sat_f32_u (local.get $a)))
      (local.set $o (i32.add (local.get $o) (i32.const 64)))
      (br_if $each (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4))) (i32.const 64))))
    (call $write (i32.const 8192) (i32.const 1024))))

;; i32_by_i32: finished
(module (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 64) "\00\00\00\00\01\00\00\00\02\00\00\00\ff\ff\ff\ff\ff\ff\ff\7f\00\00\00\80\1f\00\00\00\20\00\00\00"
    "\21\00\00\00\78\56\34\12\ef\be\ad\de\ff\00\00\00\80\00\00\00\ff\ff\00\00\00\80\00\00\03\00\00\00")
  (func $write (param $from i32) (param $bytes i32)
    (i32.store (i32.const 0) (local.get $from)) (i32.store (i32.const 4) (local.get $bytes))
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable)))
  (func (export "_start") (local $i i32) (local $j i32) (local $o i32) (local $a i32) (local $b i32)
    (local.set $o (i32.const 8192))
    (loop $left
      (local.set $a (i32.load offset=64 (local.get $i)))
      (local.set $j (i32.const 0))
      (loop $right
        (local.set $b (i32.load offset=64 (local.get $j)))
        (i32.store offset=0 (local.get $o) (i32.add (local.get $a) (local.get $b)))
        (i32.store offset=4 (local.get $o) (i32.sub (local.get $a) (local.get $b)))
        (i32.store offset=8 (local.get $o) (i32.mul (local.get $a) (local.get $b)))
        (i32.store offset=12 (local.get $o) (i32.and (local.get $a) (local.get $b)))
        (i32.store offset=16 (local.get $o) (i32.or (local.get $a) (local.get $b)))
        (i32.store offset=20 (local.get $o) (i32.xor (local.get $a) (local.get $b)))
        (i32.store offset=24 (local.get $o) (i32.shl (local.get $a) (local.get $b)))
        (i32.store offset=28 (local.get $o) (i32.shr_s (local.get $a) (local.get $b)))
        (i32.store offset=32 (local.get $o) (i32.shr_u (local.get $a) (local.get $b)))
        (i32.store offset=36 (local.get $o) (i32.rotl (local.get $a) (local.get $b)))
        (i32.store offset=40 (local.get $o) (i32.rotr (local.get $a) (local.get $b)))
        (i32.store offset=44 (local.get $o) (i32.eq (local.get $a) (local.get $b)))
        (i32.store offset=48 (local.get $o) (i32.lt_s (local.get $a) (local.get $b)))
        (i32.store offset=52 (local.get $o) (i32.lt_u (local.get $a) (local.get $b)))
        (i32.store offset=56 (local.get $o) (i32.ge_s (local.get $a) (local.get $b)))
        (i32.store offset=60 (local.get $o) (i32.ge_u (local.get $a) (local.get $b)))
        (i32.store offset=64 (local.get $o) (i32.div_u (local.get $a) (i32.or (local.get $b) (i32.const 1))))
        (i32.store offset=68 (local.get $o) (i32.rem_u (local.get $a) (i32.or (local.get $b) (i32.const 1))))
        (i32.store offset=72 (local.get $o) (i32.rem_s (local.get $a) (i32.or (local.get $b) (i32.const 1))))
        (i32.store offset=76 (local.get $o) (i32.div_s (local.get $a) (i32.or (i32.shr_u (local.get $b) (i32.const 1)) (i32.const 2))))
        (local.set $o (i32.add (local.get $o) (i32.const 80)))
        (br_if $right (i32.lt_u (local.tee $j (i32.add (local.get $j) (i32.const 4))) (i32.const 64))))
      (br_if $left (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4))) (i32.const 64))))
    (call $write (i32.const 8192) (i32.const 20480))))

;; i64_by_i64: finished
(module (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 64) "\00\00\00\00\00\00\00\00\01\00\00\00\00\00\00\00\02\00\00\00\00\00\00\00\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\7f\00\00\00\00\00\00\00\80\3f\00\00\00\00\00\00\00\40\00\00\00\00\00\00\00"
    "\41\00\00\00\00\00\00\00\f0\de\bc\9a\78\56\34\12\be\ba\fe\ca\ef\be\ad\de\ff\00\00\00\00\00\00\00\80\00\00\00\00\00\00\00\ff\ff\ff\ff\00\00\00\00\00\00\00\80\00\00\00\00\03\00\00\00\00\00\00\00")
  (func $write (param $from i32) (param $bytes i32)
    (i32.store (i32.const 0) (local.get $from)) (i32.store (i32.const 4) (local.get $bytes))
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable)))
  (func (export "_start") (local $i i32) (local $j i32) (local $o i32) (local $a i64) (local $b i64)
    (local.set $o (i32.const 8192))
    (loop $left
      (local.set $a (i64.load offset=64 (local.get $i)))
      (local.set $j (i32.const 0))
      (loop $right
        (local.set $b (i64.load offset=64 (local.get $j)))
        (i64.store offset=0 (local.get $o) (i64.add (local.get $a) (local.get $b)))
        (i64.store offset=8 (local.get $o) (i64.sub (local.get $a) (local.get $b)))
        (i64.store offset=16 (local.get $o) (i64.mul (local.get $a) (local.get $b)))
        (i64.store offset=24 (local.get $o) (i64.and (local.get $a) (local.get $b)))
        (i64.store offset=32 (local.get $o) (i64.or (local.get $a) (local.get $b)))
        (i64.store offset=40 (local.get $o) (i64.xor (local.get $a) (local.get $b)))
        (i64.store offset=48 (local.get $o) (i64.shl (local.get $a) (local.get $b)))
        (i64.store offset=56 (local.get $o) (i64.shr_s (local.get $a) (local.get $b)))
        (i64.store offset=64 (local.get $o) (i64.shr_u (local.get $a) (local.get $b)))
        (i64.store offset=72 (local.get $o) (i64.rotl (local.get $a) (local.get $b)))
        (i64.store offset=80 (local.get $o) (i64.rotr (local.get $a) (local.get $b)))
        (i32.store offset=88 (local.get $o) (i64.eq (local.get $a) (local.get $b)))
        (i32.store offset=92 (local.get $o) (i64.lt_s (local.get $a) (local.get $b)))
        (i32.store offset=96 (local.get $o) (i64.lt_u (local.get $a) (local.get $b)))
        (i32.store offset=100 (local.get $o) (i64.ge_s (local.get $a) (local.get $b)))
        (i32.store offset=104 (local.get $o) (i64.ge_u (local.get $a) (local.get $b)))
        (i64.store offset=108 (local.get $o) (i64.div_u (local.get $a) (i64.or (local.get $b) (i64.const 1))))
        (i64.store offset=116 (local.get $o) (i64.rem_u (local.get $a) (i64.or (local.get $b) (i64.const 1))))
        (i64.store offset=124 (local.get $o) (i64.rem_s (local.get $a) (i64.or (local.get $b) (i64.const 1))))
        (i64.store offset=132 (local.get $o) (i64.div_s (local.get $a) (i64.or (i64.shr_u (local.get $b) (i64.const 1)) (i64.const 2))))
        (local.set $o (i32.add (local.get $o) (i32.const 140)))
        (br_if $right (i32.lt_u (local.tee $j (i32.add (local.get $j) (i32.const 8))) (i32.const 128))))
      (br_if $left (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 8))) (i32.const 128))))
    (call $write (i32.const 8192) (i32.const 35840))))

;; i32_alone: finished
(module (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 64) "\00\00\00\00\01\00\00\00\02\00\00\00\ff\ff\ff\ff\ff\ff\ff\7f\00\00\00\80\1f\00\00\00\20\00\00\00"
    "\21\00\00\00\78\56\34\12\ef\be\ad\de\ff\00\00\00\80\00\00\00\ff\ff\00\00\00\80\00\00\03\00\00\00")
  (func $write (param $from i32) (param $bytes i32)
    (i32.store (i32.const 0) (local.get $from)) (i32.store (i32.const 4) (local.get $bytes))
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable)))
  (func (export "_start") (local $i i32) (local $o i32) (local $a i32)
    (local.set $o (i32.const 8192))
    (loop $each
      (local.set $a (i32.load offset=64 (local.get $i)))
      (i32.store offset=0 (local.get $o) (i32.clz (local.get $a)))
      (i32.store offset=4 (local.get $o) (i32.ctz (local.get $a)))
      (i32.store offset=8 (local.get $o) (i32.popcnt (local.get $a)))
      (i32.store offset=12 (local.get $o) (i32.eqz (local.get $a)))
      (i32.store offset=16 (local.get $o) (i32.extend8_s (local.get $a)))
      (i32.store offset=20 (local.get $o) (i32.extend16_s (local.get $a)))
      (i64.store offset=24 (local.get $o) (i64.extend_i32_s (local.get $a)))
      (i64.store offset=32 (local.get $o) (i64.extend_i32_u (local.get $a)))
      (f32.store offset=40 (local.get $o) (f32.convert_i32_s (local.get $a)))
      (f32.store offset=44 (local.get $o) (f32.convert_i32_u (local.get $a)))
      (f64.store offset=48 (local.get $o) (f64.convert_i32_s (local.get $a)))
      (f64.store offset=56 (local.get $o) (f64.convert_i32_u (local.get $a)))
      (f32.store offset=64 (local.get $o) (f32.reinterpret_i32 (local.get $a)))
      (local.set $o (i32.add (local.get $o) (i32.const 68)))
      (br_if $each (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4))) (i32.const 64))))
    (call $write (i32.const 8192) (i32.const 1088))))

;; i64_alone: finished
(module (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 64) "\00\00\00\00\00\00\00\00\01\00\00\00\00\00\00\00\02\00\00\00\00\00\00\00\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\7f\00\00\00\00\00\00\00\80\3f\00\00\00\00\00\00\00\40\00\00\00\00\00\00\00"
    "\41\00\00\00\00\00\00\00\f0\de\bc\9a\78\56\34\12\be\ba\fe\ca\ef\be\ad\de\ff\00\00\00\00\00\00\00\80\00\00\00\00\00\00\00\ff\ff\ff\ff\00\00\00\00\00\00\00\80\00\00\00\00\03\00\00\00\00\00\00\00")
  (func $write (param $from i32) (param $bytes i32)
    (i32.store (i32.const 0) (local.get $from)) (i32.store (i32.const 4) (local.get $bytes))
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable)))
  (func (export "_start") (local $i i32) (local $o i32) (local $a i64)
    (local.set $o (i32.const 8192))
    (loop $each
      (local.set $a (i64.load offset=64 (local.get $i)))
      (i64.store offset=0 (local.get $o) (i64.clz (local.get $a)))
      (i64.store offset=8 (local.get $o) (i64.ctz (local.get $a)))
      (i64.store offset=16 (local.get $o) (i64.popcnt (local.get $a)))
      (i64.store offset=24 (local.get $o) (i64.extend8_s (local.get $a)))
      (i64.store offset=32 (local.get $o) (i64.extend16_s (local.get $a)))
      (i64.store offset=40 (local.get $o) (i64.extend32_s (local.get $a)))
      (i32.store offset=48 (local.get $o) (i64.eqz (local.get $a)))
      (i32.store offset=52 (local.get $o) (i32.wrap_i64 (local.get $a)))
      (f32.store offset=56 (local.get $o) (f32.convert_i64_s (local.get $a)))
      (f32.store offset=60 (local.get $o) (f32.convert_i64_u (local.get $a)))
      (f64.store offset=64 (local.get $o) (f64.convert_i64_s (local.get $a)))
      (f64.store offset=72 (local.get $o) (f64.convert_i64_u (local.get $a)))
      (f64.store offset=80 (local.get $o) (f64.reinterpret_i64 (local.get $a)))
      (local.set $o (i32.add (local.get $o) (i32.const 88)))
      (br_if $each (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 8))) (i32.const 128))))
    (call $write (i32.const 8192) (i32.const 1408))))

;; f32x4_by_f32x4: finished
(module (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 64) "\00\00\00\00\00\00\00\00\00\00\00\00\00\00\f8\bf\00\00\00\00\00\00\f0\3f\00\00\00\00\00\00\e0\43\00\00\00\00\00\00\f0\7f\01\00\00\00\00\00\f8\ff\00\00\00\00\00\00\f8\7f\00\00\00\00\00\00\00\80\01\00\00\00\00\00\f0\7f\ff\ff\ff\ff\ff\ff\ef\7f\ff\ff\ff\ff\ff\ff\0f\00\00\00\00\00\00\00\f0\ff\00\00\e0\ff\ff\ff\df\41\00\00\00\00\00\00\0c\c0\00\00\00\00\00\00\e0\3f\01\00\00\00\00\00\00\00"
    "\00\00\00\00\00\00\00\80\00\00\00\00\00\00\80\3f\00\00\80\3f\00\00\c0\bf\02\00\00\00\00\00\00\00\00\00\80\7f\00\00\80\ff\ff\ff\ff\7f\00\00\00\3f\00\00\c0\7f\01\00\c0\ff\1f\00\00\00\ff\ff\ff\4e\01\00\80\7f\01\00\00\00\21\00\00\00\ff\ff\7f\00\ff\ff\7f\00\ff\ff\7f\7f\ef\be\ad\de\01\00\80\7f\ff\ff\ff\4e\00\00\00\5f\80\00\00\00\00\00\c0\7f\00\00\00\3f\00\00\60\c0\00\80\00\00\00\00\80\7f")
  (func $write (param $from i32) (param $bytes i32)
    (i32.store (i32.const 0) (local.get $from)) (i32.store (i32.const 4) (local.get $bytes))
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable)))
  (func (export "_start") (local $i i32) (local $j i32) (local $o i32) (local $a v128) (local $b v128)
    (local.set $o (i32.const 8192))
    (loop $left
      (local.set $a (v128.load offset=64 (local.get $i)))
      (local.set $j (i32.const 0))
      (loop $right
        (local.set $b (v128.load offset=64 (local.get $j)))
        (v128.store offset=0 (local.get $o) (f32x4.add (local.get $a) (local.get $b)))
        (v128.store offset=16 (local.get $o) (f32x4.sub (local.get $a) (local.get $b)))
        (v128.store offset=32 (local.get $o) (f32x4.mul (local.get $a) (local.get $b)))
        (v128.store offset=48 (local.get $o) (f32x4.div (local.get $a) (local.get $b)))
        (v128.store offset=64 (local.get $o) (f32x4.min (local.get $a) (local.get $b)))
        (v128.store offset=80 (local.get $o) (f32x4.max (local.get $a) (local.get $b)))
        (v128.store offset=96 (local.get $o) (f32x4.pmin (local.get $a) (local.get $b)))
        (v128.store offset=112 (local.get $o) (f32x4.pmax (local.get $a) (local.get $b)))
        (v128.store offset=128 (local.get $o) (f32x4.eq (local.get $a) (local.get $b)))
        (v128.store offset=144 (local.get $o) (f32x4.lt (local.get $a) (local.get $b)))
        (v128.store offset=160 (local.get $o) (f32x4.ge (local.get $a) (local.get $b)))
        (local.set $o (i32.add (local.get $o) (i32.const 176)))
        (br_if $right (i32.lt_u (local.tee $j (i32.add (local.get $j) (i32.const 16))) (i32.const 256))))
      (br_if $left (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 16))) (i32.const 256))))
    (call $write (i32.const 8192) (i32.const 45056))))

;; f64x2_by_f64x2: finished
(module (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 64) "\00\00\00\00\00\00\00\00\00\00\00\00\00\00\f8\bf\00\00\00\00\00\00\f0\3f\00\00\00\00\00\00\e0\43\00\00\00\00\00\00\f0\7f\01\00\00\00\00\00\f8\ff\00\00\00\00\00\00\f8\7f\00\00\00\00\00\00\00\80\01\00\00\00\00\00\f0\7f\ff\ff\ff\ff\ff\ff\ef\7f\ff\ff\ff\ff\ff\ff\0f\00\00\00\00\00\00\00\f0\ff\00\00\e0\ff\ff\ff\df\41\00\00\00\00\00\00\0c\c0\00\00\00\00\00\00\e0\3f\01\00\00\00\00\00\00\00"
    "\00\00\00\00\00\00\00\80\00\00\00\00\00\00\80\3f\00\00\80\3f\00\00\c0\bf\02\00\00\00\00\00\00\00\00\00\80\7f\00\00\80\ff\ff\ff\ff\7f\00\00\00\3f\00\00\c0\7f\01\00\c0\ff\1f\00\00\00\ff\ff\ff\4e\01\00\80\7f\01\00\00\00\21\00\00\00\ff\ff\7f\00\ff\ff\7f\00\ff\ff\7f\7f\ef\be\ad\de\01\00\80\7f\ff\ff\ff\4e\00\00\00\5f\80\00\00\00\00\00\c0\7f\00\00\00\3f\00\00\60\c0\00\80\00\00\00\00\80\7f")
  (func $write (param $from i32) (param $bytes i32)
    (i32.store (i32.const 0) (local.get $from)) (i32.store (i32.const 4) (local.get $bytes))
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable)))
  (func (export "_start") (local $i i32) (local $j i32) (local $o i32) (local $a v128) (local $b v128)
    (local.set $o (i32.const 8192))
    (loop $left
      (local.set $a (v128.load offset=64 (local.get $i)))
      (local.set $j (i32.const 0))
      (loop $right
        (local.set $b (v128.load offset=64 (local.get $j)))
        (v128.store offset=0 (local.get $o) (f64x2.add (local.get $a) (local.get $b)))
        (v128.store offset=16 (local.get $o) (f64x2.sub (local.get $a) (local.get $b)))
        (v128.store offset=32 (local.get $o) (f64x2.mul (local.get $a) (local.get $b)))
        (v128.store offset=48 (local.get $o) (f64x2.div (local.get $a) (local.get $b)))
        (v128.store offset=64 (local.get $o) (f64x2.min (local.get $a) (local.get $b)))
        (v128.store offset=80 (local.get $o) (f64x2.max (local.get $a) (local.get $b)))
        (v128.store offset=96 (local.get $o) (f64x2.pmin (local.get $a) (local.get $b)))
        (v128.store offset=112 (local.get $o) (f64x2.pmax (local.get $a) (local.get $b)))
        (v128.store offset=128 (local.get $o) (f64x2.eq (local.get $a) (local.get $b)))
        (v128.store offset=144 (local.get $o) (f64x2.lt (local.get $a) (local.get $b)))
        (v128.store offset=160 (local.get $o) (f64x2.ge (local.get $a) (local.get $b)))
        (local.set $o (i32.add (local.get $o) (i32.const 176)))
        (br_if $right (i32.lt_u (local.tee $j (i32.add (local.get $j) (i32.const 16))) (i32.const 256))))
      (br_if $left (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 16))) (i32.const 256))))
    (call $write (i32.const 8192) (i32.const 45056))))

;; bytes_by_bytes: finished
(module (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 64) "\00\00\00\00\00\00\00\00\00\00\00\00\00\00\f8\bf\00\00\00\00\00\00\f0\3f\00\00\00\00\00\00\e0\43\00\00\00\00\00\00\f0\7f\01\00\00\00\00\00\f8\ff\00\00\00\00\00\00\f8\7f\00\00\00\00\00\00\00\80\01\00\00\00\00\00\f0\7f\ff\ff\ff\ff\ff\ff\ef\7f\ff\ff\ff\ff\ff\ff\0f\00\00\00\00\00\00\00\f0\ff\00\00\e0\ff\ff\ff\df\41\00\00\00\00\00\00\0c\c0\00\00\00\00\00\00\e0\3f\01\00\00\00\00\00\00\00"
    "\00\00\00\00\00\00\00\80\00\00\00\00\00\00\80\3f\00\00\80\3f\00\00\c0\bf\02\00\00\00\00\00\00\00\00\00\80\7f\00\00\80\ff\ff\ff\ff\7f\00\00\00\3f\00\00\c0\7f\01\00\c0\ff\1f\00\00\00\ff\ff\ff\4e\01\00\80\7f\01\00\00\00\21\00\00\00\ff\ff\7f\00\ff\ff\7f\00\ff\ff\7f\7f\ef\be\ad\de\01\00\80\7f\ff\ff\ff\4e\00\00\00\5f\80\00\00\00\00\00\c0\7f\00\00\00\3f\00\00\60\c0\00\80\00\00\00\00\80\7f")
  (func $write (param $from i32) (param $bytes i32)
    (i32.store (i32.const 0) (local.get $from)) (i32.store (i32.const 4) (local.get $bytes))
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable)))
  (func (export "_start") (local $i i32) (local $j i32) (local $o i32) (local $a v128) (local $b v128)
    (local.set $o (i32.const 8192))
    (loop $left
      (local.set $a (v128.load offset=64 (local.get $i)))
      (local.set $j (i32.const 0))
      (loop $right
        (local.set $b (v128.load offset=64 (local.get $j)))
        (v128.store offset=0 (local.get $o) (i8x16.swizzle (local.get $a) (local.get $b)))
        (v128.store offset=16 (local.get $o) (i8x16.add (local.get $a) (local.get $b)))
        (v128.store offset=32 (local.get $o) (i8x16.sub (local.get $a) (local.get $b)))
        (v128.store offset=48 (local.get $o) (i8x16.add_sat_s (local.get $a) (local.get $b)))
        (v128.store offset=64 (local.get $o) (i8x16.add_sat_u (local.get $a) (local.get $b)))
        (v128.store offset=80 (local.get $o) (i8x16.sub_sat_s (local.get $a) (local.get $b)))
        (v128.store offset=96 (local.get $o) (i8x16.sub_sat_u (local.get $a) (local.get $b)))
        (v128.store offset=112 (local.get $o) (i8x16.min_s (local.get $a) (local.get $b)))
        (v128.store offset=128 (local.get $o) (i8x16.max_u (local.get $a) (local.get $b)))
        (v128.store offset=144 (local.get $o) (i8x16.avgr_u (local.get $a) (local.get $b)))
        (v128.store offset=160 (local.get $o) (i8x16.eq (local.get $a) (local.get $b)))
        (v128.store offset=176 (local.get $o) (i8x16.lt_s (local.get $a) (local.get $b)))
        (v128.store offset=192 (local.get $o) (i8x16.narrow_i16x8_s (local.get $a) (local.get $b)))
        (v128.store offset=208 (local.get $o) (i8x16.narrow_i16x8_u (local.get $a) (local.get $b)))
        (v128.store offset=224 (local.get $o) (i8x16.shuffle 0 31 1 30 2 29 3 28 4 27 5 26 6 25 7 24 (local.get $a) (local.get $b)))
        (local.set $o (i32.add (local.get $o) (i32.const 240)))
        (br_if $right (i32.lt_u (local.tee $j (i32.add (local.get $j) (i32.const 16))) (i32.const 256))))
      (br_if $left (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 16))) (i32.const 256))))
    (call $write (i32.const 8192) (i32.const 61440))))

;; lanes_by_lanes: finished
(module (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 64) "\00\00\00\00\00\00\00\00\00\00\00\00\00\00\f8\bf\00\00\00\00\00\00\f0\3f\00\00\00\00\00\00\e0\43\00\00\00\00\00\00\f0\7f\01\00\00\00\00\00\f8\ff\00\00\00\00\00\00\f8\7f\00\00\00\00\00\00\00\80\01\00\00\00\00\00\f0\7f\ff\ff\ff\ff\ff\ff\ef\7f\ff\ff\ff\ff\ff\ff\0f\00\00\00\00\00\00\00\f0\ff\00\00\e0\ff\ff\ff\df\41\00\00\00\00\00\00\0c\c0\00\00\00\00\00\00\e0\3f\01\00\00\00\00\00\00\00"
    "\00\00\00\00\00\00\00\80\00\00\00\00\00\00\80\3f\00\00\80\3f\00\00\c0\bf\02\00\00\00\00\00\00\00\00\00\80\7f\00\00\80\ff\ff\ff\ff\7f\00\00\00\3f\00\00\c0\7f\01\00\c0\ff\1f\00\00\00\ff\ff\ff\4e\01\00\80\7f\01\00\00\00\21\00\00\00\ff\ff\7f\00\ff\ff\7f\00\ff\ff\7f\7f\ef\be\ad\de\01\00\80\7f\ff\ff\ff\4e\00\00\00\5f\80\00\00\00\00\00\c0\7f\00\00\00\3f\00\00\60\c0\00\80\00\00\00\00\80\7f")
  (func $write (param $from i32) (param $bytes i32)
    (i32.store (i32.const 0) (local.get $from)) (i32.store (i32.const 4) (local.get $bytes))
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable)))
  (func (export "_start") (local $i i32) (local $j i32) (local $o i32) (local $a v128) (local $b v128)
    (local.set $o (i32.const 8192))
    (loop $left
      (local.set $a (v128.load offset=64 (local.get $i)))
      (local.set $j (i32.const 0))
      (loop $right
        (local.set $b (v128.load offset=64 (local.get $j)))
        (v128.store offset=0 (local.get $o) (i16x8.mul (local.get $a) (local.get $b)))
        (v128.store offset=16 (local.get $o) (i16x8.q15mulr_sat_s (local.get $a) (local.get $b)))
        (v128.store offset=32 (local.get $o) (i16x8.extmul_low_i8x16_s (local.get $a) (local.get $b)))
        (v128.store offset=48 (local.get $o) (i16x8.extmul_high_i8x16_u (local.get $a) (local.get $b)))
        (v128.store offset=64 (local.get $o) (i32x4.mul (local.get $a) (local.get $b)))
        (v128.store offset=80 (local.get $o) (i32x4.dot_i16x8_s (local.get $a) (local.get $b)))
        (v128.store offset=96 (local.get $o) (i32x4.extmul_low_i16x8_u (local.get $a) (local.get $b)))
        (v128.store offset=112 (local.get $o) (i32x4.min_s (local.get $a) (local.get $b)))
        (v128.store offset=128 (local.get $o) (i32x4.gt_u (local.get $a) (local.get $b)))
        (v128.store offset=144 (local.get $o) (i16x8.narrow_i32x4_s (local.get $a) (local.get $b)))
        (v128.store offset=160 (local.get $o) (i64x2.mul (local.get $a) (local.get $b)))
        (v128.store offset=176 (local.get $o) (i64x2.extmul_high_i32x4_s (local.get $a) (local.get $b)))
        (v128.store offset=192 (local.get $o) (i64x2.eq (local.get $a) (local.get $b)))
        (v128.store offset=208 (local.get $o) (i64x2.lt_s (local.get $a) (local.get $b)))
        (v128.store offset=224 (local.get $o) (v128.and (local.get $a) (local.get $b)))
        (v128.store offset=240 (local.get $o) (v128.andnot (local.get $a) (local.get $b)))
        (v128.store offset=256 (local.get $o) (v128.xor (local.get $a) (local.get $b)))
        (local.set $o (i32.add (local.get $o) (i32.const 272)))
        (br_if $right (i32.lt_u (local.tee $j (i32.add (local.get $j) (i32.const 16))) (i32.const 256))))
      (br_if $left (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 16))) (i32.const 256))))
    (call $write (i32.const 8192) (i32.const 69632))))

;; vectors_alone: finished
(module (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 64) "\00\00\00\00\00\00\00\00\00\00\00\00\00\00\f8\bf\00\00\00\00\00\00\f0\3f\00\00\00\00\00\00\e0\43\00\00\00\00\00\00\f0\7f\01\00\00\00\00\00\f8\ff\00\00\00\00\00\00\f8\7f\00\00\00\00\00\00\00\80\01\00\00\00\00\00\f0\7f\ff\ff\ff\ff\ff\ff\ef\7f\ff\ff\ff\ff\ff\ff\0f\00\00\00\00\00\00\00\f0\ff\00\00\e0\ff\ff\ff\df\41\00\00\00\00\00\00\0c\c0\00\00\00\00\00\00\e0\3f\01\00\00\00\00\00\00\00"
    "\00\00\00\00\00\00\00\80\00\00\00\00\00\00\80\3f\00\00\80\3f\00\00\c0\bf\02\00\00\00\00\00\00\00\00\00\80\7f\00\00\80\ff\ff\ff\ff\7f\00\00\00\3f\00\00\c0\7f\01\00\c0\ff\1f\00\00\00\ff\ff\ff\4e\01\00\80\7f\01\00\00\00\21\00\00\00\ff\ff\7f\00\ff\ff\7f\00\ff\ff\7f\7f\ef\be\ad\de\01\00\80\7f\ff\ff\ff\4e\00\00\00\5f\80\00\00\00\00\00\c0\7f\00\00\00\3f\00\00\60\c0\00\80\00\00\00\00\80\7f")
  (func $write (param $from i32) (param $bytes i32)
    (i32.store (i32.const 0) (local.get $from)) (i32.store (i32.const 4) (local.get $bytes))
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable)))
  (func (export "_start") (local $i i32) (local $o i32) (local $a v128)
    (local.set $o (i32.const 8192))
    (loop $each
      (local.set $a (v128.load offset=64 (local.get $i)))
      (v128.store offset=0 (local.get $o) (f32x4.sqrt (local.get $a)))
      (v128.store offset=16 (local.get $o) (f32x4.ceil (local.get $a)))
      (v128.store offset=32 (local.get $o) (f32x4.nearest (local.get $a)))
      (v128.store offset=48 (local.get $o) (f32x4.abs (local.get $a)))
      (v128.store offset=64 (local.get $o) (f32x4.neg (local.get $a)))
      (v128.store offset=80 (local.get $o) (f64x2.sqrt (local.get $a)))
      (v128.store offset=96 (local.get $o) (f64x2.floor (local.get $a)))
      (v128.store offset=112 (local.get $o) (f64x2.trunc (local.get $a)))
      (v128.store offset=128 (local.get $o) (f64x2.neg (local.get $a)))
      (v128.store offset=144 (local.get $o) (f32x4.demote_f64x2_zero (local.get $a)))
      (v128.store offset=160 (local.get $o) (f64x2.promote_low_f32x4 (local.get $a)))
      (v128.store offset=176 (local.get $o) (i32x4.trunc_sat_f32x4_s (local.get $a)))
      (v128.store offset=192 (local.get $o) (i32x4.trunc_sat_f32x4_u (local.get $a)))
      (v128.store offset=208 (local.get $o) (i32x4.trunc_sat_f64x2_s_zero (local.get $a)))
      (v128.store offset=224 (local.get $o) (i32x4.trunc_sat_f64x2_u_zero (local.get $a)))
      (v128.store offset=240 (local.get $o) (f32x4.convert_i32x4_s (local.get $a)))
      (v128.store offset=256 (local.get $o) (f32x4.convert_i32x4_u (local.get $a)))
      (v128.store offset=272 (local.get $o) (f64x2.convert_low_i32x4_s (local.get $a)))
      (v128.store offset=288 (local.get $o) (f64x2.convert_low_i32x4_u (local.get $a)))
      (v128.store offset=304 (local.get $o) (i8x16.popcnt (local.get $a)))
      (v128.store offset=320 (local.get $o) (i8x16.abs (local.get $a)))
      (v128.store offset=336 (local.get $o) (i16x8.extadd_pairwise_i8x16_s (local.get $a)))
      (v128.store offset=352 (local.get $o) (i32x4.extadd_pairwise_i16x8_u (local.get $a)))
      (v128.store offset=368 (local.get $o) (i64x2.extend_low_i32x4_s (local.get $a)))
      (v128.store offset=384 (local.get $o) (i64x2.abs (local.get $a)))
      (v128.store offset=400 (local.get $o) (v128.not (local.get $a)))
      (i32.store offset=416 (local.get $o) (i8x16.all_true (local.get $a)))
      (i32.store offset=420 (local.get $o) (i16x8.bitmask (local.get $a)))
      (i32.store offset=424 (local.get $o) (i32x4.all_true (local.get $a)))
      (i32.store offset=428 (local.get $o) (i64x2.bitmask (local.get $a)))
      (i32.store offset=432 (local.get $o) (v128.any_true (local.get $a)))
      (v128.store offset=436 (local.get $o) (i8x16.shl (local.get $a) (local.get $i)))
      (v128.store offset=452 (local.get $o) (i16x8.shr_s (local.get $a) (local.get $i)))
      (v128.store offset=468 (local.get $o) (i32x4.shr_u (local.get $a) (local.get $i)))
      (v128.store offset=484 (local.get $o) (i64x2.shr_s (local.get $a) (local.get $i)))
      (local.set $o (i32.add (local.get $o) (i32.const 500)))
      (br_if $each (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 16))) (i32.const 256))))
    (call $write (i32.const 8192) (i32.const 8000))))

;; wide_by_wide: finished
(module (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 64) "\00\00\00\00\00\00\00\00\01\00\00\00\00\00\00\00\02\00\00\00\00\00\00\00\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\7f\00\00\00\00\00\00\00\80\3f\00\00\00\00\00\00\00\40\00\00\00\00\00\00\00"
    "\41\00\00\00\00\00\00\00\f0\de\bc\9a\78\56\34\12\be\ba\fe\ca\ef\be\ad\de\ff\00\00\00\00\00\00\00\80\00\00\00\00\00\00\00\ff\ff\ff\ff\00\00\00\00\00\00\00\80\00\00\00\00\03\00\00\00\00\00\00\00")
  (func $write (param $from i32) (param $bytes i32)
    (i32.store (i32.const 0) (local.get $from)) (i32.store (i32.const 4) (local.get $bytes))
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable)))
  (func $mul_s (param $a i64) (param $b i64) (param $high i32) (result i64) (local $h i64) (local $l i64)
    (i64.mul_wide_s (local.get $a) (local.get $b))
    (local.set $h) (local.set $l)
    (select (local.get $h) (local.get $l) (local.get $high)))
  (func $mul_u (param $a i64) (param $b i64) (param $high i32) (result i64) (local $h i64) (local $l i64)
    (i64.mul_wide_u (local.get $a) (local.get $b))
    (local.set $h) (local.set $l)
    (select (local.get $h) (local.get $l) (local.get $high)))
  (func $add (param $a i64) (param $b i64) (param $high i32) (result i64) (local $h i64) (local $l i64)
    (i64.add128 (local.get $a) (local.get $b) (local.get $b) (local.get $a))
    (local.set $h) (local.set $l)
    (select (local.get $h) (local.get $l) (local.get $high)))
  (func $sub (param $a i64) (param $b i64) (param $high i32) (result i64) (local $h i64) (local $l i64)
    (i64.sub128 (local.get $a) (local.get $b) (local.get $b) (local.get $a))
    (local.set $h) (local.set $l)
    (select (local.get $h) (local.get $l) (local.get $high)))
  (func (export "_start") (local $i i32) (local $j i32) (local $o i32) (local $a i64) (local $b i64)
    (local.set $o (i32.const 8192))
    (loop $left
      (local.set $a (i64.load offset=64 (local.get $i)))
      (local.set $j (i32.const 0))
      (loop $right
        (local.set $b (i64.load offset=64 (local.get $j)))
        (i64.store offset=0 (local.get $o) (call $mul_s (local.get $a) (local.get $b) (i32.const 0)))
        (i64.store offset=8 (local.get $o) (call $mul_s (local.get $a) (local.get $b) (i32.const 1)))
        (i64.store offset=16 (local.get $o) (call $mul_u (local.get $a) (local.get $b) (i32.const 0)))
        (i64.store offset=24 (local.get $o) (call $mul_u (local.get $a) (local.get $b) (i32.const 1)))
        (i64.store offset=32 (local.get $o) (call $add (local.get $a) (local.get $b) (i32.const 0)))
        (i64.store offset=40 (local.get $o) (call $add (local.get $a) (local.get $b) (i32.const 1)))
        (i64.store offset=48 (local.get $o) (call $sub (local.get $a) (local.get $b) (i32.const 0)))
        (i64.store offset=56 (local.get $o) (call $sub (local.get $a) (local.get $b) (i32.const 1)))
        (local.set $o (i32.add (local.get $o) (i32.const 64)))
        (br_if $right (i32.lt_u (local.tee $j (i32.add (local.get $j) (i32.const 8))) (i32.const 128))))
      (br_if $left (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 8))) (i32.const 128))))
    (call $write (i32.const 8192) (i32.const 16384))))

;;; NaNs that come out where a guest can see their bits.

;; nan_by_ways: finished
(module (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1) (global $g (mut f64) (f64.const 0)) (table 1 funcref) (elem (i32.const 0) $nan)
  (func $nan (param $a f64) (result f64) (f64.div (f64.sub (local.get $a) (local.get $a)) (f64.sub (local.get $a) (local.get $a))))
  (func $nan32 (param $a f32) (result f32) (f32.mul (f32.sqrt (local.get $a)) (f32.const 2)))
  (func $write (param $from i32) (param $bytes i32)
    (i32.store (i32.const 0) (local.get $from)) (i32.store (i32.const 4) (local.get $bytes))
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable)))
  (func (export "_start") 
    (global.set $g (call $nan (f64.const 3)))
    (f64.store (i32.const 64) (global.get $g))
    (i64.store (i32.const 72) (i64.reinterpret_f64 (call $nan (f64.const -0))))
    (f64.store (i32.const 80) (call_indirect (param f64) (result f64) (f64.const 1) (i32.const 0)))
    (f64.store (i32.const 88) (select (call $nan (f64.const 9)) (f64.const 1) (i32.const 1)))
    (f64.store (i32.const 96) (block (result f64) (br_if 0 (f64.neg (call $nan (f64.const 2))) (i32.const 1))))
    (f64.store (i32.const 104) (f64.copysign (call $nan (f64.const 2)) (f64.const -1)))
    (f32.store (i32.const 112) (f32.demote_f64 (call $nan (f64.const 2))))
    (f64.store (i32.const 120) (f64.promote_f32 (call $nan32 (f32.const -4))))
    (v128.store (i32.const 128) (f64x2.splat (call $nan (f64.const 5))))
    (v128.store (i32.const 144) (f32x4.div (f32x4.splat (f32.const 0)) (v128.const f32x4 0 -0 1 nan)))
    (v128.store (i32.const 160) (f64x2.min (v128.const f64x2 nan:0x4000000000000 1) (v128.const f64x2 1 -nan)))
    (f64.store (i32.const 176) (f64x2.extract_lane 1 (f64x2.mul (v128.const f64x2 0 inf) (v128.const f64x2 inf 0))))
    (call $write (i32.const 64) (i32.const 120))))

;; nan_in_a_loop: finished
(module (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func $write (param $from i32) (param $bytes i32)
    (i32.store (i32.const 0) (local.get $from)) (i32.store (i32.const 4) (local.get $bytes))
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable)))
  (func (export "_start") (local $o i32) (local $x f64) (local $y f64)
    (local.set $o (i32.const 64))
    (loop $l
      (local.set $x (f64.sub (f64.mul (local.get $x) (f64.const 1e200)) (f64.mul (local.get $y) (f64.const 1e200))))
      (local.set $y (f64.add (f64.mul (local.get $y) (f64.const -1e150)) (f64.const 3)))
      (f64.store (local.get $o) (local.get $x)) (f64.store offset=8 (local.get $o) (f64.sqrt (local.get $y)))
      (br_if $l (i32.lt_u (local.tee $o (i32.add (local.get $o) (i32.const 16))) (i32.const 1088))))
    (call $write (i32.const 64) (i32.const 1024))))

;;; Small programs with a purpose.

;; sieve: finished
(module (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func $write (param $from i32) (param $bytes i32)
    (i32.store (i32.const 0) (local.get $from)) (i32.store (i32.const 4) (local.get $bytes))
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable)))
  (func (export "_start") (local $i i32) (local $k i32)
    (local.set $i (i32.const 2))
    (loop $next
      (if (i32.eqz (i32.load8_u offset=1024 (local.get $i))) (then
        (local.set $k (i32.mul (local.get $i) (local.get $i)))
        (block $done (loop $strike
          (br_if $done (i32.ge_u (local.get $k) (i32.const 30000)))
          (i32.store8 offset=1024 (local.get $k) (i32.const 1))
          (local.set $k (i32.add (local.get $k) (local.get $i)))
          (br $strike)))))
      (br_if $next (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 173))))
    (call $write (i32.const 1024) (i32.const 30000))))

;; mandelbrot: finished
(module (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func $write (param $from i32) (param $bytes i32)
    (i32.store (i32.const 0) (local.get $from)) (i32.store (i32.const 4) (local.get $bytes))
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable)))
  (func (export "_start") (local $i i32) (local $n i32) (local $cx f64) (local $cy f64) (local $x f64) (local $y f64) (local $t f64)
    (loop $pixel
      (local.set $cx (f64.sub (f64.div (f64.convert_i32_u (i32.and (local.get $i) (i32.const 63))) (f64.const 21)) (f64.const 2.2)))
      (local.set $cy (f64.sub (f64.div (f64.convert_i32_u (i32.shr_u (local.get $i) (i32.const 6))) (f64.const 12)) (f64.const 1.3)))
      (local.set $x (f64.const 0)) (local.set $y (f64.const 0)) (local.set $n (i32.const 0))
      (block $out (loop $round
        (local.set $t (f64.add (f64.sub (f64.mul (local.get $x) (local.get $x)) (f64.mul (local.get $y) (local.get $y))) (local.get $cx)))
        (local.set $y (f64.add (f64.mul (f64.mul (f64.const 2) (local.get $x)) (local.get $y)) (local.get $cy)))
        (local.set $x (local.get $t))
        (br_if $out (f64.gt (f64.add (f64.mul (local.get $x) (local.get $x)) (f64.mul (local.get $y) (local.get $y))) (f64.const 4)))
        (br_if $round (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 100)))))
      (i32.store8 offset=1024 (local.get $i) (local.get $n))
      (br_if $pixel (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 2048))))
    (call $write (i32.const 1024) (i32.const 2048))))

;; fibonacci: finished
(module (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func $fib (param $n i64) (result i64)
    (if (result i64) (i64.lt_u (local.get $n) (i64.const 2)) (then (local.get $n))
      (else (i64.add (call $fib (i64.sub (local.get $n) (i64.const 1))) (call $fib (i64.sub (local.get $n) (i64.const 2)))))))
  (func $write (param $from i32) (param $bytes i32)
    (i32.store (i32.const 0) (local.get $from)) (i32.store (i32.const 4) (local.get $bytes))
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable)))
  (func (export "_start") 
    (i64.store (i32.const 64) (call $fib (i64.const 20))) (call $write (i32.const 64) (i32.const 8))))

;; bubble_sort: finished
(module (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func $write (param $from i32) (param $bytes i32)
    (i32.store (i32.const 0) (local.get $from)) (i32.store (i32.const 4) (local.get $bytes))
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable)))
  (func (export "_start") (local $i i32) (local $n i32) (local $swapped i32)
    (local.set $n (i32.const 1))
    (loop $fill
      (local.set $n (i32.add (i32.mul (local.get $n) (i32.const 1103515245)) (i32.const 12345)))
      (i32.store offset=1024 (local.get $i) (local.get $n))
      (br_if $fill (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4))) (i32.const 400))))
    (loop $again
      (local.set $swapped (i32.const 0)) (local.set $i (i32.const 0))
      (loop $pass
        (if (i32.gt_s (i32.load offset=1024 (local.get $i)) (i32.load offset=1028 (local.get $i))) (then
          (local.set $n (i32.load offset=1024 (local.get $i)))
          (i32.store offset=1024 (local.get $i) (i32.load offset=1028 (local.get $i)))
          (i32.store offset=1028 (local.get $i) (local.get $n))
          (local.set $swapped (i32.const 1))))
        (br_if $pass (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4))) (i32.const 396))))
      (br_if $again (local.get $swapped)))
    (call $write (i32.const 1024) (i32.const 400))))

;; crc32: finished
(module (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func $write (param $from i32) (param $bytes i32)
    (i32.store (i32.const 0) (local.get $from)) (i32.store (i32.const 4) (local.get $bytes))
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable)))
  (func (export "_start") (local $i i32) (local $k i32) (local $c i32)
    (local.set $c (i32.const -1))
    (loop $byte
      (local.set $c (i32.xor (local.get $c) (i32.and (i32.mul (local.get $i) (i32.const 167)) (i32.const 255))))
      (local.set $k (i32.const 8))
      (loop $bit
        (local.set $c (i32.xor (i32.shr_u (local.get $c) (i32.const 1))
          (select (i32.const 0xedb88320) (i32.const 0) (i32.and (local.get $c) (i32.const 1)))))
        (br_if $bit (local.tee $k (i32.sub (local.get $k) (i32.const 1)))))
      (br_if $byte (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 5000))))
    (i32.store (i32.const 64) (i32.xor (local.get $c) (i32.const -1))) (call $write (i32.const 64) (i32.const 4))))

;; memory_moves: finished
(module (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data $d "abcdefghijklmnopqrstuvwxyz")
  (func $write (param $from i32) (param $bytes i32)
    (i32.store (i32.const 0) (local.get $from)) (i32.store (i32.const 4) (local.get $bytes))
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable)))
  (func (export "_start") 
    (memory.init $d (i32.const 64) (i32.const 0) (i32.const 26))
    (memory.copy (i32.const 70) (i32.const 64) (i32.const 26))
    (memory.copy (i32.const 64) (i32.const 67) (i32.const 20))
    (memory.fill (i32.const 110) (i32.const 0x1ab) (i32.const 7))
    (i64.store offset=3 align=1 (i32.const 118) (i64.const 0x0123456789abcdef))
    (i32.store16 (i32.const 131) (i32.load16_s (i32.const 111))) (i64.store32 (i32.const 135) (i64.load8_s (i32.const 110)))
    (drop (memory.grow (i32.const 2)))
    (v128.store (i32.const 65530) (v128.load32x2_s (i32.const 110)))
    (v128.store8_lane 5 (i32.const 144) (v128.load64_splat (i32.const 118)))
    (call $write (i32.const 64) (i32.const 96)) (call $write (i32.const 65520) (i32.const 64))))

;;; What the host is asked for.

;; exit_code: exit-42
(module (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 2)
  (data (i32.const 1024) "hello, world")
  (func $write (param $from i32) (param $bytes i32)
    (i32.store (i32.const 0) (local.get $from)) (i32.store (i32.const 4) (local.get $bytes))
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable)))
  (func (export "_start") (local $i i32)
    (call $proc_exit (i32.const 42)) unreachable))

;; log_and_progress: finished
(module (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "adit_1" "log" (func $log (param i32 i32 i32)))
  (import "adit_1" "progress" (func $progress (param i64 i64)))
  (memory (export "memory") 2)
  (data (i32.const 1024) "hello, world")
  (func $write (param $from i32) (param $bytes i32)
    (i32.store (i32.const 0) (local.get $from)) (i32.store (i32.const 4) (local.get $bytes))
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable)))
  (func (export "_start") (local $i i32)
    (loop $l
      (call $log (i32.and (local.get $i) (i32.const 3)) (i32.const 1024) (i32.const 12))
      (call $progress (i64.extend_i32_u (local.get $i)) (i64.const 9))
      (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 10))))
    (drop (call $fd_write (i32.const 2) (i32.const 0) (i32.const 0) (i32.const 8)))))

;; randomness: finished
(module (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 1024) "hello, world")
  (func $write (param $from i32) (param $bytes i32)
    (i32.store (i32.const 0) (local.get $from)) (i32.store (i32.const 4) (local.get $bytes))
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable)))
  (func (export "_start") (local $i i32)
    (drop (call $random_get (i32.const 64) (i32.const 500))) (call $write (i32.const 64) (i32.const 500))))

;; clocks: finished
(module (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock_time_get (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_res_get" (func $clock_res_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 1024) "hello, world")
  (func $write (param $from i32) (param $bytes i32)
    (i32.store (i32.const 0) (local.get $from)) (i32.store (i32.const 4) (local.get $bytes))
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable)))
  (func (export "_start") (local $i i32)
    (drop (call $clock_time_get (i32.const 0) (i64.const 1) (i32.const 64)))
    (drop (call $clock_time_get (i32.const 1) (i64.const 1) (i32.const 72)))
    (loop $l (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000))))
    (i32.store (i32.const 144) (i32.const 1)) (i64.store (i32.const 152) (i64.const 1000000))
    (drop (call $poll_oneoff (i32.const 128) (i32.const 256) (i32.const 1) (i32.const 512)))
    (drop (call $clock_time_get (i32.const 1) (i64.const 1) (i32.const 80)))
    (drop (call $clock_res_get (i32.const 1) (i32.const 88)))
    (call $write (i32.const 64) (i32.const 32))))

;; slept_too_long: out-of-fuel
(module (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock_time_get (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_res_get" (func $clock_res_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 1024) "hello, world")
  (func $write (param $from i32) (param $bytes i32)
    (i32.store (i32.const 0) (local.get $from)) (i32.store (i32.const 4) (local.get $bytes))
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable)))
  (func (export "_start") (local $i i32)
    (drop (call $clock_time_get (i32.const 0) (i64.const 1) (i32.const 64)))
    (drop (call $clock_time_get (i32.const 1) (i64.const 1) (i32.const 72)))
    (loop $l (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000))))
    (i32.store (i32.const 144) (i32.const 1)) (i64.store (i32.const 152) (i64.const 1000000000))
    (drop (call $poll_oneoff (i32.const 128) (i32.const 256) (i32.const 1) (i32.const 512)))
    (drop (call $clock_time_get (i32.const 1) (i64.const 1) (i32.const 80)))
    (drop (call $clock_res_get (i32.const 1) (i32.const 88)))
    (call $write (i32.const 64) (i32.const 32))))

;; arguments: finished
(module (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func $environ_get (param i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 1024) "hello, world")
  (func $write (param $from i32) (param $bytes i32)
    (i32.store (i32.const 0) (local.get $from)) (i32.store (i32.const 4) (local.get $bytes))
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable)))
  (func (export "_start") (local $i i32)
    (drop (call $args_sizes_get (i32.const 64) (i32.const 68))) (drop (call $args_get (i32.const 80) (i32.const 256)))
    (drop (call $environ_sizes_get (i32.const 72) (i32.const 76))) (drop (call $environ_get (i32.const 128) (i32.const 512)))
    (call $write (i32.const 64) (i32.const 512))))

;; input_at_its_end: finished
(module (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 1024) "hello, world")
  (func $write (param $from i32) (param $bytes i32)
    (i32.store (i32.const 0) (local.get $from)) (i32.store (i32.const 4) (local.get $bytes))
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable)))
  (func (export "_start") (local $i i32)
    (i32.store (i32.const 64) (i32.const 2048)) (i32.store (i32.const 68) (i32.const 4096))
    (drop (call $fd_read (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 72)))
    (call $write (i32.const 72) (i32.const 4))))

;; files_that_are_not: finished
(module (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open" (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_prestat_get" (func $fd_prestat_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_fdstat_get" (func $fd_fdstat_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_seek" (func $fd_seek (param i32 i64 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 1024) "hello, world")
  (func $write (param $from i32) (param $bytes i32)
    (i32.store (i32.const 0) (local.get $from)) (i32.store (i32.const 4) (local.get $bytes))
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable)))
  (func (export "_start") (local $i i32)
    (loop $l
      (i32.store offset=64 (i32.mul (local.get $i) (i32.const 16))
        (call $path_open (local.get $i) (i32.const 0) (i32.const 1024) (i32.const 5) (i32.const 0) (i64.const -1) (i64.const -1) (i32.const 0) (i32.const 32)))
      (i32.store offset=68 (i32.mul (local.get $i) (i32.const 16)) (call $fd_prestat_get (local.get $i) (i32.const 512)))
      (i32.store offset=72 (i32.mul (local.get $i) (i32.const 16)) (call $fd_fdstat_get (local.get $i) (i32.const 512)))
      (i32.store offset=76 (i32.mul (local.get $i) (i32.const 16)) (call $fd_seek (local.get $i) (i64.const 1) (i32.const 0) (i32.const 512)))
      (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 5))))
    (call $write (i32.const 64) (i32.const 80))))

;;; Guests that mean harm: what each can do is bounded by its limits, and is billed alike everywhere.

;; pointer_outside: trapped
(module (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 1024) "hello, world")
  (func $write (param $from i32) (param $bytes i32)
    (i32.store (i32.const 0) (local.get $from)) (i32.store (i32.const 4) (local.get $bytes))
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable)))
  (func (export "_start") (local $i i32)
    (drop (call $random_get (i32.const -1) (i32.const 2)))))

;; endless_writes: out-of-fuel
(module (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  
  (memory (export "memory") 2)
  (data (i32.const 1024) "hello, world")
  (func $write (param $from i32) (param $bytes i32)
    (i32.store (i32.const 0) (local.get $from)) (i32.store (i32.const 4) (local.get $bytes))
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable)))
  (func (export "_start") (local $i i32)
    (loop $f (call $write (i32.const 65536) (i32.const 65536)) (br $f))))

;; endless_log: out-of-fuel
(module (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "adit_1" "log" (func $log (param i32 i32 i32)))
  (memory (export "memory") 2)
  (data (i32.const 1024) "hello, world")
  (func $write (param $from i32) (param $bytes i32)
    (i32.store (i32.const 0) (local.get $from)) (i32.store (i32.const 4) (local.get $bytes))
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable)))
  (func (export "_start") (local $i i32)
    (loop $f (call $log (i32.const 1) (i32.const 0) (i32.const 100000)) (br $f))))

;; endless_randomness: out-of-fuel
(module (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 1024) "hello, world")
  (func $write (param $from i32) (param $bytes i32)
    (i32.store (i32.const 0) (local.get $from)) (i32.store (i32.const 4) (local.get $bytes))
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable)))
  (func (export "_start") (local $i i32)
    (loop $f (drop (call $random_get (i32.const 0) (i32.const 100000))) (br $f))))

;; endless_naps: out-of-fuel
(module (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 1024) "hello, world")
  (func $write (param $from i32) (param $bytes i32)
    (i32.store (i32.const 0) (local.get $from)) (i32.store (i32.const 4) (local.get $bytes))
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable)))
  (func (export "_start") (local $i i32)
    (loop $f (drop (call $poll_oneoff (i32.const 128) (i32.const 65536) (i32.const 1000) (i32.const 512))) (br $f))))

;; buffers_by_the_million: finished
(module (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  
  (memory (export "memory") 2)
  (data (i32.const 1024) "hello, world")
  (func $write (param $from i32) (param $bytes i32)
    (i32.store (i32.const 0) (local.get $from)) (i32.store (i32.const 4) (local.get $bytes))
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable)))
  (func (export "_start") (local $i i32)
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 8000000) (i32.const 0)))))

;; endless_growth: out-of-fuel
(module (memory (export "memory") 1)
  (func (export "_start") (loop $f (drop (memory.grow (i32.const 1))) (br $f))))

;; endless_table_growth: out-of-fuel
(module (table $t 1 funcref)
  (func (export "_start") (loop $f (drop (table.grow $t (ref.null func) (i32.const 1))) (br $f))))

;; endless_copy: out-of-fuel
(module (memory (export "memory") 16)
  (func (export "_start") (loop $f (memory.copy (i32.const 0) (i32.const 1) (i32.const 1048575)) (br $f))))

;; endless_table_copy: out-of-fuel
(module (table $t 100000 funcref)
  (func (export "_start") (loop $f (table.copy $t $t (i32.const 0) (i32.const 1) (i32.const 99999)) (br $f))))

;; more_memory_than_it_may_have: out-of-memory
(module (memory (export "memory") 65536)
  (func (export "_start")))

;; memory_beyond_what_a_worker_keeps: finished
(module (memory (export "memory") 40)
  (func (export "_start") (i32.store (i32.const 2621436) (i32.const 1))))

;; growth_over_its_own_maximum_then_exit: exit-3
(module (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1 2)
  (func (export "_start") (if (i32.eq (memory.grow (i32.const 9)) (i32.const -1)) (then (call $proc_exit (i32.const 3))))))

;; growth_over_its_own_maximum_then_trap: trapped
(module (memory 1 2)
  (func (export "_start") (if (i32.eq (memory.grow (i32.const -1)) (i32.const -1)) (then unreachable))))

;; growth_over_the_limit_then_exit: out-of-memory
(module (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start") (if (i32.eq (memory.grow (i32.const 65536)) (i32.const -1)) (then (call $proc_exit (i32.const 3))))))

;; calls_that_double: out-of-fuel
(module (func $f (param i32)
    (if (local.get 0) (then
      (call $f (i32.sub (local.get 0) (i32.const 1))) (call $f (i32.sub (local.get 0) (i32.const 1))))))
  (func (export "_start") (call $f (i32.const 40))))

;; fuel_left: finished
(module (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (import "adit_1" "fuel_left" (func $fuel_left (result i64)))
  (memory (export "memory") 2)
  (table 1 funcref) (elem (i32.const 0) $note)
  (global $at (mut i32) (i32.const 1024))
  (func $note (param $more i32)
    (i64.store (global.get $at) (call $fuel_left))
    (global.set $at (i32.add (global.get $at) (i32.const 8)))
    (if (local.get $more) (then (call $note (i32.sub (local.get $more) (i32.const 1))))))
  (func (export "_start") (local $i i32)
    (call $note (i32.const 1))
    (loop $l (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000))))
    (call $note (i32.const 0))
    (local.set $i (i32.const 0))
    (loop $l
      (if (i32.and (local.get $i) (i32.const 1)) (then (call_indirect (param i32) (i32.const 0) (i32.const 0))))
      (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 10))))
    (memory.fill (i32.const 4096) (i32.const 7) (i32.const 65536)) (call $note (i32.const 0))
    (drop (memory.grow (i32.const 3))) (call $note (i32.const 0))
    (i32.store (i32.const 144) (i32.const 1)) (i64.store (i32.const 152) (i64.const 1000))
    (drop (call $poll_oneoff (i32.const 128) (i32.const 256) (i32.const 1) (i32.const 512))) (call $note (i32.const 3))
    (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.sub (global.get $at) (i32.const 1024)))
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable))))

;; fuel_left_to_the_end: finished
(module (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "adit_1" "fuel_left" (func $fuel_left (result i64)))
  (memory (export "memory") 1)
  (func (export "_start") (local $n i64)
    (loop $l
      (local.set $n (i64.add (local.get $n) (i64.const 1)))
      (br_if $l (i64.gt_u (call $fuel_left) (i64.const 1000))))
    (i64.store (i32.const 8) (local.get $n))
    (i32.store (i32.const 0) (i32.const 8)) (i32.store (i32.const 4) (i32.const 8))
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)) (then unreachable))))

;; fuel_left_over_the_limit: out-of-fuel
(module (import "adit_1" "fuel_left" (func $fuel_left (result i64)))
  (func (export "_start")
    (loop $l (drop (call $fuel_left)) (br $l))))

;; trap_where_the_word_is_below_zero: trapped
(module (func $f) (elem declare func $f)
  (func (export "_start")
    (if (i32.const 0)
      (then
        (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f))
        (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f))
        (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f))
        (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f))
        (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f))
        (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f))
        (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f))
        (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f))
        (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f))
        (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f)) (drop (ref.func $f)))
      (else nop))
    unreachable))

;; recursion_over_the_limit_on_its_way_back: out-of-fuel
(module (import "wasi_snapshot_preview1" "sched_yield" (func $sched_yield (result i32)))
  (memory (export "memory") 1)
  (func $f (param i32)
    (if (local.get 0) (then (call $f (i32.sub (local.get 0) (i32.const 1)))))
    (drop (call $sched_yield)) (drop (call $sched_yield)) (drop (call $sched_yield)) (drop (call $sched_yield)) (drop (call $sched_yield)))
  (func (export "_start") (call $f (i32.const 30000))))

;; loop_whose_values_go_through_eight_locals: finished
(module (memory 1)
  (func (export "_start") (local i32 i32 i32 i32 i32 i32 i32 i32 i32)
    (loop $l
      (local.set 8 (i32.load (local.get 7)))
      (local.set 7 (i32.load (local.get 6)))
      (local.set 6 (i32.load (local.get 5)))
      (local.set 5 (i32.load (local.get 4)))
      (local.set 4 (i32.load (local.get 3)))
      (local.set 3 (i32.load (local.get 2)))
      (local.set 2 (i32.load (local.get 1)))
      (local.set 1 (i32.load (local.get 0)))
      (br_if $l (i32.lt_u (local.tee 0 (i32.add (local.get 0) (i32.const 1))) (i32.const 1000))))))

;; loop_whose_values_take_turns: finished
(module (func (export "_start") (local $i i32) (local $a f64) (local $b f64) (local $c f64) (local $next f64)
    (loop $l
      (local.set $next (f64.mul (f64.mul (local.get $a) (f64.const 3)) (f64.const 5)))
      (local.set $a (local.get $b)) (local.set $b (local.get $c)) (local.set $c (local.get $next))
      (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000))))))

;; loop_whose_loads_take_turns_before_a_late_one: finished
(module (memory 1)
  (func (export "_start") (local $i i32) (local $a i32) (local $b i32) (local $next i32) (local $late i32)
    (loop $l
      (local.set $next (i32.load (i32.load (i32.load (local.get $a)))))
      (local.set $a (local.get $b)) (local.set $b (local.get $next))
      (local.set $late (i32.load (i32.load (i32.load (i32.load (i32.load (i32.load (i32.load (i32.load (i32.load (i32.load (i32.load (i32.load (i32.load (i32.load (i32.load (i32.load (i32.load (i32.load (i32.load (i32.load (i32.load (i32.load (i32.load (i32.load (i32.load (i32.load (i32.load (i32.load (i32.load (i32.load (i32.const 0))))))))))))))))))))))))))))))))
      (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000))))))
