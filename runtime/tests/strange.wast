;;; Programs that nobody would write and that are valid all the same: what an examiner brings along. Each looks at its own results and
;;; traps where they are wrong, unless its line says how it ends. The format is that of `meter.wast`.

;;; Control.

;; loop_that_carries_four_values: finished
(module (global $g (export "g") (mut i64) (i64.const 0))
  (func $f (param $n i32) (result i64 f64 i32)
    (local.get $n) (i64.const 1) (f64.const 0.5) (f32.const 2)
    (loop $l (param i32 i64 f64 f32) (result i64 f64 i32)
      (drop) (f64.const 2) (f64.mul) (i64.const 3)
      (global.set $g) (global.get $g) (drop)
      (if (param i32 i64 f64) (result i32 i64 f64 f32) (i32.and (local.get $n) (i32.const 1))
        (then (f32.const 1)) (else (f32.const -1)))
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if $l (i32.lt_u (local.get $n) (i32.const 40)))
      (i32.trunc_f32_s)
      (call $turn)))
  (func $turn (param i32 i64 f64 i32) (result i64 f64 i32) (local.get 1) (local.get 2) (i32.add (local.get 0) (local.get 3)))
  (func (export "_start") (local $i i32) (local $d f64) (local $n i64)
    (call $f (i32.const 31)) (local.set $i) (local.set $d) (local.set $n)
    (if (i32.ne (local.get $i) (i32.const 32)) (then unreachable))
    (if (f64.ne (local.get $d) (f64.const 256)) (then unreachable))
    (if (i64.ne (local.get $n) (i64.const 1)) (then unreachable))))

;; br_table_to_heads_and_ends_of_four_loops: finished
(module (memory (export "memory") 1)
  (data (i32.const 0) "\00\05\04\05\03\06\02\05\01\07\00\02\04\06\05\01\03\00\07\06\05\02\02\01\00\03\04\05\06\07\07\05\09")
  (global $at (mut i32) (i32.const 0)) (global $seen (export "seen") (mut i64) (i64.const 0))
  (func $next (result i32)
    (i32.load8_u (global.get $at)) (global.set $at (i32.add (global.get $at) (i32.const 1))))
  (func $mark (param i64) (global.set $seen (i64.add (i64.mul (global.get $seen) (i64.const 31)) (local.get 0))))
  (func (export "_start")
    (block $end
      (loop $a
        (call $mark (i64.const 1))
        (block $b_end
          (loop $b
            (call $mark (i64.const 2))
            (block $c_end
              (loop $c
                (call $mark (i64.const 3))
                (block $d_end
                  (loop $d
                    (call $mark (i64.const 4))
                    (br_table $a $b $c $d $d_end $c_end $b_end $end $end (call $next))))
                (call $mark (i64.const 5))
                (br_if $c (i32.and (call $next) (i32.const 1)))))
            (call $mark (i64.const 6))
            (br_if $b (i32.and (call $next) (i32.const 1)))))
        (call $mark (i64.const 7))
        (br_if $a (i32.and (call $next) (i32.const 1)))))
    (call $mark (i64.const 8))))

;; br_table_into_loops_with_params: finished
(module (global $sum (export "sum") (mut i32) (i32.const 0))
  (func $f (param $n i32) (result i32)
    (i32.const 7)
    (block $out (param i32) (result i32)
      (loop $outer (param i32) (result i32)
        (i32.const 3) (i32.add)
        (block $mid (param i32) (result i32)
          (loop $inner (param i32) (result i32)
            (i32.const 1) (i32.add)
            (global.set $sum (i32.add (global.get $sum) (i32.const 1)))
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_table $inner $outer $mid $inner $out (i32.rem_u (local.get $n) (i32.const 5)))))
        (i32.const 100) (i32.add)
        (br_if $outer (i32.lt_u (local.get $n) (i32.const 50))))))
  (func (export "_start")
    (global.set $sum (i32.add (i32.mul (global.get $sum) (i32.const 1000)) (call $f (i32.const 0))))
    (global.set $sum (i32.add (i32.mul (global.get $sum) (i32.const 1000)) (call $f (i32.const 3))))))

;; code_after_a_branch_has_any_stack: finished
(module (memory 1) (global $g (mut i32) (i32.const 0)) (table 2 funcref)
  (type $two (func (param i32 i64) (result i64 i32)))
  (func $two (type $two) (local.get 1) (local.get 0))
  (func $f (param $n i32) (result i32)
    (block $a (result i32)
      (block $b (result i32)
        (br_if $a (i32.const 1) (local.get $n)) (drop)
        (br $b (i32.const 2))
        (i32.add) (drop) (i64.store) (select) (drop) (call $two) (drop) (drop)
        (loop (param i64) (result f64) (drop) (f64.const 1)) (f64.sqrt) (drop)
        (block (param i32 i32) (result i32) (i32.mul)) (drop)
        (if (result i32) (then (br_table $a $b $a (i32.const 1) (i32.const 0))) (else (return (i32.const 1))))
        (call_indirect (type $two)) (drop) (drop) (memory.fill) (memory.grow) (table.grow) (global.set $g) (unreachable) (i32.div_s))
      (drop) (i32.const 3)
      (br_table $a $a (i32.const 0))
      (f32.demote_f64) (i32.trunc_f32_s) (i32.const 1) (br_if $a) (return))
    (return) (drop) (v128.bitselect) (i8x16.extract_lane_s 3))
  (func (export "_start")
    (if (i32.ne (call $f (i32.const 0)) (i32.const 3)) (then unreachable))
    (if (i32.ne (call $f (i32.const 1)) (i32.const 1)) (then unreachable))
    (return) (loop (br 0)) (unreachable)))

;; nests_that_are_dead_from_the_start: finished
(module (memory 1) (global $g (mut i32) (i32.const 0))
  (func $f (param $n i32)
    (block $out
      (br $out)
      (loop $l (block $x (if (local.get $n) (then (br $l)) (else (br $x))) (loop (br_if 0 (local.get $n))) (br_table $l $x $out (local.get $n))))
      (block (loop (block (loop (br 3)))))
      (if (i32.const 1) (then (block (br 2))) (else unreachable))
      (memory.copy (i32.const 0) (i32.const 1) (i32.const 70000)) (drop (memory.grow (i32.const 1)))
      (call $f (i32.const 0))
      (loop $again (global.set $g (i32.add (global.get $g) (i32.const 1))) (br_if $again (i32.lt_u (global.get $g) (i32.const 10)))))
    (if (global.get $g) (then unreachable)))
  (func (export "_start") (call $f (i32.const 1)) (if (i32.ne (memory.size) (i32.const 1)) (then unreachable))))

;; loops_that_begin_at_one_place: finished
(module (global $n (export "n") (mut i32) (i32.const 0))
  (func $f (param $k i32)
    (loop $a (loop $b (loop $c (loop $d
      (global.set $n (i32.add (global.get $n) (i32.const 1)))
      (br_if $d (i32.eqz (i32.rem_u (global.get $n) (i32.const 2))))
      (br_if $c (i32.eqz (i32.rem_u (global.get $n) (i32.const 3))))
      (br_if $b (i32.eqz (i32.rem_u (global.get $n) (i32.const 5))))
      (br_if $a (i32.eqz (i32.rem_u (global.get $n) (i32.const 7))))
      (local.set $k (i32.sub (local.get $k) (i32.const 1)))
      (br_if $a (i32.gt_s (local.get $k) (i32.const 0))))))))
  (func (export "_start") (call $f (i32.const 100))))

;; loops_that_end_at_one_place: finished
(module (global $n (export "n") (mut i32) (i32.const 0))
  (func (export "_start") (local $i i32) (local $j i32) (local $k i32)
    (block $end
      (loop $a
        (local.set $j (i32.const 0))
        (loop $b
          (local.set $k (i32.const 0))
          (loop $c
            (global.set $n (i32.add (global.get $n) (i32.const 1)))
            (br_if $end (i32.eq (global.get $n) (i32.const 200)))
            (br_if $c (i32.lt_u (local.tee $k (i32.add (local.get $k) (i32.const 1))) (i32.const 3)))
            (br_if $b (i32.lt_u (local.tee $j (i32.add (local.get $j) (i32.const 1))) (i32.const 4)))
            (br_if $a (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 50)))))))))

