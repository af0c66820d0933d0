//! The GPU worker, spoken to over its sockets, on the software adapter.

use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use adit_protocol::{ByteCount, GpuNeed};

use crate::gpu_client::wire::{Binding, Command, Data, Faults, FromGpu, GpuSetup, SLOT_BYTES, SessionEnd, ToGpu};
use crate::gpu_client::{Gpu, Sandbox, hello, setup};
use crate::workers::is_running;

fn need() -> GpuNeed {
    GpuNeed { memory: ByteCount(512 << 20), ..GpuNeed::default() }
}

/// Adds one to each word of a buffer.
const INCREMENT: &str = "
    @group(0) @binding(0) var<storage, read_write> words: array<u32>;
    @compute @workgroup_size(64)
    fn main(@builtin(global_invocation_id) id: vec3u) {
        if id.x < arrayLength(&words) { words[id.x] += 1u; }
    }";

/// Every workgroup turns some 60,000 times: the software adapter ends what loops over 65,535 times, so long dispatches are many workgroups.
const TURN: &str = "
    @group(0) @binding(0) var<storage, read_write> words: array<u32>;
    @compute @workgroup_size(1)
    fn main(@builtin(workgroup_id) id: vec3u) {
        var x = words[0] + id.x;
        for (var i = 0u; i < 60000u; i++) { x = x * 1664525u + 1013904223u; }
        if x == 7u { words[1] = x; }
    }";

/// Every workgroup waits until somebody writes to the buffer, which nobody does.
const HANG: &str = "
    @group(0) @binding(0) var<storage, read_write> word: atomic<u32>;
    @compute @workgroup_size(64)
    fn main() {
        while atomicLoad(&word) == 0u { }
    }";