;; loop_whose_short_body_goes_back_twice: finished
(module (global $n (export "n") (mut i32) (i32.const 0))
  (func (export "_start") (local $i i32) (local $j i32)
    (loop $l
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $l (i32.and (local.get $i) (i32.const 1)))
      (local.set $j (i32.add (local.get $j) (local.get $i)))
      (br_if $l (i32.lt_u (local.get $i) (i32.const 999))))
    (if (i32.ne (local.get $j) (i32.const 250500)) (then unreachable))))

;; loop_that_goes_back_out_of_two_arms: finished
(module (global $n (export "n") (mut i32) (i32.const 0))
  (func (export "_start") (local $i i32)
    (loop $l
      (if (i32.and (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 4))
        (then (global.set $n (i32.add (global.get $n) (i32.const 5))) (br_if $l (i32.lt_u (local.get $i) (i32.const 77))))
        (else (if (i32.ge_u (local.get $i) (i32.const 80)) (then (return))) (br $l))))))

;; short_loop_left_in_each_of_its_copies: finished
(module (global $n (export "n") (mut i64) (i64.const 0))
  (func $f (param $i i32)
    (block $out
      (loop $l
        (br_if $out (i32.eqz (local.get $i)))
        (local.set $i (i32.sub (local.get $i) (i32.const 1)))
        (br $l)))
    (global.set $n (i64.add (global.get $n) (i64.const 1))))
  (func (export "_start") (local $i i32)
    (loop $l (call $f (local.get $i)) (br_if $l (i32.le_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 33))))))

;; short_loop_that_leaves_two_functions_blocks_and_itself: finished
(module (global $n (export "n") (mut i32) (i32.const 0))
  (func $f (param $i i32) (result i32)
    (block $a (block $b (block $c
      (loop $l
        (br_if $a (i32.eq (local.get $i) (i32.const 13)))
        (br_if $b (i32.eq (local.get $i) (i32.const 26)))
        (if (i32.eq (local.get $i) (i32.const 39)) (then (br $c)))
        (if (i32.eq (local.get $i) (i32.const 52)) (then (return (i32.const 4))))
        (local.set $i (i32.add (local.get $i) (i32.const 3)))
        (br_if $l (i32.lt_u (local.get $i) (i32.const 70))))
      (return (i32.const 5)))
      (return (i32.const 3)))
      (return (i32.const 2)))
    (i32.const 1))
  (func (export "_start") (local $i i32)
    (loop $l
      (global.set $n (i32.add (i32.mul (global.get $n) (i32.const 7)) (call $f (local.get $i))))
      (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 75))))))

;; loop_that_only_a_trap_ends: trapped
(module (memory (export "memory") 1)
  (func (export "_start") (local $i i32)
    (loop $l
      (i32.store (local.get $i) (i32.div_u (i32.const 1000000) (i32.sub (i32.const 1021) (local.get $i))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br $l))))

;; loop_that_only_the_end_of_memory_ends: trapped
(module (memory (export "memory") 1)
  (func (export "_start") (local $i i32) (local $s i64)
    (loop $l
      (local.set $s (i64.add (local.get $s) (i64.load16_u (local.get $i))))
      (i64.store8 (i32.const 0) (local.get $s))
      (local.set $i (i32.add (local.get $i) (i32.const 7)))
      (br $l))))

;; exit_deep_in_calls_through_a_table: exit-77
(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1) (table 3 funcref) (elem (i32.const 1) $down $exit)
  (type $t (func (param i32)))
  (func $down (type $t) (local i64 f64)
    (loop $l
      (if (i32.gt_u (local.get 0) (i32.const 700)) (then (call_indirect (type $t) (i32.const 77) (i32.const 2))))
      (call_indirect (type $t) (i32.add (local.get 0) (i32.const 1)) (i32.const 1))
      (br $l)))
  (func (export "_start") (call $down (i32.const 0))))

;; dispatch_with_two_ways_into_a_loop: finished
(module (global $n (export "n") (mut i32) (i32.const 0))
  (func $f (param $state i32) (param $k i32) (result i32) (local $s i32)
    (block $done
      (loop $again
        (block $three (block $two (block $one
          (br_table $one $two $three $done (local.get $state)))
          (local.set $s (i32.add (local.get $s) (i32.const 1))) (local.set $state (i32.const 1)) (br $again))
          (local.set $s (i32.mul (local.get $s) (i32.const 3)))
          (local.set $state (select (i32.const 2) (i32.const 0) (i32.and (local.get $s) (i32.const 1)))) (br $again))
        (local.set $s (i32.xor (local.get $s) (local.get $k)))
        (local.set $state (i32.and (local.tee $k (i32.sub (local.get $k) (i32.const 1))) (i32.const 1)))
        (br_if $again (local.get $k))))
    (local.get $s))
  (func (export "_start")
    (global.set $n (i32.add (call $f (i32.const 0) (i32.const 30)) (i32.add (call $f (i32.const 1) (i32.const 31)) (call $f (i32.const 2) (i32.const 5)))))))

;; copy_unrolled_by_a_table: finished
(module (memory (export "memory") 1) (data (i32.const 16) "every word of it is copied by falling through")
  (func $copy (param $to i32) (param $from i32) (param $n i32)
    (block $d (block $c (block $b (block $a
      (br_table $d $c $b $a (i32.and (local.get $n) (i32.const 3))))
      (call $one (local.tee $to (i32.sub (local.get $to) (i32.const 1))) (local.tee $from (i32.sub (local.get $from) (i32.const 1)))))
      (call $one (local.tee $to (i32.sub (local.get $to) (i32.const 1))) (local.tee $from (i32.sub (local.get $from) (i32.const 1)))))
      (call $one (local.tee $to (i32.sub (local.get $to) (i32.const 1))) (local.tee $from (i32.sub (local.get $from) (i32.const 1)))))
    (local.set $n (i32.shr_u (local.get $n) (i32.const 2)))
    (block $end (loop $l (br_if $end (i32.eqz (local.get $n)))
      (call $one (i32.sub (local.get $to) (i32.const 1)) (i32.sub (local.get $from) (i32.const 1)))
      (call $one (i32.sub (local.get $to) (i32.const 2)) (i32.sub (local.get $from) (i32.const 2)))
      (call $one (i32.sub (local.get $to) (i32.const 3)) (i32.sub (local.get $from) (i32.const 3)))
      (call $one (local.tee $to (i32.sub (local.get $to) (i32.const 4))) (local.tee $from (i32.sub (local.get $from) (i32.const 4))))
      (local.set $n (i32.sub (local.get $n) (i32.const 1))) (br $l))))
  (func $one (param i32 i32) (i32.store8 (local.get 0) (i32.load8_u (local.get 1))))
  (func (export "_start") (local $n i32)
    (loop $l
      (call $copy (i32.add (i32.const 345) (local.get $n)) (i32.const 61) (i32.and (local.get $n) (i32.const 45)))
      (br_if $l (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 90))))))

;; two_routines_that_take_turns: finished
(module (memory (export "memory") 1) (table funcref (elem $odd $even)) (type $t (func (param i32) (result i32)))
  (global $n (export "n") (mut i64) (i64.const 1))
  (func $odd (type $t)
    (block $c (block $b (block $a (br_table $a $b $c (i32.load (i32.const 0))))
      (i32.store (i32.const 0) (i32.const 1)) (return (i32.const 1)))
      (global.set $n (i64.mul (global.get $n) (i64.const 3)))
      (i32.store (i32.const 0) (select (i32.const 2) (i32.const 1) (i32.gt_u (local.get 0) (i32.const 90)))) (return (i32.const 1)))
    (i32.const 2))
  (func $even (type $t)
    (loop $l (result i32)
      (if (result i32) (i32.load (i32.const 4))
        (then (i32.store (i32.const 4) (i32.const 0)) (global.set $n (i64.xor (global.get $n) (i64.const 5))) (i32.const 0))
        (else (i32.store (i32.const 4) (local.get 0)) (br_if $l (i32.const 0) (i32.and (local.get 0) (i32.const 1)))))))
  (func (export "_start") (local $i i32) (local $next i32)
    (loop $l
      (local.set $next (call_indirect (type $t) (local.get $i) (local.get $next)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $l (i32.ne (local.get $next) (i32.const 2))))))

;; br_if_with_three_values_taken_and_not: finished
(module
  (func $f (param i32) (result i32 i64 f32)
    (block $b (result i32 i64 f32)
      (i32.const 1) (i64.const 2) (f32.const 3) (br_if $b (local.get 0))
      (drop) (drop) (drop) (i32.const 4) (i64.const 5) (f32.const 6) (br_if $b (i32.eqz (local.get 0)))
      (drop) (drop) (i64.const 8) (f32.const 9) (br_if 1 (i32.const 0))))
  (func (export "_start") (local $s i64)
    (call $f (i32.const 0)) (i64.trunc_f32_s) (i64.add) (local.set $s) (i64.extend_i32_u) (i64.add (local.get $s))
    (if (i64.ne (i64.const 15)) (then unreachable))
    (call $f (i32.const 1)) (i64.trunc_f32_s) (i64.add) (local.set $s) (i64.extend_i32_u) (i64.add (local.get $s))
    (if (i64.ne (i64.const 6)) (then unreachable))))

;; returns_out_of_the_middle: finished
(module (global $n (export "n") (mut i32) (i32.const 0))
  (func $f (param $i i32) (result i32 i32)
    (loop $l (result i32 i32)
      (block $b
        (br_if $b (i32.rem_u (local.get $i) (i32.const 7)))
        (loop (if (i32.gt_u (local.get $i) (i32.const 40)) (then (i32.const -1) (i32.const 1) (local.get $i) (return))))
        (local.set $i (i32.add (local.get $i) (i32.const 2))) (br $l))
      (local.get $i) (local.get $i)
      (br_if 1 (i32.gt_u (local.tee $i (i32.add (local.get $i) (i32.const 3))) (i32.const 100)))
      (drop) (drop) (br $l)))
  (func (export "_start") (local $i i32)
    (loop $l
      (call $f (local.get $i)) (i32.sub) (global.get $n) (i32.add) (global.set $n)
      (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 110))))))

;; ifs_without_else_that_pass_values_on: finished
(module
  (func $f (param i32 i64 v128) (result v128 i64)
    (local.get 2) (local.get 1)
    (if (param v128 i64) (result v128 i64) (local.get 0) (then
      (local.set 1) (i64x2.splat (local.get 1)) (i64x2.add) (local.get 1)
      (if (param i64) (result i64) (i32.and (local.get 0) (i32.const 2)) (then (i64.const 1) (i64.add))))))
  (func (export "_start") (local $n i64)
    (call $f (i32.const 3) (i64.const 5) (v128.const i64x2 1 2)) (local.set $n) (i64x2.extract_lane 1) (i64.add (local.get $n))
    (if (i64.ne (i64.const 13)) (then unreachable))
    (call $f (i32.const 0) (i64.const 5) (v128.const i64x2 1 2)) (local.set $n) (i64x2.extract_lane 0) (i64.add (local.get $n))
    (if (i64.ne (i64.const 6)) (then unreachable))))

;; recursion_within_loops_within_branches: finished
(module (global $n (export "n") (mut i64) (i64.const 0))
  (func $f (param $d i32) (param $k i32) (result i32)
    (block $out (result i32)
      (loop $l (result i32)
        (global.set $n (i64.add (global.get $n) (i64.extend_i32_u (local.get $d))))
        (br_if $out (i32.const 1) (i32.eqz (local.get $d))) (drop)
        (if (i32.and (local.get $k) (i32.const 1))
          (then (local.set $k (i32.add (local.get $k) (call $f (i32.sub (local.get $d) (i32.const 1)) (local.get $k)))) (br_if $l (i32.lt_u (local.get $k) (i32.const 40))))
          (else (local.set $k (i32.add (local.get $k) (i32.const 3)))
            (br_if $l (i32.lt_u (local.get $k) (i32.const 9)))))
        (call $g (local.get $d) (local.get $k)))))
  (func $g (param $d i32) (param $k i32) (result i32)
    (if (result i32) (i32.gt_u (local.get $d) (i32.const 2))
      (then (i32.add (call $f (i32.sub (local.get $d) (i32.const 3)) (i32.const 0)) (i32.const 1)))
      (else (local.get $k))))
  (func (export "_start") (drop (call $f (i32.const 4) (i32.const 1)))))

;; function_called_by_name_and_through_a_table: finished
(module (table (export "table") 2 funcref) (elem (i32.const 0) $taken) (global $n (export "n") (mut i32) (i32.const 0))
  (type $t (func (param i32)))
  (func $taken (type $t) (if (local.get 0) (then (global.set $n (i32.add (global.get $n) (local.get 0)))) (else (global.set $n (i32.const 1)))))
  (func $free (type $t) (if (local.get 0) (then (global.set $n (i32.mul (global.get $n) (local.get 0)))) (else (call $taken (i32.const 4)))))
  (func (export "_start") (local $i i32)
    (loop $l
      (call $free (local.get $i)) (call $taken (local.get $i)) (call_indirect (type $t) (local.get $i) (i32.const 0))
      (if (i32.and (local.get $i) (i32.const 1)) (then (call $free (i32.const 3))) (else (call $free (i32.const 0))))
      (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 25))))))

;;; Tables and references.

;; call_through_a_table_that_grew: finished
(module (table $t (export "table") 1 200 funcref) (elem declare func $a $b) (type $f (func (result i32)))
  (func $a (type $f) (i32.const 1)) (func $b (type $f) (i32.const 2))
  (func (export "_start") (local $i i32) (local $s i32)
    (table.set $t (i32.const 0) (ref.func $a))
    (loop $l
      (drop (table.grow $t (select (result funcref) (ref.func $a) (ref.func $b) (i32.and (local.get $i) (i32.const 1))) (i32.const 7)))
      (local.set $s (i32.add (local.get $s) (call_indirect $t (type $f) (i32.sub (table.size $t) (i32.const 1)))))
      (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 28))))
    (if (i32.ne (local.get $s) (i32.const 42)) (then unreachable))
    (if (i32.ne (table.grow $t (ref.null func) (i32.const 4)) (i32.const -1)) (then unreachable))
    (if (i32.ne (table.grow $t (ref.null func) (i32.const -1)) (i32.const -1)) (then unreachable))
    (if (i32.ne (table.grow $t (ref.null func) (i32.const 3)) (i32.const 197)) (then unreachable))
    (if (i32.eqz (ref.is_null (table.get $t (i32.const 199)))) (then unreachable))))

;; call_of_a_null_that_growth_brought: trapped
(module (table $t (export "table") 0 funcref) (memory 1)
  (func (export "_start")
    (if (table.grow $t (ref.null func) (i32.const 3)) (then unreachable))
    (call_indirect $t (i32.const 2))))

;; table_copies_that_overlap: finished
(module (table $t (export "table") 8 funcref) (table $u (export "other") 8 funcref)
  (elem (table $t) (i32.const 0) func $a $b $c $a $b $c $a $b) (type $f (func (result i32)))
  (func $a (type $f) (i32.const 1)) (func $b (type $f) (i32.const 2)) (func $c (type $f) (i32.const 3))
  (func $sum (result i64) (local $i i32) (local $s i64)
    (loop $l
      (local.set $s (i64.add (i64.mul (local.get $s) (i64.const 4)) (i64.extend_i32_u (call_indirect $t (type $f) (local.get $i)))))
      (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 8))))
    (local.get $s))
  (func (export "_start")
    (table.copy $t $t (i32.const 2) (i32.const 0) (i32.const 6))
    (table.copy $t $t (i32.const 0) (i32.const 3) (i32.const 5))
    (table.copy $u $t (i32.const 0) (i32.const 0) (i32.const 8))
    (table.copy $t $u (i32.const 7) (i32.const 0) (i32.const 1))
    (table.copy $t $t (i32.const 8) (i32.const 0) (i32.const 0))
    (table.copy $t $u (i32.const 0) (i32.const 8) (i32.const 0))
    (table.fill $u (i32.const 8) (ref.null func) (i32.const 0))
    (table.fill $u (i32.const 3) (ref.func $c) (i32.const 5))
    (table.copy $u $u (i32.const 1) (i32.const 0) (i32.const 7))
    (drop (call $sum))))