fn bytes_of(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// A session that has a buffer of `words`, and a pipeline.
fn session(gpu: &mut Gpu, number: u64, wgsl: &str, words: &[u32]) -> Sandbox {
    let mut sandbox = gpu.open(number, need());
    gpu.pipeline(&sandbox, 0, wgsl);
    sandbox.create(0, 4 * words.len() as u64);
    sandbox.write(0, &bytes_of(words));
    sandbox
}

/// Has a session compute something right.
fn assert_works(gpu: &mut Gpu, number: u64) {
    let mut sandbox = session(gpu, number, INCREMENT, &[7, 8]);
    sandbox.dispatch(0, &[0], [1, 1, 1], &[8]);
    assert_eq!(sandbox.read_words(0, 2), [8, 9]);
    gpu.close(&sandbox);
}

#[test]
fn dispatch_computes_what_the_shader_says() {
    let mut gpu = Gpu::start();
    let words: Vec<u32> = (0..1000).collect();
    let mut sandbox = session(&mut gpu, 1, INCREMENT, &words);
    sandbox.dispatch(0, &[0], [16, 1, 1], &[4000]);
    assert_eq!(sandbox.read_words(0, 1000), (1..=1000).collect::<Vec<_>>());
    let used = gpu.close(&sandbox);
    assert_eq!((used.dispatches, used.bytes_moved, used.memory_peak), (1, 8000, 4000));
    assert!(used.ns > 0 && !used.has_floats, "{used:?}");
    assert_eq!(gpu.live.note(1).unwrap().used, used);
}

#[test]
fn chain_of_dispatches_needs_no_reading_back() {
    let mut gpu = Gpu::start();
    let mut sandbox = gpu.open(1, need());
    gpu.pipeline(&sandbox, 0, INCREMENT);
    sandbox.create(0, 4096);
    sandbox.create(1, 4096);
    for _ in 0..100 {
        sandbox.dispatch(0, &[0], [16, 1, 1], &[4096]);
    }
    sandbox.tell(&Command::Copy { from: 0, from_offset: 0, to: 1, to_offset: 0, bytes: 2048 });
    sandbox.dispatch(0, &[1], [16, 1, 1], &[4096]);
    sandbox.finish();
    let words = sandbox.read_words(1, 1024);
    assert!(words[..512].iter().all(|word| *word == 101) && words[512..].iter().all(|word| *word == 1), "{words:?}");
    assert_eq!(gpu.close(&sandbox).dispatches, 101);
}

#[test]
fn writes_take_effect_in_their_order() {
    let mut gpu = Gpu::start();
    let mut sandbox = session(&mut gpu, 1, INCREMENT, &[1; 64]);
    for value in 0..50_u32 {
        sandbox.write(0, &bytes_of(&[value; 32]));
        sandbox.dispatch(0, &[0], [1, 1, 1], &[256]);
    }
    let words = sandbox.read_words(0, 64);
    assert_eq!((words[..32].to_vec(), words[32..].to_vec()), (vec![50; 32], vec![51; 32]));
}

#[test]
fn bulk_data_comes_back_as_it_went() {
    let mut gpu = Gpu::start();
    let mut sandbox = gpu.open(1, need());
    let words: Vec<u32> = (0..16_u32 << 20).map(|at| at.wrapping_mul(0x9e37_79b9)).collect();
    let data = bytes_of(&words);
    sandbox.create(0, 64 << 20);
    sandbox.write(0, &data);
    assert!(sandbox.read(0, 0, 64 << 20) == data, "64 MiB, bit for bit");
    assert!(sandbox.read(0, (1 << 20) - 4, 8 << 20) == data[(1 << 20) - 4..][..8 << 20]);
    assert_eq!(sandbox.read(0, 64 << 20, 0), []);
    assert_eq!(gpu.close(&sandbox).bytes_moved, (64 + 64 + 8) << 20);
}

#[test]
fn shader_that_hangs_ends_the_process_within_its_slice() {
    let mut gpu = Gpu::with(&GpuSetup { slice_ms: 500, ..setup() });
    let other = session(&mut gpu, 1, INCREMENT, &[1]);
    let sandbox = session(&mut gpu, 2, HANG, &[0]);
    let (pid, began) = (gpu.pid(), Instant::now());
    sandbox.dispatch(0, &[0], [65_535, 200, 1], &[4]);
    sandbox.tell(&Command::Submit);
    // The worker tells from outside, too, whose work runs.
    let deadline = Instant::now() + Duration::from_secs(10);
    while gpu.live.note(2).unwrap().busy_since == 0 {
        assert!(Instant::now() < deadline, "it never began");
    }
    let (said, status) = gpu.hear_last();
    let Some(FromGpu::Lost { session: Some(2), reason }) = said else { panic!("{said:?}") };
    assert!(reason.contains("500 ms"), "{reason}");
    assert_eq!(status.signal(), Some(libc::SIGKILL));
    assert!(began.elapsed() < Duration::from_millis(500 + 1000), "{:?}", began.elapsed());
    assert!(!is_running(pid));
    drop((other, sandbox));
}

#[test]
fn sandbox_that_lies_ends_alone() {
    let mut gpu = Gpu::start();
    let lies: [fn(&Sandbox); 11] = [
        |sandbox| sandbox.tell(&Command::Destroy { buffer: 1 }),
        |sandbox| sandbox.create(7, 4),
        |sandbox| sandbox.create(1, 1 << 40),
        |sandbox| sandbox.tell(&Command::Adopt { pipeline: 1, serial: 99 }),
        |sandbox| sandbox.tell(&Command::Taken { slot: 0 }),
        |sandbox| sandbox.tell(&Command::Taken { slot: 200 }),
        |sandbox| sandbox.tell(&Command::Write { buffer: 0, offset: 0, data: Data::Slot { slot: 4, bytes: 4 } }),
        |sandbox| {
            let data = Data::Slot { slot: 0, bytes: SLOT_BYTES as u32 + 4 };
            sandbox.tell(&Command::Write { buffer: 0, offset: 0, data });
        },
        |sandbox| sandbox.tell(&Command::Read { buffer: 0, offset: 4, bytes: 8 }),
        |sandbox| sandbox.dispatch(0, &[0], [70_000, 1, 1], &[8]),
        |sandbox| sandbox.tell_bytes(&[9, 0, 0, 0, 200, 1, 2, 3, 4, 5, 6, 7, 8]),
    ];
    for (number, lie) in (1..).zip(lies) {
        let sandbox = session(&mut gpu, number, INCREMENT, &[1, 2]);
        lie(&sandbox);
        let said = gpu.hear();
        let FromGpu::Ended { session, why: SessionEnd::Lied(_) } = said else { panic!("{number}: {said:?}") };
        assert_eq!(session, number);
        gpu.close(&sandbox);
    }
    assert_works(&mut gpu, 100);
}

#[test]
fn sandbox_that_does_not_take_what_it_reads_can_be_closed() {
    let mut gpu = Gpu::start();
    let sandbox = gpu.open(1, need());
    sandbox.create(0, 64 << 20);
    sandbox.tell(&Command::Read { buffer: 0, offset: 0, bytes: 64 << 20 });
    gpu.close(&sandbox);
    assert_works(&mut gpu, 2);
}

#[test]
fn nothing_of_another_session_is_out_of_bounds() {
    const WILD: &str = "
        struct Out { canaries: atomic<u32> }
        @group(0) @binding(0) var<storage, read_write> words: array<u32>;
        @group(0) @binding(1) var<storage, read_write> out: Out;
        @compute @workgroup_size(64)
        fn main(@builtin(global_invocation_id) id: vec3u) {
            let at = id.x * 977u + 64u;
            if words[at] == 0xcafef00du { atomicAdd(&out.canaries, 1u); }
            words[at] = 0xdeadbeefu;
            if words[0xfffffff0u - id.x] == 0xcafef00du { atomicAdd(&out.canaries, 1u); }
            words[0xfffffff0u - id.x] = 0xdeadbeefu;
        }";
    let mut gpu = Gpu::start();
    let canaries = vec![0xcafe_f00d_u32; 1 << 20];
    let mut victim = session(&mut gpu, 1, INCREMENT, &canaries);
    let mut attacker = session(&mut gpu, 2, WILD, &[5; 64]);
    attacker.create(1, 4);
    attacker.dispatch(0, &[0, 1], [4096, 1, 1], &[256, 4]);
    assert_eq!(attacker.read_words(1, 1), [0], "no canary was read");
    assert!(victim.read_words(0, 1 << 20) == canaries, "none was overwritten");
}

/// An index out of bounds reads an element of the same array, or of a buffer something of that buffer, and writes to no other variable.
#[test]
fn arrays_of_a_shaders_own_are_bounded_in_every_memory() {
    const WILD: &str = "
        struct Settings { numbers: array<vec4u, 4>, canary: vec4u }
        @group(0) @binding(0) var<storage, read_write> out: array<u32>;
        @group(0) @binding(1) var<uniform> settings: Settings;
        var<workgroup> ours: array<u32, 16>;
        var<workgroup> canaries: array<u32, 64>;
        var<private> own: array<u32, 16>;
        var<private> own_canaries: array<u32, 64>;
        fn is_odd(x: u32) -> bool { return x % 2u == 1u && x < 32u; }
        @compute @workgroup_size(1)
        fn main(@builtin(workgroup_id) group: vec3u) {
            var local: array<u32, 16>;
            var local_canaries: array<u32, 64>;
            for (var i = 0u; i < 16u; i++) { ours[i] = 2u * i + 1u; own[i] = 2u * i + 1u; local[i] = 2u * i + 1u; }
            for (var i = 0u; i < 64u; i++) {
                canaries[i] = 0xcafef00du; own_canaries[i] = 0xcafef00du; local_canaries[i] = 0xcafef00du;
            }
            // What is read is an element, wherever the index points.
            let far = out[0] + group.x * 101u;
            for (var i = 0u; i < 200u; i++) {
                let at = far + i;
                if !is_odd(ours[at]) { out[1] = at; }
                if !is_odd(own[at]) { out[2] = at; }
                if !is_odd(local[at]) { out[3] = at; }
                // Of a buffer it is anything of that buffer, or nothing.
                let read = settings.numbers[at].x;
                if !is_odd(read) && read != 0u && read != 0xcafef00du { out[4] = at; }
                ours[at] = 5u; own[at] = 5u; local[at] = 5u;
            }
            for (var i = 0u; i < 64u; i++) {
                if canaries[i] != 0xcafef00du { out[5] = 1u; }
                if own_canaries[i] != 0xcafef00du { out[6] = 1u; }
                if local_canaries[i] != 0xcafef00du { out[7] = 1u; }
            }
            out[8] = 1u;
        }";
    let mut gpu = Gpu::with(&GpuSetup { slice_ms: 60_000, ..setup() });
    for far in [16, 1 << 10, 1 << 20, 1 << 30, u32::MAX - (1 << 20)] {
        let number = u64::from(far);
        let mut sandbox = session(&mut gpu, number, WILD, &[far, 0, 0, 0, 0, 0, 0, 0, 0]);
        let settings: Vec<u32> = (0..16).map(|at| 2 * at + 1).chain([0xcafe_f00d; 4]).collect();
        sandbox.create(1, 80);
        sandbox.write(1, &bytes_of(&settings));
        sandbox.dispatch(0, &[0, 1], [16, 1, 1], &[36, 80]);
        assert_eq!(sandbox.read_words(0, 9), [far, 0, 0, 0, 0, 0, 0, 0, 1], "from {far} on");
        gpu.close(&sandbox);
    }
    assert_works(&mut gpu, 1);
}

/// Variables of a shader are zero at first, whatever ran on that thread before.
#[test]
fn variables_without_a_value_are_zero() {
    const FILL: &str = "
        @group(0) @binding(0) var<storage, read_write> out: array<u32>;
        var<private> own: array<u32, 64>;
        @compute @workgroup_size(64)
        fn main(@builtin(global_invocation_id) id: vec3u) {
            var local: array<u32, 64>;
            for (var i = 0u; i < 64u; i++) { own[i] = 0xcafef00du; local[i] = 0xcafef00du; }
            out[id.x % 64u] = own[(id.x * 61u) % 64u] & local[(id.x * 31u) % 64u];
        }";
    const LOOK: &str = "
        @group(0) @binding(0) var<storage, read_write> seen: atomic<u32>;
        var<private> own: array<u32, 64>;
        @compute @workgroup_size(64)
        fn main() {
            var local: array<u32, 64>;
            for (var i = 0u; i < 64u; i++) { atomicOr(&seen, own[i]); atomicOr(&seen, local[i]); }
        }";
    let mut gpu = Gpu::with(&GpuSetup { slice_ms: 60_000, ..setup() });
    let mut tenant = session(&mut gpu, 1, FILL, &[0; 64]);
    let mut next = session(&mut gpu, 2, LOOK, &[0]);
    for _ in 0..8 {
        tenant.dispatch(0, &[0], [16, 1, 1], &[256]);
        assert_eq!(tenant.read_words(0, 1), [0xcafe_f00d]);
        next.dispatch(0, &[0], [16, 1, 1], &[4]);
        assert_eq!(next.read_words(0, 1), [0]);
    }
}

/// To a driver a loop without an end is undefined: it may take what follows for what is never reached, and leave out checks of bounds. So the
/// shader's compiler has each loop count, and end at a count that none comes to. The software adapter ends every loop early, and goes on behind
/// it only where the shader has a way there.
#[test]
fn loop_that_nothing_ends_has_an_end_all_the_same() {
    let mut gpu = Gpu::with(&GpuSetup { slice_ms: 60_000, ..setup() });
    let loops = ["loop { }", "while true { }", "for (;;) { }", "loop { words[1] += 1u; }"];
    for (number, endless) in (1..).zip(loops) {
        let wgsl = format!(
            "@group(0) @binding(0) var<storage, read_write> words: array<u32>;
            @compute @workgroup_size(1)
            fn main() {{ {endless} words[0] = 7u; }}"
        );
        let mut sandbox = session(&mut gpu, number, &wgsl, &[0, 0]);
        sandbox.dispatch(0, &[0], [1, 1, 1], &[8]);
        assert_eq!(sandbox.read_words(0, 1), [7], "{endless}");
        gpu.close(&sandbox);
    }
}

/// Sizes of buffers, in words: a single one, one more than a read is padded to, a page, and what takes an allocation of its own.
const CANARY_WORDS: [u32; 5] = [1, 65, 1_024, 16_384, 262_144];
/// Dispatches that look, all in all.
const LOOKS: usize = 1_000;

/// Who looks only when the other is gone for good sees what was cleaned up once: so a tenant and one that looks take turns, each in buffers as
/// the other's were.
#[test]
fn nothing_is_left_of_a_tenant_for_whoever_looks_after_each_of_its_dispatches() {
    const FILL: &str = "
        var<workgroup> shared_words: array<u32, 4096>;
        @group(0) @binding(0) var<storage, read_write> words: array<u32>;
        @compute @workgroup_size(64)
        fn main(@builtin(local_invocation_index) at: u32, @builtin(workgroup_id) group: vec3u) {
            for (var i = at; i < 4096u; i += 64u) { shared_words[i] = 0xcafef00du; }
            workgroupBarrier();
            for (var i = group.x * 64u + at; i < arrayLength(&words); i += 1024u) { words[i] = shared_words[(at * 61u) % 4096u]; }
        }";
    const LOOK: &str = "
        var<workgroup> shared_words: array<u32, 4096>;
        @group(0) @binding(0) var<storage, read_write> fresh: array<u32>;
        @group(0) @binding(1) var<storage, read_write> seen: atomic<u32>;
        @compute @workgroup_size(64)
        fn main(@builtin(local_invocation_index) at: u32, @builtin(workgroup_id) group: vec3u) {
            for (var i = at; i < 4096u; i += 64u) { atomicOr(&seen, shared_words[i]); }
            for (var i = group.x * 64u + at; i < arrayLength(&fresh); i += 1024u) { atomicOr(&seen, fresh[i]); }
        }";
    const GROUPS: [u32; 3] = [16, 1, 1];
    let mut gpu = Gpu::with(&GpuSetup { slice_ms: 60_000, ..setup() });
    let mut looker = session(&mut gpu, 1, LOOK, &[0]);
    let mut tenant = session(&mut gpu, 2, FILL, &[0]);
    for look in 0..LOOKS {
        // Now and then the tenant is another one.
        if look % 200 == 199 {
            gpu.close(&tenant);
            tenant = session(&mut gpu, look as u64 + 2, FILL, &[0]);
        }
        let words = CANARY_WORDS[look % CANARY_WORDS.len()];
        let bytes = 4 * u64::from(words);
        tenant.create(1, bytes);
        tenant.write(1, &bytes_of(&vec![0xcafe_f00d; words as usize]));
        tenant.dispatch(0, &[1], GROUPS, &[bytes]);
        assert_eq!(tenant.read(1, bytes - 4, 4), 0xcafe_f00d_u32.to_le_bytes(), "the tenant has its canaries");
        tenant.tell(&Command::Destroy { buffer: 1 });
        tenant.finish();
        looker.create(1, bytes);
        looker.dispatch(0, &[1, 0], GROUPS, &[bytes, 4]);
        assert_eq!(looker.read_words(0, 1), [0], "none is seen in {words} words, look {look}");
        // Nor does one come with what is read.
        let read = looker.read(1, 0, bytes);
        assert!(read.len() as u64 == bytes && read.iter().all(|byte| *byte == 0), "read of {words} words, look {look}");
        looker.tell(&Command::Destroy { buffer: 1 });
        looker.finish();
    }
    assert_eq!(gpu.close(&looker).dispatches, LOOKS as u64);
}

/// Has a session turn, and says what that is billed.
fn turn(gpu: &Gpu, sandbox: &mut Sandbox, workgroups: u32, count: usize) -> u64 {
    let before = gpu.live.note(sandbox.session).unwrap().used.ns;
    for _ in 0..count {
        sandbox.dispatch(0, &[0], [workgroups, 1, 1], &[8]);
    }
    sandbox.finish();
    gpu.live.note(sandbox.session).unwrap().used.ns - before
}

/// Workgroups that turn for some 50 ms here.
fn calibrate(gpu: &mut Gpu) -> u32 {
    let mut sandbox = session(gpu, 1000, TURN, &[1, 1]);
    // The first time the driver makes machine code, too.
    turn(gpu, &mut sandbox, 1, 1);
    let mut workgroups = 16;
    loop {
        let ns = turn(gpu, &mut sandbox, workgroups, 1);
        if ns > 10_000_000 {
            gpu.close(&sandbox);
            return (f64::from(workgroups) * 50e6 / ns as f64) as u32;
        }
        workgroups *= 2;
    }
}

/// What two sessions are billed so far.
fn billed(gpu: &Gpu, pair: &[Sandbox; 2]) -> u64 {
    pair.iter().map(|sandbox| gpu.live.note(sandbox.session).unwrap().used.ns).sum()
}

/// Whose work is on the device, one after the other, until both are done with so many dispatches. What is between two looks is left out, so
/// what is told took turns at the least as often.
fn turns_of(gpu: &Gpu, pair: &[Sandbox; 2], dispatches: u64) -> Vec<u64> {
    let mut turns = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let notes = pair.iter().map(|sandbox| (sandbox.session, gpu.live.note(sandbox.session).unwrap()));
        let (mut is_over, mut since) = (true, None);
        for (session, note) in notes {
            is_over &= note.busy_since == 0 && note.used.dispatches == dispatches;
            // Of two that were seen at work the one that began first ended meanwhile.
            since = since.max((note.busy_since > 0).then_some((note.busy_since, session)));
        }
        if let Some((_, session)) = since.filter(|(_, session)| turns.last() != Some(session)) {
            turns.push(session);
        }
        if is_over {
            return turns;
        }
        assert!(Instant::now() < deadline, "{turns:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn two_sessions_that_take_turns_are_billed_what_the_device_did() {
    const DISPATCHES: u64 = 5;
    let mut gpu = Gpu::start();
    let workgroups = calibrate(&mut gpu);
    let mut shares = Vec::new();
    for attempt in 0..5 {
        let mut pair = [1, 2].map(|number| session(&mut gpu, 10 * attempt + number, TURN, &[1, 1]));
        pair.iter_mut().for_each(|sandbox| _ = turn(&gpu, sandbox, 1, 1));
        let before = billed(&gpu, &pair);
        let began = Instant::now();
        for _ in 0..DISPATCHES {
            pair.iter().for_each(|sandbox| sandbox.dispatch(0, &[0], [4 * workgroups, 1, 1], &[8]));
        }
        let turns = turns_of(&gpu, &pair, 1 + DISPATCHES);
        pair.iter_mut().for_each(Sandbox::finish);
        let busy = began.elapsed();
        let used = billed(&gpu, &pair) - before;
        // Each is on the device between two dispatches of the other.
        assert!(turns.len() >= 4, "they never took turns: {turns:?}");
        // A machine that does other things too leaves the device idle between two dispatches; never does it bill more than it did.
        let share = used as f64 / busy.as_nanos() as f64;
        assert!(share < 1.05, "{used} ns in {busy:?}");
        shares.push(share);
        pair.iter().for_each(|sandbox| _ = gpu.close(sandbox));
    }
    shares.sort_by(f64::total_cmp);
    println!("of the device's time this part was billed: {shares:?}");
    assert!(shares[shares.len() / 2] > 0.95, "of the device's time this part was billed: {shares:?}");
}

/// Who closed waited for a turn behind everybody's dispatches, and a session that does not close counts as stuck.
#[test]
fn session_that_closes_waits_for_nobody_who_waits_for_the_device() {
    const OTHERS: u64 = 16;
    let mut gpu = Gpu::start();
    let workgroups = calibrate(&mut gpu);
    // Its time is not settled yet: it was one dispatch, and is known by the clock alone.
    let mut closes = session(&mut gpu, 1, TURN, &[1, 1]);
    closes.finish();
    closes.dispatch(0, &[0], [1, 1, 1], &[8]);
    closes.finish();
    let others: Vec<_> = (2..2 + OTHERS).map(|number| gpu.open_for(number, need(), 1)).collect();
    for other in &others {
        gpu.pipeline(other, 0, TURN);
        other.create(0, 8);
    }
    // Each says that its time is over when it has had its turn.
    for other in &others {
        other.dispatch(0, &[0], [4 * workgroups, 1, 1], &[8]);
        other.tell(&Command::Finish);
    }
    let FromGpu::Ended { .. } = gpu.hear() else { panic!("nobody has the turn") };
    gpu.tell(&ToGpu::Close { session: 1 });
    let mut before = 0;
    while let FromGpu::Ended { .. } = gpu.hear() {
        before += 1;
    }
    // Two were on the device, and one more may have had the turn; for the rest this thread may have been slow.
    assert!(before < OTHERS * 3 / 4, "{before} of {OTHERS} came before");
}

#[test]
fn session_out_of_time_does_nothing_more() {
    let mut gpu = Gpu::start();
    let workgroups = calibrate(&mut gpu);
    let time_max_ns = 100_000_000;
    let mut sandbox = gpu.open_for(1, need(), time_max_ns);
    gpu.pipeline(&sandbox, 0, TURN);
    sandbox.create(0, 8);
    sandbox.write(0, &bytes_of(&[1, 1]));
    for _ in 0..40 {
        sandbox.dispatch(0, &[0], [workgroups, 1, 1], &[8]);
    }
    let began = Instant::now();
    assert_eq!(gpu.hear(), FromGpu::Ended { session: 1, why: SessionEnd::OutOfTime });
    assert_eq!(gpu.close(&sandbox).ns, time_max_ns, "and is billed no more than it has");
    assert!(began.elapsed() < Duration::from_secs(30));
    assert_works(&mut gpu, 2);
}

/// Of an adapter that tells no times, the clock's are billed.
#[test]
fn adapter_without_timestamps_bills_by_the_clock() {
    let mut gpu = Gpu::with(&GpuSetup { faults: Faults { no_timestamps: true, ..Faults::default() }, ..setup() });
    assert!(!gpu.report.has_timestamps);
    let workgroups = calibrate(&mut gpu);
    let mut sandbox = session(&mut gpu, 1, TURN, &[1, 1]);
    turn(&gpu, &mut sandbox, 1, 1);
    let began = Instant::now();
    let billed = turn(&gpu, &mut sandbox, workgroups, 4);
    let elapsed = began.elapsed();
    assert!(Duration::from_nanos(billed) <= elapsed, "{billed} ns in {elapsed:?}");
    assert!(billed > 20_000_000, "{billed} ns");
    // Chains of short ones, too, and none of it is taken back when the session closes.
    let before = gpu.live.note(1).unwrap().used.ns;
    assert!(turn(&gpu, &mut sandbox, 1, 100) > 0);
    let used = gpu.close(&sandbox);
    assert!(used.ns > before && used.dispatches == 105, "{used:?}");
    let short = gpu.open_for(2, need(), 50_000_000);
    gpu.pipeline(&short, 0, TURN);
    short.create(0, 8);
    for _ in 0..40 {
        short.dispatch(0, &[0], [workgroups, 1, 1], &[8]);
    }
    assert_eq!(gpu.hear(), FromGpu::Ended { session: 2, why: SessionEnd::OutOfTime });
    assert_eq!(gpu.close(&short).ns, 50_000_000);
}

#[test]
fn session_that_goes_without_waiting_pays_for_what_ran() {
    let mut gpu = Gpu::start();
    let workgroups = calibrate(&mut gpu);
    let sandbox = session(&mut gpu, 1, TURN, &[1, 1]);
    sandbox.dispatch(0, &[0], [workgroups, 1, 1], &[8]);
    sandbox.tell(&Command::Submit);
    let deadline = Instant::now() + Duration::from_secs(30);
    while gpu.live.note(1).unwrap().used.dispatches == 0 {
        assert!(Instant::now() < deadline, "it never began");
    }
    assert!(gpu.close(&sandbox).ns > 10_000_000);
}

#[test]
fn adapter_without_memory_left_is_nobodys_fault() {
    // All that there is may be gigabytes, which take a while to clear.
    let faults = Faults { memory_max: 512 << 20, ..Faults::default() };
    let mut gpu = Gpu::with(&GpuSetup { memory: u64::MAX, faults, ..setup() });
    assert_eq!(gpu.report.offer.memory.0, faults.memory_max);
    let (all, most) = (gpu.report.offer.memory.0, gpu.report.offer.buffer.0.min(128 << 20));
    let need = GpuNeed { memory: ByteCount(all), buffer: ByteCount(most), buffers: 4096, ..need() };
    let mut first = gpu.open(1, need);
    for buffer in 0..(all / most) as u32 {
        first.create(buffer, most);
    }
    first.finish();
    let second = gpu.open(2, need);
    second.create(0, most);
    let said = gpu.hear();
    let FromGpu::Ended { session: 2, why: SessionEnd::NoMemory(_) } = said else { panic!("{said:?}") };
    gpu.close(&second);
    gpu.close(&first);
    assert_works(&mut gpu, 3);
}

/// The most that a process had mapped, in KiB.
fn peak_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmPeak:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn buffers_that_are_made_and_destroyed_do_not_pile_up() {
    let mut gpu = Gpu::start();
    let need = GpuNeed { memory: ByteCount(64 << 20), ..need() };
    let mut sandbox = gpu.open(1, need);
    sandbox.create(0, 4);
    sandbox.finish();
    let before = peak_kib(gpu.pid());
    for _ in 0..100 {
        // What is recorded holds the buffer, and nothing is submitted.
        sandbox.create(1, 60 << 20);
        sandbox.tell(&Command::Copy { from: 1, from_offset: 0, to: 0, to_offset: 0, bytes: 4 });
        sandbox.tell(&Command::Destroy { buffer: 1 });
    }
    sandbox.finish();
    let more = peak_kib(gpu.pid()) - before;
    assert!(more < 1 << 20, "{more} KiB more");
    assert_eq!(gpu.close(&sandbox).memory_peak, (60 << 20) + 4);
}

/// The most of its own memory that a process had, in KiB.
fn peak_resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse().unwrap()
}

/// A recording had no end as long as a guest asked for nothing but small things, and grew until the process that all share aborted.
#[test]
fn small_commands_without_end_take_no_memory_without_end() {
    const ROUNDS: usize = 100_000;
    type Step = fn(&mut Sandbox);
    let rows: [(&str, Step); 2] = [
        ("buffers that are made and destroyed", |sandbox| {
            sandbox.create(2, 4);
            sandbox.tell(&Command::Destroy { buffer: 2 });
        }),
        ("copies between buffers", |sandbox| {
            sandbox.tell(&Command::Copy { from: 0, from_offset: 0, to: 1, to_offset: 0, bytes: 4 });
        }),
    ];
    for (what, step) in rows {
        let mut gpu = Gpu::start();
        let mut sandbox = gpu.open(1, need());
        sandbox.create(0, 4);
        sandbox.create(1, 4);
        (0..8 * 1024).for_each(|_| step(&mut sandbox));
        sandbox.finish();
        let before = peak_resident_kib(gpu.pid());
        (0..ROUNDS).for_each(|_| step(&mut sandbox));
        sandbox.finish();
        let more = peak_resident_kib(gpu.pid()) - before;
        println!("{what}: {more} KiB more");
        assert!(more < 16 << 10, "{what}: {more} KiB more");
        assert_eq!(gpu.close(&sandbox).memory_peak, if what.starts_with("buffers") { 12 } else { 8 });
    }
}

#[test]
fn pipeline_that_was_not_taken_in_goes_with_its_session() {
    let mut gpu = Gpu::start();
    let sandbox = session(&mut gpu, 1, INCREMENT, &[1]);
    sandbox.tell(&Command::DropPipeline { pipeline: 0 });
    gpu.pipeline(&sandbox, 0, TURN);
    gpu.close(&sandbox);
    assert_works(&mut gpu, 2);
}

#[test]
fn bindings_may_be_parts_of_buffers_and_more_than_are_used() {
    let mut gpu = Gpu::start();
    let mut sandbox = session(&mut gpu, 1, INCREMENT, &[1; 256]);
    let binding = |binding, offset, bytes| Binding { binding, buffer: 0, offset, bytes };
    sandbox.tell(&Command::Dispatch { pipeline: 0, bindings: vec![binding(0, 256, 512)], workgroups: [4, 1, 1] });
    let bindings = vec![binding(9, 0, 4), binding(0, 0, 256)];
    sandbox.tell(&Command::Dispatch { pipeline: 0, bindings, workgroups: [1, 1, 1] });
    let words = sandbox.read_words(0, 256);
    assert_eq!((words[..192].to_vec(), words[192..].to_vec()), (vec![2; 192], vec![1; 64]));
    sandbox.dispatch(0, &[0], [0, 1, 1], &[1024]);
    sandbox.finish();
    assert_eq!(gpu.close(&sandbox).dispatches, 3, "one of no workgroups counts, and does nothing");
}

#[test]
fn adapter_that_is_not_wanted_is_not_opened() {
    for (setup, reason) in [
        (GpuSetup { software: false, ..setup() }, "software"),
        (GpuSetup { adapter: Some("Voodoo2".to_owned()), ..setup() }, "Voodoo2"),
    ] {
        let (mut child, _socket, _live, ready) = hello(&setup);
        let told = ready.unwrap_err();
        assert!(told.contains(reason), "{told}");
        child.wait().unwrap();
    }
}

#[test]
fn worker_offers_what_the_owner_gives_and_the_adapter_can() {
    let gpu = Gpu::with(&GpuSetup { memory: 300 << 20, ..setup() });
    let offer = &gpu.report.offer;
    assert!(offer.class.starts_with("software/mesa/llvmpipe/"), "{}", offer.class);
    assert_eq!(offer.memory.0, 300 << 20);
    assert!(offer.fits(&GpuNeed::default()), "{offer:?}");
    assert_eq!(gpu.report.lacks, Vec::<String>::new());
    assert!(gpu.report.has_timestamps);
}

#[test]
fn every_thread_of_the_worker_is_behind_its_walls() {
    let gpu = Gpu::start();
    for thread in std::fs::read_dir(format!("/proc/{}/task", gpu.pid())).unwrap() {
        let status = std::fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        for line in ["Seccomp:\t2", "NoNewPrivs:\t1", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000"] {
            assert!(status.contains(line), "{line} in {status}");
        }
    }
}

#[test]
fn worker_ends_with_its_supervisor() {
    let mut gpu = Gpu::start();
    let mut sandbox = session(&mut gpu, 1, INCREMENT, &[1]);
    gpu.hang_up();
    gpu.hear_last();
    assert_eq!(sandbox.hear(), None, "the session's socket goes with the process");
}

#[test]
fn closed_session_is_gone() {
    let mut gpu = Gpu::start();
    let mut sandbox = session(&mut gpu, 1, INCREMENT, &[1]);
    gpu.close(&sandbox);
    assert_eq!(sandbox.hear(), None);
    gpu.tell(&ToGpu::Close { session: 1 });
    assert_eq!(gpu.hear_last().0, None, "a supervisor that closes what is not open is none");
}