;; empty_table_copy_past_the_end: trapped
(module (table $t 8 funcref) (func (export "_start") (table.copy $t $t (i32.const 9) (i32.const 0) (i32.const 0))))

;; elements_after_they_were_dropped: trapped
(module (table $t (export "table") 8 funcref) (elem $e func $f $f) (elem $x funcref (ref.func $f) (ref.null func))
  (func $f)
  (func (export "_start")
    (table.init $t $e (i32.const 6) (i32.const 0) (i32.const 2)) (elem.drop $e) (elem.drop $e)
    (table.init $t $e (i32.const 8) (i32.const 0) (i32.const 0))
    (table.init $t $x (i32.const 0) (i32.const 0) (i32.const 2)) (call_indirect (i32.const 0)) (elem.drop $x)
    (table.init $t $x (i32.const 0) (i32.const 1) (i32.const 0))))

;; references_in_locals_globals_and_blocks: finished
(module (table $t (export "table") 4 funcref) (elem declare func $one $two) (type $f (func (result i32)))
  (global $g (mut funcref) (ref.null func)) (global $h funcref (ref.func $two))
  (func $one (type $f) (i32.const 1)) (func $two (type $f) (i32.const 2))
  (func $pick (param $n i32) (param $r funcref) (result funcref i32) (local $l funcref)
    (if (ref.is_null (local.get $l)) (then (local.set $l (local.get $r))))
    (block $b (result funcref) (br_if $b (local.get $l) (local.get $n)) (drop) (global.get $h)) (ref.is_null (global.get $g)))
  (func (export "_start")
    (table.set $t (i32.const 1) (ref.func $one))
    (if (i32.ne (call $pick (i32.const 1) (table.get $t (i32.const 1)))  (i32.const 1)) (then unreachable)) (global.set $g)
    (if (call $pick (i32.const 0) (global.get $g)) (then unreachable))
    (table.set $t (i32.const 2) (global.get $g)) (global.set $g) (table.set $t (i32.const 3) (global.get $g))
    (loop (result funcref) (global.get $g) (br_if 1 (ref.is_null (global.get $g))) ) (drop)
    (if (i32.ne (i32.add (call_indirect (type $f) (i32.const 2)) (call_indirect (type $f) (i32.const 3))) (i32.const 3)) (then unreachable))))

;; imports_that_are_exported_and_called_through_a_table: finished
(module (import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))
  (import "adit_1" "fuel_left" (func $left (result i64)))
  (export "yield" (func $yield)) (export "left" (func $left)) (memory (export "memory") 1)
  (table (export "table") 2 funcref) (elem (i32.const 0) $yield $left)
  (global $a funcref (ref.func $left)) (global $n (export "n") (mut i64) (i64.const 0))
  (func (export "_start") (local $i i32)
    (loop $l
      (if (call_indirect (result i32) (i32.const 0)) (then unreachable))
      (global.set $n (i64.sub (call_indirect (result i64) (i32.const 1)) (call $left)))
      (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 10))))
    (if (i64.le_s (global.get $n) (i64.const 149)) (then unreachable))))

;; names_of_everything_the_meter_has: finished
(module (memory (export "memory") 1) (table (export "$profile") 1 funcref)
  (global (export "$meter") i64 (i64.const 1)) (global (export "$meter'") (mut i64) (i64.const 2))
  (export "$start" (func $f)) (export "$start'" (func $f)) (export "$meter''" (memory 0)) (export "" (func $f)) (export "\00\22" (func $f))
  (func $f (export "$profile'")) (func (export "_start") (call $f)))

;;; Memory.

;; data_after_it_was_dropped: trapped
(module (memory (export "memory") 1) (data $d "some data") (data $a (i32.const 8) "active")
  (func (export "_start")
    (memory.init $d (i32.const 65527) (i32.const 0) (i32.const 9)) (data.drop $d) (data.drop $d) (data.drop $a)
    (memory.init $d (i32.const 65536) (i32.const 0) (i32.const 0)) (memory.init $a (i32.const 0) (i32.const 0) (i32.const 0))
    (if (i32.ne (i32.load8_u (i32.const 65535)) (i32.const 0x61)) (then unreachable))
    (memory.init $d (i32.const 0) (i32.const 0) (i32.const 1))))

;; active_data_is_dropped_from_the_start: trapped
(module (memory (export "memory") 1) (data $a (i32.const 8) "active")
  (func (export "_start") (memory.init $a (i32.const 0) (i32.const 0) (i32.const 1))))

;; nothing_is_filled_and_copied_at_the_end: finished
(module (memory (export "memory") 1) (data $d "xyz")
  (func (export "_start")
    (memory.fill (i32.const 65536) (i32.const 1) (i32.const 0)) (memory.copy (i32.const 65536) (i32.const 65536) (i32.const 0))
    (memory.copy (i32.const 0) (i32.const 65536) (i32.const 0)) (memory.init $d (i32.const 65536) (i32.const 3) (i32.const 0))
    (memory.fill (i32.const 65535) (i32.const 255) (i32.const 1)) (memory.copy (i32.const 65535) (i32.const 0) (i32.const 1))))

;; empty_fill_past_the_end: trapped
(module (memory (export "memory") 1) (func (export "_start") (memory.fill (i32.const 65537) (i32.const 1) (i32.const 0))))

;; empty_copy_from_past_the_end: trapped
(module (memory (export "memory") 1) (func (export "_start") (memory.copy (i32.const 0) (i32.const 65537) (i32.const 0))))

;; empty_init_from_past_its_data: trapped
(module (memory (export "memory") 1) (data $d "xyz") (func (export "_start") (memory.init $d (i32.const 0) (i32.const 4) (i32.const 0))))

;; copy_of_all_by_one_up_and_down: finished
(module (memory (export "memory") 40) (data (i32.const 0) "\01\02\03\04\05") (data (i32.const 2621435) "\06\07\08\09\0a")
  (func (export "_start")
    (memory.copy (i32.const 1) (i32.const 0) (i32.const 2621439))
    (if (i32.ne (i32.load (i32.const 0)) (i32.const 0x03020101)) (then unreachable))
    (if (i32.ne (i32.load (i32.const 2621436)) (i32.const 0x09080706)) (then unreachable))
    (memory.copy (i32.const 0) (i32.const 1) (i32.const 2621439))
    (if (i32.ne (i32.load (i32.const 0)) (i32.const 0x04030201)) (then unreachable))
    (if (i32.ne (i32.load (i32.const 2621436)) (i32.const 0x09090807)) (then unreachable))
    (memory.fill (i32.const 3) (i32.const 0x1a5) (i32.const 2621437))
    (if (i64.ne (i64.load (i32.const 0)) (i64.const 0xa5a5a5a5a5030201)) (then unreachable))
    (if (i32.ne (i32.load8_u (i32.const 2621439)) (i32.const 0xa5)) (then unreachable))))

;; large_fill_that_ends_a_byte_too_far: trapped
(module (memory (export "memory") 40) (func (export "_start") (memory.fill (i32.const 1) (i32.const 9) (i32.const 2621440))))

;; large_copy_that_wraps_is_paid_for_before: out-of-fuel
(module (memory (export "memory") 40) (func (export "_start") (memory.copy (i32.const 0) (i32.const 16) (i32.const -16))))

;; last_bytes_of_memory_by_every_width: finished
(module (memory (export "memory") 1) (global $v (export "v") (mut v128) (v128.const i64x2 0 0))
  (func (export "_start")
    (i32.store8 (i32.const 65535) (i32.const -1)) (i32.store16 (i32.const 65534) (i32.const 0x8182)) (i32.store align=1 (i32.const 65532) (i32.const 0x71))
    (i64.store32 (i32.const 65532) (i64.const -3)) (i64.store align=2 (i32.const 65528) (i64.const 0x8081828384858687))
    (f32.store (i32.const 65532) (f32.const nan:0x1)) (f64.store (i32.const 65528) (f64.const -nan:0x4))
    (if (i32.ne (i32.load8_s (i32.const 65535)) (i32.const -1)) (then unreachable))
    (if (i32.ne (i32.load8_u offset=65535 (i32.const 0)) (i32.const 255)) (then unreachable))
    (if (i32.ne (i32.load16_s offset=1 (i32.const 65533)) (i32.const -16)) (then unreachable))
    (if (i64.ne (i64.load32_s offset=65532 (i32.const 0)) (i64.const -1048576)) (then unreachable))
    (global.set $v (v128.load align=1 (i32.const 65520))) (global.set $v (v128.load8x8_s (i32.const 65528))) (global.set $v (v128.load16x4_u (i32.const 65528)))
    (global.set $v (v128.load32x2_s (i32.const 65528))) (global.set $v (v128.load8_splat (i32.const 65535))) (global.set $v (v128.load16_splat (i32.const 65534)))
    (global.set $v (v128.load32_splat (i32.const 65532))) (global.set $v (v128.load64_splat (i32.const 65528))) (global.set $v (v128.load32_zero (i32.const 65532)))
    (global.set $v (v128.load64_zero (i32.const 65528))) (global.set $v (v128.load8_lane 15 (i32.const 65535) (global.get $v)))
    (global.set $v (v128.load16_lane 7 (i32.const 65534) (global.get $v))) (global.set $v (v128.load64_lane 1 (i32.const 65528) (global.get $v)))
    (v128.store8_lane 3 (i32.const 65535) (global.get $v)) (v128.store16_lane 3 (i32.const 65534) (global.get $v)) (v128.store32_lane 3 (i32.const 65532) (global.get $v))
    (v128.store64_lane 1 (i32.const 65528) (global.get $v)) (v128.store (i32.const 65520) (global.get $v))))

;; lane_that_is_stored_half_outside: trapped
(module (memory (export "memory") 1) (func (export "_start")
  (v128.store64_lane 0 (i32.const 0) (v128.const i64x2 1 2)) (v128.store64_lane 0 (i32.const 65529) (v128.const i64x2 3 4))))

;; store_half_outside_changes_nothing_else: trapped
(module (memory (export "memory") 1) (global $g (export "g") (mut i32) (i32.const 0)) (func (export "_start")
  (global.set $g (i32.const 1)) (i64.store (i32.const 65533) (i64.const -1)) (global.set $g (i32.const 2))))

;; offset_of_all_ones: trapped
(module (memory (export "memory") 1) (global $g (export "g") (mut i32) (i32.const 0)) (func $f (param i32)
  (global.set $g (i32.const 3)) (if (local.get 0) (then (global.set $g (i32.load offset=4294967295 (i32.const -1))))))
  (func (export "_start") (call $f (i32.const 0)) (call $f (i32.const 1))))

;; stores_upon_stores: trapped
(module (memory (export "memory") 1 1) (global $g (export "g") (mut i32) (i32.const 0))
  (func $f (param $a i32) (param $n i32)
    (i32.store (local.get $a) (i32.const 1))
    (block (br_if 0 (local.get $n)) (drop (i32.mul (local.get $a) (local.get $n))) (i32.store (local.get $a) (i32.const 2)) (i32.store (local.get $a) (i32.const 3)))
    (i32.store (local.get $a) (i32.const 4))
    (if (local.get $n) (then (drop (i32.popcnt (local.get $n)))) (else (i32.store8 (local.get $a) (i32.const 5))))
    (i32.store (local.get $a) (i32.const 6))
    (loop $l (i32.store (local.get $a) (local.get $n)) (br_if $l (i32.and (local.tee $n (i32.sub (local.get $n) (i32.const 1))) (i32.const 7))))
    (i32.store (local.get $a) (i32.const 7)))
  (func (export "_start") (call $f (i32.const 8) (i32.const 0)) (call $f (i32.const 16) (i32.const 1)) (call $f (i32.const 65533) (i32.const 1))))

;; memory_grown_in_a_loop_and_used: finished
(module (memory (export "memory") 0 9)
  (func (export "_start") (local $i i32)
    (loop $l
      (if (i32.ne (memory.grow (i32.const 1)) (local.get $i)) (then unreachable))
      (if (i32.load (i32.mul (local.get $i) (i32.const 65536))) (then unreachable))
      (i64.store (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 8)) (i64.const -1))
      (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 9))))
    (if (i32.ne (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))
    (if (i32.ne (memory.grow (i32.const -1)) (i32.const -1)) (then unreachable))
    (if (i32.ne (memory.grow (i32.const 0)) (i32.const 9)) (then unreachable))))

;; memory_of_no_pages: trapped
(module (memory (export "memory") 0 0) (func (export "_start")
  (memory.fill (i32.const 0) (i32.const 0) (i32.const 0)) (if (i32.ne (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))
  (i32.store8 (i32.const 0) (i32.const 1))))

;; constants_that_are_computed: finished
(module (memory (export "memory") 1) (table (export "table") 9 funcref)
  (global $b i32 (i32.sub (i32.mul (i32.const 6) (i32.const 4)) (i32.const 20)))
  (global $c i64 (i64.add (i64.const -1) (i64.mul (i64.const 3) (i64.const 0x5555555555555555))))
  (data (i32.add (i32.const 13) (i32.const -3)) "here") (elem (i32.mul (i32.const 2) (i32.const 4)) func $f)
  (func $f (result i32) (i32.load (i32.const 10)))
  (func (export "_start")
    (if (i32.ne (call_indirect (result i32) (i32.const 8)) (i32.const 0x65726568)) (then unreachable))
    (if (i32.ne (global.get $b) (i32.const 4)) (then unreachable))
    (if (i64.ne (global.get $c) (i64.const -2)) (then unreachable))))

;; data_that_does_not_fit: trapped
(module (memory (export "memory") 1) (data (i32.const 0) "a") (data (i32.const 65534) "abc") (func (export "_start")))

;; elements_that_do_not_fit: trapped
(module (memory (export "memory") 1) (table 2 funcref) (elem (i32.const 1) $f $f) (func $f (export "_start")))

;;; Values.

;; globals_of_every_type: finished
(module (global $a (export "a") (mut i32) (i32.const -1)) (global $b (export "b") (mut i64) (i64.const -2)) (global $c (export "c") (mut f32) (f32.const nan:0x200001))
  (global $d (export "d") (mut f64) (f64.const -nan:0x1)) (global $e (export "e") (mut v128) (v128.const f32x4 nan:0x1 1 -nan 0)) (global $f (export "f") (mut funcref) (ref.null func))
  (func (export "_start") (local $i i32)
    (loop $l
      (global.set $a (i32.rotl (global.get $a) (i32.const 3))) (global.set $b (i64.rotr (i64.xor (global.get $b) (i64.extend_i32_u (local.get $i))) (i64.const 65)))
      (global.set $c (f32.neg (global.get $c))) (global.set $d (f64.abs (global.get $d))) (global.set $e (v128.not (global.get $e)))
      (if (i32.eq (local.get $i) (i32.const 5)) (then (global.set $c (f32.add (global.get $c) (f32.const 1))) (global.set $d (f64.mul (global.get $d) (f64.const -1)))
        (global.set $e (f32x4.mul (global.get $e) (global.get $e)))))
      (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 11))))))

;; vectors_in_every_place: finished
(module (memory (export "memory") 1) (global $g (export "g") (mut v128) (v128.const i32x4 1 2 3 4)) (table funcref (elem $three))
  (type $t (func (param v128 i32 v128) (result v128 v128 i64)))
  (func $three (type $t) (local v128 v128)
    (local.set 3 (i8x16.shuffle 0 17 2 19 4 21 6 23 8 25 10 27 12 29 14 31 (local.get 0) (local.get 2)))
    (local.set 4 (v128.bitselect (local.get 0) (local.get 2) (v128.const i64x2 -1 0)))
    (local.get 3) (local.get 4) (i64.extend_i32_u (i8x16.bitmask (local.get 3))))
  (func (export "_start") (local $v v128) (local $w v128) (local $n i64) (local $i i32)
    (local.set $v (v128.const i8x16 0x80 1 2 3 0xff 5 6 7 8 9 10 11 12 13 14 15))
    (loop $l
      (call_indirect (type $t) (local.get $v) (local.get $i) (global.get $g) (i32.const 0))
      (local.set $n) (local.set $w) (global.set $g)
      (local.get $w) (i64x2.splat (local.get $n))
      (block $b (param v128 v128) (result v128)
        (i64x2.add) (br_if $b (i32.and (local.get $i) (i32.const 1))) (global.get $g) (v128.xor)
        (if (param v128) (result v128) (v128.any_true (local.get $w)) (then (i16x8.shl (local.get $i)))))
      (local.set $v)
      (v128.store offset=32 (i32.mul (local.get $i) (i32.const 16)) (select (local.get $v) (local.get $w) (i32.and (local.get $i) (i32.const 2))))
      (v128.store offset=1040 (i32.mul (local.get $i) (i32.const 16)) (select (result v128) (i8x16.swizzle (local.get $v) (local.get $w)) (global.get $g) (i8x16.all_true (local.get $v))))
      (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 50))))))

;; products_of_128_bits: finished
(module (memory (export "memory") 1)
  (data (i32.const 0) "\00\00\00\00\00\00\00\00\01\00\00\00\00\00\00\00\ff\ff\ff\ff\ff\ff\ff\ff\00\00\00\00\00\00\00\80\ff\ff\ff\ff\ff\ff\ff\7f\ff\ff\ff\ff\00\00\00\00\00\00\00\00\01\00\00\00\ef\cd\ab\89\67\45\23\01")
  (global $at (mut i32) (i32.const 64))
  (func $note (param i64 i64)
    (i64.store (global.get $at) (local.get 0)) (i64.store offset=8 (global.get $at) (local.get 1)) (global.set $at (i32.add (global.get $at) (i32.const 16))))
  (func $high (param $a i64) (param $b i64) (result i64) (local $al i64) (local $ah i64) (local $bl i64) (local $bh i64) (local $m i64)
    (local.set $al (i64.and (local.get $a) (i64.const 0xffffffff))) (local.set $ah (i64.shr_u (local.get $a) (i64.const 32)))
    (local.set $bl (i64.and (local.get $b) (i64.const 0xffffffff))) (local.set $bh (i64.shr_u (local.get $b) (i64.const 32)))
    (local.set $m (i64.add (i64.mul (local.get $ah) (local.get $bl)) (i64.shr_u (i64.mul (local.get $al) (local.get $bl)) (i64.const 32))))
    (i64.add (i64.add (i64.mul (local.get $ah) (local.get $bh)) (i64.shr_u (local.get $m) (i64.const 32)))
      (i64.shr_u (i64.add (i64.and (local.get $m) (i64.const 0xffffffff)) (i64.mul (local.get $al) (local.get $bh))) (i64.const 32))))
  (func (export "_start") (local $i i32) (local $j i32) (local $a i64) (local $b i64) (local $h i64)
    (loop $is
      (local.set $a (i64.load (local.get $i))) (local.set $j (i32.const 0))
      (loop $js
        (local.set $b (i64.load (local.get $j)))
        (i64.mul_wide_u (local.get $a) (local.get $b)) (local.set $h)
        (if (i64.ne (i64.mul (local.get $a) (local.get $b))) (then unreachable))
        (if (i64.ne (local.get $h) (call $high (local.get $a) (local.get $b))) (then unreachable))
        (i64.mul_wide_s (local.get $a) (local.get $b)) (local.set $h) (drop)
        (if (i64.ne (local.get $h) (i64.sub (i64.sub (call $high (local.get $a) (local.get $b))
            (i64.and (i64.shr_s (local.get $a) (i64.const 63)) (local.get $b))) (i64.and (i64.shr_s (local.get $b) (i64.const 63)) (local.get $a))))
          (then unreachable))
        (call $note (i64.add128 (local.get $a) (local.get $b) (local.get $b) (local.get $a)))
        (call $note (i64.sub128 (local.get $a) (local.get $b) (local.get $b) (local.get $a)))
        (br_if $js (i32.lt_u (local.tee $j (i32.add (local.get $j) (i32.const 8))) (i32.const 64))))
      (br_if $is (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 8))) (i32.const 64))))))

;; shifts_by_more_than_there_is: finished
(module (memory (export "memory") 1) (global $at (mut i32) (i32.const 0))
  (func $note (param i64) (i64.store (global.get $at) (local.get 0)) (global.set $at (i32.add (global.get $at) (i32.const 8))))
  (func $f (param $n i32) (param $m i64)
    (call $note (i64.extend_i32_u (i32.shl (i32.const 0x81) (local.get $n)))) (call $note (i64.extend_i32_u (i32.shr_s (i32.const 0x80000081) (local.get $n))))
    (call $note (i64.extend_i32_u (i32.shr_u (i32.const 0x80000081) (local.get $n)))) (call $note (i64.extend_i32_u (i32.rotl (i32.const 0x80000081) (local.get $n))))
    (call $note (i64.shl (i64.const 0x81) (local.get $m))) (call $note (i64.shr_s (i64.const 0x8000000000000081) (local.get $m)))
    (call $note (i64.rotr (i64.const 0x8000000000000081) (local.get $m))) (call $note (i64x2.extract_lane 1 (i64x2.shr_s (v128.const i64x2 1 -9) (local.get $n))))
    (call $note (i64x2.extract_lane 0 (i8x16.shr_s (v128.const i64x2 0x80ff7f0180ff7f01 -9) (local.get $n)))) (call $note (i64x2.extract_lane 0 (i16x8.shr_u (v128.const i64x2 -7 -9) (local.get $n))))
    (call $note (i64.extend8_s (i64.add (local.get $m) (i64.const 0x7f)))) (call $note (i64.clz (i64.shr_u (i64.const 1) (local.get $m)))) (call $note (i64.ctz (local.get $m))))
  (func (export "_start") (local $i i32)
    (loop $l
      (call $f (i32.sub (local.get $i) (i32.const 3)) (i64.extend_i32_s (i32.sub (i32.mul (local.get $i) (i32.const 5)) (i32.const 9))))
      (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 75))))))

;; signalling_nans_through_every_move: finished
(module (memory (export "memory") 1) (table funcref (elem $pass)) (global $g (mut f64) (f64.const nan:0x1)) (global $h (export "h") (mut f32) (f32.const -nan:0x1))
  (type $p (func (param f64 f32) (result f32 f64)))
  (func $pass (type $p) (local f64) (local.set 2 (local.get 0)) (local.get 1) (local.get 2))
  (func $both (param $x f64) (param $y f32) (param $n i32)
    (f64.store offset=64 (local.get $n) (local.get $x)) (f32.store offset=72 (local.get $n) (local.get $y))
    (i64.store offset=80 (local.get $n) (i64.reinterpret_f64 (f64.neg (local.get $x)))) (i32.store offset=88 (local.get $n) (i32.reinterpret_f32 (f32.copysign (local.get $y) (f32.const -0))))
    (f64.store offset=96 (local.get $n) (f64.promote_f32 (local.get $y))) (f32.store offset=104 (local.get $n) (f32.demote_f64 (local.get $x)))
    (f64.store offset=112 (local.get $n) (f64.min (local.get $x) (f64.const 1))) (f64.store offset=120 (local.get $n) (f64.max (f64.const nan:0x123) (local.get $x)))
    (f64.store offset=128 (local.get $n) (f64.nearest (local.get $x))) (f32.store offset=136 (local.get $n) (f32.ceil (local.get $y)))
    (f64.store offset=144 (local.get $n) (f64.copysign (f64.const 1) (f64.sqrt (local.get $x)))) (f64.store offset=152 (local.get $n) (f64.abs (f64.add (local.get $x) (f64.const 1)))))
  (func (export "_start") (local $x f64) (local $y f32) (local $n i32)
    (call_indirect (type $p) (global.get $g) (global.get $h) (i32.const 0)) (local.set $x) (local.set $y)
    (loop $l
      (call $both (select (local.get $x) (f64.neg (local.get $x)) (i32.and (local.get $n) (i32.const 128)))
        (if (result f32) (i32.and (local.get $n) (i32.const 256)) (then (local.get $y)) (else (f32.neg (local.get $y)))) (local.get $n))
      (local.set $x (f64.reinterpret_i64 (i64.add (i64.reinterpret_f64 (local.get $x)) (i64.const 0x000111111111ffff))))
      (local.set $y (f32.reinterpret_i32 (i32.add (i32.reinterpret_f32 (local.get $y)) (i32.const 0x00081111))))
      (br_if $l (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 96))) (i32.const 1900))))))

;; nans_with_payloads_in_lanes: finished
(module (memory (export "memory") 1) (global $v (export "v") (mut v128) (v128.const i64x2 0 0))
  (data (i32.const 0) "\01\00\80\7f\00\00\80\7f\02\00\80\ff\05\00\c0\ff\03\00\00\00\00\00\f0\7f\04\00\00\00\00\00\f8\ff")
  (func $keep (param $n i32) (param $v v128) (v128.store offset=64 (i32.mul (local.get $n) (i32.const 16)) (local.get $v)))
  (func (export "_start") (local $a v128) (local $b v128)
    (local.set $a (v128.load (i32.const 0))) (local.set $b (v128.load (i32.const 16)))
    (call $keep (i32.const 0) (i8x16.shuffle 0 1 2 3 4 5 6 7 16 17 18 19 20 21 22 23 (local.get $a) (f32x4.add (local.get $a) (local.get $b))))
    (call $keep (i32.const 1) (i8x16.shuffle 3 2 1 0 7 6 5 4 11 10 9 8 15 14 13 12 (f32x4.sqrt (local.get $a)) (local.get $b)))
    (call $keep (i32.const 2) (v128.bitselect (local.get $a) (f64x2.mul (local.get $b) (local.get $b)) (v128.const i32x4 -1 0 0xffff 0xff00ff00)))
    (call $keep (i32.const 3) (f32x4.replace_lane 2 (f32x4.min (local.get $a) (local.get $b)) (f32x4.extract_lane 0 (local.get $a))))
    (call $keep (i32.const 4) (f64x2.replace_lane 0 (local.get $b) (f64.sub (f64x2.extract_lane 1 (local.get $b)) (f64.const 1))))
    (call $keep (i32.const 5) (i32x4.splat (i8x16.bitmask (f32x4.max (local.get $b) (local.get $a)))))
    (call $keep (i32.const 6) (f32x4.pmin (f32x4.div (local.get $a) (local.get $a)) (local.get $a)))
    (call $keep (i32.const 7) (f64x2.pmax (local.get $b) (f64x2.sub (local.get $b) (local.get $b))))
    (call $keep (i32.const 8) (f32x4.neg (f32x4.mul (local.get $a) (local.get $a)))) (call $keep (i32.const 9) (f64x2.abs (f64x2.neg (local.get $b))))
    (call $keep (i32.const 10) (f32x4.demote_f64x2_zero (local.get $b))) (call $keep (i32.const 11) (f64x2.promote_low_f32x4 (local.get $a)))
    (call $keep (i32.const 12) (i32x4.trunc_sat_f32x4_s (local.get $a))) (call $keep (i32.const 13) (i32x4.trunc_sat_f64x2_u_zero (f64x2.add (local.get $b) (local.get $b))))
    (v128.store32_lane 3 (i32.const 300) (f32x4.sub (local.get $a) (local.get $a))) (v128.store64_lane 0 (i32.const 304) (f64x2.sqrt (local.get $b))) (v128.store8_lane 15 (i32.const 312) (f64x2.nearest (local.get $b)))
    (v128.store16_lane 1 (i32.const 314) (f32x4.trunc (local.get $a)))
    (i64.store (i32.const 320) (i64x2.extract_lane 1 (f64x2.floor (local.get $b)))) (i32.store (i32.const 328) (i8x16.extract_lane_s 3 (f32x4.ceil (local.get $a))))
    (f32.store (i32.const 332) (f32x4.extract_lane 1 (f32x4.nearest (local.get $a)))) (i32.store (i32.const 336) (i16x8.extract_lane_u 7 (f64x2.min (local.get $a) (local.get $b))))
    (global.set $v (f64x2.max (local.get $a) (local.get $b))) (i32.store (i32.const 340) (v128.any_true (v128.and (f32x4.add (local.get $a) (local.get $a)) (v128.const i32x4 1 1 1 1))))
    (i32.store (i32.const 344) (i32x4.all_true (f32x4.eq (local.get $a) (local.get $a)))) (i32.store (i32.const 348) (i64x2.bitmask (f64x2.neg (f64x2.div (local.get $b) (local.get $b)))))))

;; floats_at_their_edges: finished
(module (memory (export "memory") 1)
  (data (i32.const 0) "\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\80\00\00\00\00\00\00\f0\7f\00\00\00\00\00\00\f0\ff\01\00\00\00\00\00\00\00\ff\ff\ff\ff\ff\ff\ef\7f\00\00\00\00\00\00\e0\3f\00\00\00\00\00\00\e0\bf\00\00\00\00\00\00\f8\3f\00\00\00\00\00\00\04\40\00\00\c0\ff\ff\ff\df\41\00\00\00\00\00\00\e0\c1\00\00\00\00\00\00\e0\43\ff\ff\ff\ff\ff\ff\f7\7f\00\00\00\00\00\00\f0\43\00\00\e0\ff\ff\ff\ef\41")
  (global $at (mut i32) (i32.const 256))
  (func $i (param i64) (i64.store (global.get $at) (local.get 0)) (global.set $at (i32.add (global.get $at) (i32.const 8))))
  (func $d (param f64) (f64.store (global.get $at) (local.get 0)) (global.set $at (i32.add (global.get $at) (i32.const 8))))
  (func $one (param $x f64)
    (call $d (f64.nearest (local.get $x))) (call $d (f64.trunc (local.get $x))) (call $d (f64.ceil (local.get $x))) (call $d (f64.floor (local.get $x))) (call $d (f64.sqrt (local.get $x)))
    (call $d (f64.promote_f32 (f32.demote_f64 (local.get $x)))) (call $d (f64.promote_f32 (f32.nearest (f32.demote_f64 (local.get $x)))))
    (call $i (i64.trunc_sat_f64_s (local.get $x))) (call $i (i64.trunc_sat_f64_u (local.get $x))) (call $i (i64.extend_i32_u (i32.trunc_sat_f64_s (local.get $x)))) (call $i (i64.extend_i32_u (i32.trunc_sat_f64_u (local.get $x))))
    (call $i (i64.trunc_sat_f32_u (f32.demote_f64 (local.get $x)))) (call $i (i64.extend_i32_u (i32.trunc_sat_f32_s (f32.demote_f64 (local.get $x)))))
    (call $d (f64.convert_i64_u (i64.reinterpret_f64 (local.get $x)))) (call $d (f64.convert_i64_s (i64.reinterpret_f64 (local.get $x)))) (call $d (f64.promote_f32 (f32.convert_i64_u (i64.reinterpret_f64 (local.get $x)))))
    (call $d (f64.promote_f32 (f32.convert_i64_s (i64.reinterpret_f64 (local.get $x))))) (call $d (f64.convert_i32_u (i32.wrap_i64 (i64.reinterpret_f64 (local.get $x))))))
  (func $two (param $x f64) (param $y f64)
    (call $d (f64.min (local.get $x) (local.get $y))) (call $d (f64.max (local.get $x) (local.get $y))) (call $d (f64.copysign (local.get $x) (local.get $y))) (call $d (f64.div (local.get $x) (local.get $y)))
    (call $d (f64.mul (local.get $x) (local.get $y))) (call $d (f64.sub (local.get $x) (local.get $y)))
    (call $i (i64.extend_i32_u (i32.add (i32.mul (f64.lt (local.get $x) (local.get $y)) (i32.const 4)) (i32.add (f64.eq (local.get $x) (local.get $y)) (i32.mul (f64.ge (local.get $x) (local.get $y)) (i32.const 2)))))))
  (func (export "_start") (local $i i32) (local $j i32)
    (loop $l
      (call $one (f64.load (local.get $i))) (local.set $j (i32.const 0))
      (loop $m (call $two (f64.load (local.get $i)) (f64.load (local.get $j))) (br_if $m (i32.lt_u (local.tee $j (i32.add (local.get $j) (i32.const 8))) (i32.const 128))))
      (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 8))) (i32.const 128))))))

;; choices_of_every_type: finished
(module (memory (export "memory") 1) (table $t (export "table") 2 funcref) (elem declare func $f)
  (func $f (param $n i32)
    (i32.store (i32.const 0) (select (i32.const 1) (i32.const 2) (local.get $n))) (i64.store (i32.const 8) (select (result i64) (i64.const 1) (i64.const 2) (local.get $n)))
    (f32.store (i32.const 16) (select (f32.const nan:0x3) (f32.sqrt (f32.const -1)) (local.get $n))) (f64.store (i32.const 24) (select (result f64) (f64.div (f64.const 0) (f64.const 0)) (f64.const -nan:0x7) (local.get $n)))
    (v128.store (i32.const 32) (select (v128.const i64x2 1 2) (f64x2.sqrt (v128.const f64x2 -1 4)) (local.get $n))) (table.set $t (i32.const 1) (select (result funcref) (ref.func $f) (ref.null func) (local.get $n))))
  (func (export "_start") (call $f (i32.const 0)) (call $f (i32.const 1))))

;;; Short functions that call themselves, which the meter inlines into themselves once.

;; recursion_with_locals_that_begin_at_zero: finished
(module
  (global $g (mut i32) (i32.const 0))
  (func $f (param $n i32) (result i32)
    (local $a i32) (local $b i64) (local $c f32) (local $d f64) (local $e v128) (local $h funcref) (local $i i32)
    (if (i32.eqz (local.get $n)) (then (return (i32.const 1))))
    ;; Each is what it was left as in the other copy, unless it is cleared.
    (if (i32.or (local.get $a) (i64.ne (local.get $b) (i64.const 0))) (then unreachable))
    (if (i32.or (f32.ne (local.get $c) (f32.const 0)) (f64.ne (local.get $d) (f64.const 0))) (then unreachable))
    (if (i32.or (v128.any_true (local.get $e)) (i32.eqz (ref.is_null (local.get $h)))) (then unreachable))
    (local.set $a (i32.const 1)) (local.set $b (i64.const 2)) (local.set $c (f32.const 3)) (local.set $d (f64.const 4))
    (local.set $e (v128.const i64x2 5 6)) (local.set $h (ref.func $f))
    (loop $l
      (local.set $a (i32.add (local.get $a) (call $f (i32.sub (local.get $n) (i32.const 1)))))
      (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 3))))
    (local.get $a))
  (elem declare func $f)
  (func (export "_start")
    (if (i32.ne (call $f (i32.const 5)) (i32.const 364)) (then unreachable))))

;; recursion_left_by_every_way: finished
(module
  (func $f (param $n i32) (param $m i32) (result i32)
    (if (i32.eqz (local.get $n)) (then (return (i32.const 7) (i32.add (local.get $m) (i32.const 1)))))
    (block $out (result i32)
      (block $b (result i32)
        (block $a (result i32)
          (call $f (i32.sub (local.get $n) (i32.const 1)) (i32.mul (local.get $m) (i32.const 2)))
          (br_table $a $b $out 3 (i32.rem_u (local.get $n) (i32.const 4))))
        (i32.add (i32.const 10)))
      (br_if 1 (local.get $n)) (drop)
      (br 1 (i32.const 100)))
    (i32.add (i32.const 1000)))
  (func (export "_start")
    (if (i32.ne (call $f (i32.const 9) (i32.const 1)) (i32.const 2533)) (then unreachable))))

;; recursion_whose_parameters_depend_on_itself: finished
(module
  (func $ackermann (param $m i32) (param $n i32) (result i32)
    (if (result i32) (i32.eqz (local.get $m))
      (then (i32.add (local.get $n) (i32.const 1)))
      (else
        (call $ackermann
          (i32.sub (local.get $m) (i32.const 1))
          (if (result i32) (local.get $n)
            (then (call $ackermann (local.get $m) (i32.sub (local.get $n) (i32.const 1))))
            (else (i32.const 1)))))))
  (func (export "_start")
    (if (i32.ne (call $ackermann (i32.const 2) (i32.const 9)) (i32.const 21)) (then unreachable))))

;; recursion_behind_a_trap: trapped
(module
  (func $f (param $n i32)
    (if (local.get $n) (then (call $f (i32.sub (local.get $n) (i32.const 1))) (return)))
    (unreachable) (call $f (i32.const 1)))
  (func (export "_start") (call $f (i32.const 8))))

;; recursion_that_divides_by_zero_in_the_copy: trapped
(module (global $g (export "g") (mut i32) (i32.const 0))
  (func $f (param $n i32) (result i32)
    (global.set $g (i32.add (global.get $g) (i32.div_u (i32.const 60) (i32.sub (local.get $n) (i32.const 3)))))
    (i32.add (call $f (i32.sub (local.get $n) (i32.const 1))) (local.get $n)))
  (func (export "_start") (drop (call $f (i32.const 10)))))

;; recursion_that_divides_by_zero_in_itself: trapped
(module (global $g (export "g") (mut i32) (i32.const 0))
  (func $f (param $n i32) (result i32)
    (global.set $g (i32.add (global.get $g) (i32.div_u (i32.const 60) (i32.sub (local.get $n) (i32.const 3)))))
    (i32.add (call $f (i32.sub (local.get $n) (i32.const 1))) (local.get $n)))
  (func (export "_start") (drop (call $f (i32.const 9)))))

;; recursion_of_three_results: finished
(module
  (func $f (param $n i32) (result i32 i64 f64)
    (if (i32.eqz (local.get $n)) (then (return (i32.const 1) (i64.const 2) (f64.const 3))))
    (call $f (i32.sub (local.get $n) (i32.const 1))) (f64.const 1) (f64.add))
  (func (export "_start") (call $f (i32.const 6))
    (if (f64.ne (f64.const 9)) (then unreachable)) (drop) (drop)))

;; recursion_without_an_end: stack-overflow
(module (func $f (param $n i32) (result i32) (i32.add (call $f (i32.add (local.get $n) (i32.const 1))) (local.get $n)))
  (func (export "_start") (drop (call $f (i32.const 0)))))

;; recursion_out_of_fuel: out-of-fuel
(module (func $f (param $n i32) (result i32)
    (if (i32.eqz (local.get $n)) (then (return (i32.const 1))))
    (i32.add (call $f (i32.sub (local.get $n) (i32.const 1))) (call $f (i32.sub (local.get $n) (i32.const 1)))))
  (func (export "_start") (drop (call $f (i32.const 60)))))

;; recursion_of_nans: finished
(module (memory (export "memory") 1)
  (func $f (param $n i32) (param $x f64) (result f64)
    (if (i32.eqz (local.get $n)) (then (return (f64.sub (local.get $x) (local.get $x)))))
    (f64.store (i32.shl (local.get $n) (i32.const 3)) (local.get $x))
    (local.set $x (f64.add (call $f (i32.sub (local.get $n) (i32.const 1)) (f64.div (local.get $x) (f64.const 0))) (local.get $x)))
    (f64.store offset=512 (i32.shl (local.get $n) (i32.const 3)) (local.get $x))
    (f64.neg (local.get $x)))
  (func (export "_start")
    (f64.store (i32.const 0) (call $f (i32.const 6) (f64.const 0)))))
