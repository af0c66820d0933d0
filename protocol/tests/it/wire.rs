//! Every frame and every signed statement, pinned byte by byte. `docs/wire-protocol.md` describes them in this order.
//!
//! A test that fails here says that old and new peers no longer understand each other, or that old receipts no longer verify:
//! such a change takes a new [`adit_protocol::PROTOCOL_VERSION`] or a new signature domain.

use adit_protocol::{
    ALPN, AccountStatus, Answer, Attempt, AttemptFailure, BatchProof, BlobRef, ByteCount, Candidate, ClientMessage, Comparison,
    Decision, Digest, Fuel, GatewayToClient, GatewayToNode, GpuNeed, GpuOffer, GpuRun, Greeting, HoldStatus, IdempotencyKey,
    JobEvent, JobId, JobLimits, JobResult, JobSpec, JobState, JobStatus, LeafBytes, LogStatus, MeterId, Microcredits, NamedInput,
    NodeMessage, NodeOffer, NodeRecord, NodeState, NodeStatus, NodeTimes, Order, Outcome, PROTOCOL_VERSION, Passed, Placement,
    Prediction, Preference, Price, Profile, PublicKey, Query, Receipt, Refusal, Rejection, Salt, SecretKey, Settlement,
    Signature, SignedReceipt, SignedSettlement, Step, StreamReply, StreamRequest, Tolerance, TransferId, TrapKind, UnfitReason,
    UnixMillis, UnpaidAttempt, Usage, Verdict, Wait, sign_receipts, sign_settlements,
};

use crate::dump::{self, Pin, check_bytes, check_frames, check_values};

const JOB: JobId = JobId([0x0b; 16]);
const CLIENT: PublicKey = PublicKey([0xc1; 32]);
const NODE: PublicKey = PublicKey([0xed; 32]);
const GATEWAY: PublicKey = PublicKey([0x6a; 32]);
const MODULE: BlobRef = BlobRef { digest: Digest([0x4d; 32]), bytes: 300 };
const INPUT: BlobRef = BlobRef { digest: Digest([0x14; 32]), bytes: 5 };
const WEIGHTS: BlobRef = BlobRef { digest: Digest([0x3b; 32]), bytes: 1 << 20 };
const OUTPUT: Digest = Digest([0x07; 32]);
const SALT: Salt = Salt([0x5a; 32]);
pub(crate) const RECEIPT_DOMAIN: &str = "adit receipt v5";
const METER: MeterId = MeterId([0x3e; 32]);
const TOLERANCE: Tolerance = Tolerance { absolute_e9: 1_000, relative_e9: 10_000 };
const PRICE: Price =
    Price { per_compute_minute: 1_000, per_gib_compute_minute: 100, per_gib_in: 50, per_gib_out: 70, per_gpu_minute: 9_000 };

fn need() -> GpuNeed {
    GpuNeed {
        memory: ByteCount(256 << 20),
        buffer: ByteCount(128 << 20),
        buffers: 64,
        pipelines: 32,
        dispatches: 300,
        workgroups: 65_536,
        invocations: 256,
        workgroup_memory: 16 * 1024,
        comparison: Comparison::Tolerance(TOLERANCE),
    }
}

fn spec() -> JobSpec {
    JobSpec {
        module: MODULE,
        input: INPUT,
        inputs: vec![NamedInput { name: "w.bin".parse().unwrap(), blob: WEIGHTS }],
        args: vec!["-n".into()],
        env: vec![("K".into(), "V".into())],
        limits: JobLimits { gpu_ns: 300, ..JobLimits::default() },
        gpu: Some(need()),
        profile: Profile::Deterministic,
        seed: 7,
        time: UnixMillis(1_700_000_000_000),
        max_price: Some(Microcredits(5_000)),
        placement: Placement {
            labels: vec![("region".into(), "eu".into())],
            prefer: Preference::Cheap,
            deadline_ms: Some(90_000),
            priority: 200,
            hedge: true,
        },
        salt: SALT,
    }
}

pub(crate) const SPEC: &str = "
    4d*32 ac02              # module: BLAKE3, 300 bytes
    14*32 05                # input: BLAKE3, 5 bytes
    01 05 772e62696e        # inputs: one, `w.bin`
    3b*32 808040            # inputs.blob: BLAKE3, 1 MiB
    01 02 2d6e              # args: one, `-n`
    01 01 4b 01 56          # env: one, `K` = `V`
    80c8afa025              # limits.fuel: 10^10
    8080808001              # limits.memory: 256 MiB
    80808020                # limits.output: 64 MiB
    808040                  # limits.log: 1 MiB
    e0d403                  # limits.wall_ms: 60,000
    e0a712                  # limits.queue_ms: 300,000
    ac02                    # limits.gpu_ns: 300
    01                      # gpu: some
    8080808001              # gpu.memory: 256 MiB
    80808040                # gpu.buffer: 128 MiB
    40                      # gpu.buffers: 64
    20                      # gpu.pipelines: 32
    ac02                    # gpu.dispatches: 300
    808004                  # gpu.workgroups: 65,536
    8002                    # gpu.invocations: 256
    808001                  # gpu.workgroup_memory: 16 KiB
    02 e807 904e            # gpu.comparison: tolerance, 10^-6 and 10^-5
    00                      # profile: deterministic
    07                      # seed
    80d095ffbc31            # time: 1,700,000,000,000 ms
    01 8827                 # max_price: some, 5,000 microcredits
    01 06 726567696f6e 02 6575  # placement.labels: one, `region` = `eu`
    02                      # placement.prefer: cheap
    01 90bf05               # placement.deadline_ms: some, 90,000
    c8                      # placement.priority: 200, one byte
    01                      # placement.hedge: true
    5a*32                   # salt
";

/// A receipt with a value in every field. Its signature here is a pattern; a real one is pinned below.
fn signed_receipt() -> SignedReceipt {
    let proof = BatchProof { index: 1, size: 2, path: vec![[0xaa; 32]], signature: signature() };
    SignedReceipt { receipt: receipt(NODE), proof }
}

pub(crate) fn receipt(node: PublicKey) -> Receipt {
    let usage = Usage {
        fuel: Fuel(60_000_000_000),
        memory_peak: ByteCount(65_536),
        memory_fuel: 1 << 64,
        bytes_in: spec().bytes_in(),
        bytes_out: ByteCount(1_024),
        host_calls: 3,
        gpu_ns: 300,
    };
    Receipt {
        job: JOB,
        attempt: Attempt(1),
        client: CLIENT,
        node,
        gateway: GATEWAY,
        spec: spec().digest(),
        module: MODULE.digest,
        input: spec().input_digest(),
        output: OUTPUT,
        outcome: Outcome::Finished { exit_code: -2 },
        profile: Profile::Deterministic,
        meter: METER,
        engine: "e 1".into(),
        usage,
        gpu: Some(GpuRun {
            class: "gl".into(),
            comparison: Comparison::Exact,
            dispatches: 200,
            bytes_moved: ByteCount(65_536),
            memory_peak: ByteCount(4_096),
        }),
        times: NodeTimes { started: UnixMillis(1_700_000_000_000), fetch_us: 200, compile_us: 0, run_us: 128 },
        price: PRICE,
        cost: PRICE.cost(&usage).unwrap(),
        salt: Some(SALT),
    }
}

const RECEIPT_BEFORE_NODE: &str = "
    0b*16                   # job
    01                      # attempt
    c1*32                   # client
";

const RECEIPT_AFTER_NODE: &str = "
    6a*32                   # gateway
    4829158a1e676aee18b68296995b3842  # spec: BLAKE3 of the specification's bytes
    4579af84d5dcdc33af25f8d9e117997c
    4d*32                   # module
    e471cc5f1d20c5f4d20f7efb475da948  # input: of all inputs
    d112697e209fff34a773e1d5481dec23
    07*32                   # output
    00 03                   # outcome: finished, exit code -2 (zigzag)
    00                      # profile: deterministic
    3e*32                   # meter
    03 652031               # engine: `e 1`
    80b09dc2df01            # usage.fuel: 60 x 10^9
    808004                  # usage.memory_peak: 64 KiB
    80808080808080808002    # usage.memory_fuel: 2^64, as a 128-bit integer
    858040                  # usage.bytes_in: 1 MiB and 5 bytes
    8008                    # usage.bytes_out: 1,024
    03                      # usage.host_calls
    ac02                    # usage.gpu_ns: 300
    01 02 676c              # gpu: some, class `gl`
    00                      # gpu.comparison: exact
    c801                    # gpu.dispatches: 200
    808004                  # gpu.bytes_moved: 64 KiB
    8020                    # gpu.memory_peak: 4 KiB
    80d095ffbc31            # times.started: 1,700,000,000,000 ms
    c801                    # times.fetch_us: 200
    00                      # times.compile_us
    8001                    # times.run_us: 128
    e807                    # price.per_compute_minute: 1,000
    64                      # price.per_gib_compute_minute: 100
    32                      # price.per_gib_in: 50
    46                      # price.per_gib_out: 70
    a846                    # price.per_gpu_minute: 9,000
    8508                    # cost
    01 5a*32                # salt: some
";

pub(crate) const PROOF: &str = "
    01                      # proof.index
    02                      # proof.size
    01 aa*32                # proof.path: one hash
    40 5e*64                # proof.signature: 64 bytes
";

fn signed_receipt_dump() -> String {
    format!("{RECEIPT_BEFORE_NODE} ed*32 # node\n{RECEIPT_AFTER_NODE} {PROOF}")
}

fn signed_settlement() -> SignedSettlement {
    let settlement =
        Settlement { gateway: GATEWAY, job: JOB, receipt: Digest([0x4e; 32]), index: 300, time: UnixMillis(1_700_000_000_000) };
    let proof = BatchProof { index: 1, size: 2, path: vec![[0xaa; 32]], signature: signature() };
    SignedSettlement { settlement, proof }
}

pub(crate) const SETTLEMENT: &str = "
    6a*32                   # gateway
    0b*16                   # job
    4e*32                   # receipt: BLAKE3 of the signed receipt's bytes
    ac02                    # index: 300
    80d095ffbc31            # time: 1,700,000,000,000 ms
";

fn signature() -> Signature {
    Signature(serde_bytes::ByteArray::new([0x5e; 64]))
}

fn offer() -> NodeOffer {
    NodeOffer {
        software: "adit".into(),
        slots: 2,
        memory: ByteCount(1 << 30),
        gpu: Some(GpuOffer {
            class: "gl".into(),
            memory: ByteCount(1 << 30),
            buffer: ByteCount(128 << 20),
            invocations: 256,
            workgroup_memory: 16 * 1024,
        }),
        profiles: vec![Profile::Deterministic, Profile::Open],
        price: PRICE,
        labels: vec![("region".into(), "eu".into())],
        meter: METER,
        fuel_per_second: 2_500_000_000,
        one_tenant: false,
    }
}

pub(crate) const OFFER: &str = "
    04 61646974             # software: `adit`
    02                      # slots
    8080808004              # memory: 1 GiB
    01 02 676c              # gpu: some, class `gl`
    8080808004              # gpu.memory: 1 GiB
    80808040                # gpu.buffer: 128 MiB
    8002                    # gpu.invocations: 256
    808001                  # gpu.workgroup_memory: 16 KiB
    02 00 01                # profiles: two, deterministic and open
    e807 64 32 46 a846      # price: 1,000, 100, 50, 70, 9,000
    01 06 726567696f6e 02 6575  # labels: one, `region` = `eu`
    3e*32                   # meter
    80f28ba809              # fuel_per_second: 2.5 x 10^9
    00                      # one_tenant: no
";

fn status() -> JobStatus {
    JobStatus { job: JOB, module: MODULE.digest, submitted: UnixMillis(1_700_000_000_000), state: JobState::Queued }
}

const STATUS: &str = "
    0b*16                   # job
    4d*32                   # module
    80d095ffbc31            # submitted: 1,700,000,000,000 ms
    00                      # state: queued
";

fn node_status() -> NodeStatus {
    NodeStatus {
        node: NODE,
        offer: offer(),
        state: NodeState::Draining,
        slots_used: 1,
        rtt_us: 20_000,
        rtt_spread_us: 1_500,
        fuel_per_second: 2_000_000_000,
        reputation: 990,
        jobs_done: 300,
        receipts_refused: 7,
    }
}

const NODE_STATUS_AFTER_OFFER: &str = "
    01                      # state: draining
    01                      # slots_used
    a09c01                  # rtt_us: 20,000
    dc0b                    # rtt_spread_us: 1,500
    80a8d6b907              # fuel_per_second: 2 x 10^9
    de07                    # reputation: 990 thousandths
    ac02                    # jobs_done: 300
    07                      # receipts_refused
";

fn candidate() -> Candidate {
    Candidate {
        node: NODE,
        predicted: Prediction { rtt_us: 20_000, queue_us: 0, fetch_us: 300, compile_us: 400_000, run_us: 3_000_000 },
        price: Microcredits(700),
        score: 850,
        verdict: Verdict::Unfit(UnfitReason::Deadline),
    }
}

const CANDIDATE_BEFORE_VERDICT: &str = "
    ed*32                   # node
    a09c01                  # predicted.rtt_us: 20,000
    00                      # predicted.queue_us: none
    ac02                    # predicted.fetch_us: 300
    80b518                  # predicted.compile_us: 400,000
    c08db701                # predicted.run_us: 3,000,000
    bc05                    # price: 700
    d206                    # score: 850
";

fn decision() -> Decision {
    Decision {
        attempt: Attempt(2),
        is_hedge: true,
        waited_us: 12_000,
        prefer: Preference::Fast,
        fuel: Fuel(60_000_000_000),
        is_fuel_known: true,
        is_first_free: false,
        is_next: false,
        candidates: vec![candidate(), Candidate { verdict: Verdict::Chosen, ..candidate() }],
        unfit: vec![(UnfitReason::NotReady, 3)],
        full: 4,
        others: 300,
    }
}

fn decision_dump() -> String {
    format!(
        "02                     # attempt
         01                     # is_hedge
         e05d                   # waited_us: 12,000
         00                     # prefer: fast
         80b09dc2df01           # fuel: 60 x 10^9
         01                     # is_fuel_known
         00                     # is_first_free: no
         00                     # is_next: no
         02                     # candidates: two
         {CANDIDATE_BEFORE_VERDICT}
         03 09                  # verdict: Unfit, Deadline
         {CANDIDATE_BEFORE_VERDICT}
         00                     # verdict: Chosen
         01 06 03               # unfit: one row, NotReady 3
         04                     # full
         ac02                   # others: 300"
    )
}

fn node_record() -> NodeRecord {
    NodeRecord {
        state: NodeState::Ready,
        reputation: 990,
        verdicts: vec![(Verdict::Worse, 300), (Verdict::Unfit(UnfitReason::Label), 1)],
        passed: vec![Passed {
            job: JOB,
            time: UnixMillis(7),
            candidate: Candidate { verdict: Verdict::Full, ..candidate() },
            chosen: Candidate { verdict: Verdict::Chosen, ..candidate() },
        }],
    }
}

fn node_record_dump() -> String {
    format!(
        "00                     # state: ready
         de07                   # reputation: 990 thousandths
         02                     # verdicts: two
         02 ac02                # Worse, 300 times
         03 01 01               # Unfit by Label, once
         01                     # passed: one
         0b*16                  # job
         07                     # time: 7 ms
         {CANDIDATE_BEFORE_VERDICT}
         04                     # candidate.verdict: Full
         {CANDIDATE_BEFORE_VERDICT}
         00                     # chosen.verdict: Chosen"
    )
}

#[test]
fn version_and_application_protocol() {
    assert_eq!((PROTOCOL_VERSION, ALPN), (8, &b"adit/8"[..]));
}

#[test]
fn greetings() {
    check_frames(&greeting_pins());
}

pub(crate) fn greeting_pins() -> Vec<Pin<Greeting>> {
    vec![
        (
            Greeting::Client { software: "adit".into() },
            "07000000 08            # length 7, version 8
             00                     # Client
             04 61646974            # software: `adit`"
                .into(),
        ),
        (
            Greeting::Node {
                offer: offer(),
                state: NodeState::Paused("hot".into()),
                cached: vec![MODULE.digest],
                token: Some("key".into()),
            },
            format!(
                "85000000 08        # length 133, version 8
                 01                 # Node
                 {OFFER}
                 02 03 686f74       # state: Paused, `hot`
                 01 4d*32           # cached: one digest
                 01 03 6b6579       # token: some, `key`"
            ),
        ),
    ]
}

#[test]
fn client_messages() {
    check_frames(&client_message_pins());
}

pub(crate) fn client_message_pins() -> Vec<Pin<ClientMessage>> {
    vec![
        (
            ClientMessage::Submit {
                key: IdempotencyKey([0x1d; 16]),
                spec: Box::new(spec()),
                input: Some(b"hello".to_vec()),
                since_ms: 300,
            },
            format!(
                "02010000 08        # length 258, version 8
                 00                 # Submit
                 1d*16              # key
                 {SPEC}
                 01 05 68656c6c6f   # input: some, 5 bytes
                 ac02               # since_ms: 300"
            ),
        ),
        (
            ClientMessage::Attach { job: JOB },
            "12000000 08            # length 18, version 8
             01                     # Attach
             0b*16                  # job"
                .into(),
        ),
        (
            ClientMessage::Cancel { job: JOB },
            "12000000 08            # length 18, version 8
             02                     # Cancel
             0b*16                  # job"
                .into(),
        ),
        (
            ClientMessage::Ask { request: 300, query: Query::Nodes },
            "05000000 08            # length 5, version 8
             03                     # Ask
             ac02                   # request: 300
             02                     # query: Nodes"
                .into(),
        ),
    ]
}

#[test]
fn first_submission_without_inline_input_ends_in_two_zeros() {
    let message = ClientMessage::Submit { key: IdempotencyKey([0x1d; 16]), spec: Box::new(spec()), input: None, since_ms: 0 };
    check_bytes(&(message, format!("00 1d*16 {SPEC} 00 00 # input: none; since_ms: 0")));
}

#[test]
fn queries() {
    check_values(&query_pins());
}

pub(crate) fn query_pins() -> Vec<Pin<Query>> {
    vec![
        (Query::Job(JOB), "00 0b*16 # Job: job".into()),
        (Query::Jobs { limit: 200 }, "01 c801 # Jobs: limit 200".into()),
        (Query::Nodes, "02 # Nodes".into()),
        (Query::Receipts { from: 300, limit: 200 }, "03 ac02 c801 # Receipts: from 300, limit 200".into()),
        (Query::Account, "04 # Account".into()),
        (
            Query::Order(Order::Grant { id: TransferId([0x1d; 16]), customer: CLIENT, amount: Microcredits(300) }),
            "05 00 1d*16 c1*32 ac02 # Order, Grant: id, customer, 300 microcredits".into(),
        ),
        (Query::Statement { from: 300, limit: 200 }, "06 ac02 c801 # Statement: from 300, limit 200".into()),
        (Query::Holds, "07 # Holds".into()),
        (Query::Unpaid { from: 300, limit: 200 }, "08 ac02 c801 # Unpaid: from 300, limit 200".into()),
        (Query::Proof(JOB), "09 0b*16 # Proof: job".into()),
        (Query::Log, "0a # Log".into()),
        (Query::Backup, "0b # Backup".into()),
        (Query::Why(JOB), "0c 0b*16 # Why: job".into()),
        (Query::WhyNot(NODE), "0d ed*32 # WhyNot: node".into()),
        (Query::AttemptProof { job: JOB, attempt: Attempt(300) }, "0e 0b*16 ac02 # AttemptProof: job, attempt 300".into()),
        (Query::HoldsAfter { expires: UnixMillis(300), job: JOB }, "0f ac02 0b*16 # HoldsAfter: expires 300 ms, job".into()),
    ]
}

#[test]
fn gateway_to_client_messages() {
    check_frames(&gateway_to_client_pins());
}

pub(crate) fn gateway_to_client_pins() -> Vec<Pin<GatewayToClient>> {
    vec![
        (
            GatewayToClient::Welcome { software: "adit".into() },
            "07000000 08            # length 7, version 8
             00                     # Welcome
             04 61646974            # software: `adit`"
                .into(),
        ),
        (
            GatewayToClient::Rejected(Rejection::Full { retry_after_ms: 1_000 }),
            "05000000 08            # length 5, version 8
             01                     # Rejected
             00 e807                # Full: retry after 1,000 ms"
                .into(),
        ),
        (
            GatewayToClient::Accepted { job: JOB },
            "12000000 08            # length 18, version 8
             02                     # Accepted
             0b*16                  # job"
                .into(),
        ),
        (
            GatewayToClient::NeedBlobs { job: JOB, missing: vec![MODULE.digest, INPUT.digest] },
            "53000000 08            # length 83, version 8
             03                     # NeedBlobs
             0b*16                  # job
             02 4d*32 14*32         # missing: two digests"
                .into(),
        ),
        (
            GatewayToClient::Event { job: JOB, event: Box::new(JobEvent::Queued) },
            "13000000 08            # length 19, version 8
             04                     # Event
             0b*16                  # job
             00                     # event: Queued"
                .into(),
        ),
        (
            GatewayToClient::Answer { request: 300, answer: Answer::Job(None) },
            "06000000 08            # length 6, version 8
             05                     # Answer
             ac02                   # request: 300
             00 00                  # answer: Job, none"
                .into(),
        ),
    ]
}

#[test]
fn job_events() {
    check_values(&job_event_pins());
}

/// Each event as it stands in an `Event` frame.
pub(crate) fn job_event_pins() -> Vec<Pin<JobEvent>> {
    vec![
        (JobEvent::Queued, "00 # Queued".into()),
        (
            JobEvent::Started { node: NODE, attempt: Attempt(2) },
            "01                     # Started
             ed*32                  # node
             02                     # attempt"
                .into(),
        ),
        (
            JobEvent::Progress { done: 300, total: 0 },
            "02                     # Progress
             ac02                   # done: 300
             00                     # total: unknown"
                .into(),
        ),
        (
            JobEvent::Ended(JobResult::CancelledInQueue),
            "03                     # Ended
             02                     # CancelledInQueue"
                .into(),
        ),
        (
            JobEvent::Settled(signed_settlement()),
            format!(
                "04                 # Settled
                 {SETTLEMENT}
                 {PROOF}"
            ),
        ),
        (JobEvent::Interim(Box::new(signed_receipt())), format!("05 # Interim\n {}", signed_receipt_dump())),
    ]
}

#[test]
fn job_results() {
    check_values(&job_result_pins());
}

/// Each result as it stands in an `Ended` event.
pub(crate) fn job_result_pins() -> Vec<Pin<JobResult>> {
    vec![
        (
            JobResult::Done {
                receipt: Box::new(signed_receipt()),
                reason: "no".into(),
                output: Some(b"out".to_vec()),
                queue_us: 150,
                rtt_us: 20_000,
            },
            format!(
                "00                 # Done
                 {}
                 02 6e6f            # reason: `no`
                 01 03 6f7574       # output: some, 3 bytes
                 9601               # queue_us: 150
                 a09c01             # rtt_us: 20,000",
                signed_receipt_dump()
            ),
        ),
        (
            JobResult::Refused(Refusal::KeyConflict),
            "01                     # Refused
             06                     # KeyConflict"
                .into(),
        ),
        (JobResult::CancelledInQueue, "02 # CancelledInQueue".into()),
        (
            JobResult::NodeLost { attempts: 2, reason: "gone".into() },
            "03                     # NodeLost
             02                     # attempts
             04 676f6e65            # reason: `gone`"
                .into(),
        ),
    ]
}

#[test]
fn refusals() {
    check_values(&refusal_pins());
}

pub(crate) fn refusal_pins() -> Vec<Pin<Refusal>> {
    vec![
        (
            Refusal::QueueFull { queued: 200, retry_after_ms: 1_000 },
            "00 c801 e807 # QueueFull: 200 queued, retry after 1,000 ms".into(),
        ),
        (
            Refusal::NoNodeFits { nodes: vec![(UnfitReason::Memory, 3), (UnfitReason::Slots, 1)] },
            "01 02 02 03 03 01 # NoNodeFits: two rows, Memory 3 and Slots 1".into(),
        ),
        (Refusal::QueueTimeout { waited_ms: 300_000 }, "02 e0a712 # QueueTimeout: waited 300,000 ms".into()),
        (Refusal::SpecTooLarge("big".into()), "03 03 626967 # SpecTooLarge: `big`".into()),
        (Refusal::ModuleInvalid("bad".into()), "04 03 626164 # ModuleInvalid: `bad`".into()),
        (Refusal::InputMissing(INPUT.digest), "05 14*32 # InputMissing: digest".into()),
        (Refusal::KeyConflict, "06 # KeyConflict".into()),
        (Refusal::UnknownJob, "07 # UnknownJob".into()),
        (Refusal::LedgerUnavailable("full".into()), "08 04 66756c6c # LedgerUnavailable: `full`".into()),
        (
            Refusal::InsufficientCredit { available: Microcredits(5), needed: Microcredits(300) },
            "09 05 ac02 # InsufficientCredit: 5 available, 300 needed".into(),
        ),
        (Refusal::RateLimited { retry_after_ms: 1_000 }, "0a e807 # RateLimited: retry after 1,000 ms".into()),
        (
            Refusal::DeadlineMissed { left_ms: 300, needed_ms: 1_000 },
            "0b ac02 e807 # DeadlineMissed: 300 ms left, 1,000 ms needed".into(),
        ),
        (
            Refusal::ShareFull { what: "yours".into(), retry_after_ms: 1_000 },
            "0c 05 796f757273 e807 # ShareFull: `yours`, retry after 1,000 ms".into(),
        ),
    ]
}

#[test]
fn unfit_reasons() {
    check_values(&unfit_reason_pins());
}

pub(crate) fn unfit_reason_pins() -> Vec<Pin<UnfitReason>> {
    vec![
        (UnfitReason::Profile, "00".into()),
        (UnfitReason::Label, "01".into()),
        (UnfitReason::Memory, "02".into()),
        (UnfitReason::Slots, "03".into()),
        (UnfitReason::Price, "04".into()),
        (UnfitReason::FailedBefore, "05".into()),
        (UnfitReason::NotReady, "06".into()),
        (UnfitReason::Declined, "07".into()),
        (UnfitReason::Reputation, "08".into()),
        (UnfitReason::Deadline, "09".into()),
        (UnfitReason::Gpu, "0a".into()),
        (UnfitReason::GpuMemory, "0b".into()),
        (UnfitReason::GpuBuffer, "0c".into()),
        (UnfitReason::GpuInvocations, "0d".into()),
        (UnfitReason::GpuWorkgroupMemory, "0e".into()),
    ]
}

#[test]
fn rejections() {
    check_values(&rejection_pins());
}

pub(crate) fn rejection_pins() -> Vec<Pin<Rejection>> {
    vec![
        (Rejection::Full { retry_after_ms: 1_000 }, "00 e807 # Full: retry after 1,000 ms".into()),
        (Rejection::BadOffer("odd".into()), "01 03 6f6464 # BadOffer: `odd`".into()),
        (Rejection::NotAdmitted("no".into()), "02 02 6e6f # NotAdmitted: `no`".into()),
    ]
}

#[test]
fn answers() {
    check_values(&answer_pins());
}

/// Each answer as it stands in an `Answer` frame.
pub(crate) fn answer_pins() -> Vec<Pin<Answer>> {
    vec![
        (Answer::Job(Some(Box::new(status()))), format!("00 01 # Job: some\n {STATUS}")),
        (Answer::Jobs(vec![status(), status()]), format!("01 02 # Jobs: two\n {STATUS} {STATUS}")),
        (
            Answer::Nodes(vec![node_status()]),
            format!(
                "02 01              # Nodes: one
                 ed*32              # node
                 {OFFER}
                 {NODE_STATUS_AFTER_OFFER}"
            ),
        ),
        (
            Answer::Receipts { rows: vec![(300, signed_receipt())], next: Some(301) },
            format!(
                "03                 # Receipts
                 01 ac02            # rows: one, ledger index 300
                 {}
                 01 ad02            # next: some, 301",
                signed_receipt_dump()
            ),
        ),
        (Answer::Unavailable("busy".into()), "04 04 62757379 # Unavailable: `busy`".into()),
        (
            Answer::Account(AccountStatus { available: Microcredits(300), held: Microcredits(7), earned: Microcredits(0) }),
            "05 ac02 07 00 # Account: 300 available, 7 held, none earned".into(),
        ),
        (Answer::Ordered(300), "06 ac02 # Ordered: leaf 300".into()),
        (Answer::OrderRefused("no".into()), "07 02 6e6f # OrderRefused: `no`".into()),
        (
            Answer::Statement { rows: vec![(300, LeafBytes(vec![1, 2]))], next: None },
            "08 01 ac02 02 0102 00 # Statement: one, ledger index 300, a leaf of two bytes; no next".into(),
        ),
        (
            Answer::Holds(vec![HoldStatus { job: JOB, amount: Microcredits(300), expires: UnixMillis(7) }]),
            "09 01 0b*16 ac02 07 # Holds: one; job, 300 microcredits, until 7 ms".into(),
        ),
        (
            Answer::Unpaid {
                rows: vec![(300, UnpaidAttempt { job: JOB, attempt: Attempt(1), time: UnixMillis(7), reason: "no".into() })],
                next: Some(301),
            },
            "0a 01 ac02 0b*16 01 07 02 6e6f 01 ad02 # Unpaid: one, number 300; job, attempt, 7 ms, `no`; next: some, 301".into(),
        ),
        (Answer::Proof(Some("p".into())), "0b 01 01 70 # Proof: some, `p`".into()),
        (
            Answer::Log(LogStatus { url: Some("u".into()), checkpoint: None }),
            "0c 01 01 75 00 # Log: url: some, `u`; no checkpoint".into(),
        ),
        (Answer::BackedUp { path: "f".into(), leaves: 300 }, "0d 01 66 ac02 # BackedUp: `f`, 300 leaves".into()),
        (
            Answer::Why(vec![(UnixMillis(300), Step::Started(decision()))]),
            format!(
                "0e 01              # Why: one step
                 ac02               # time: 300 ms
                 00                 # Started
                 {}",
                decision_dump()
            ),
        ),
        (Answer::WhyNot(Some(Box::new(node_record()))), format!("0f 01 # WhyNot: some\n {}", node_record_dump())),
    ]
}

#[test]
fn steps() {
    check_values(&step_pins());
}

pub(crate) fn step_pins() -> Vec<Pin<Step>> {
    let wait = Wait { unfit: vec![(UnfitReason::Gpu, 3)], full: 2, queued: 300, ahead: 4, clients: 5 };
    vec![
        (Step::Started(decision()), format!("00 # Started\n {}", decision_dump())),
        (
            Step::Waits(wait),
            "01                     # Waits
             01 0a 03               # unfit: one row, Gpu 3
             02                     # full
             ac02                   # queued: 300
             04                     # ahead
             05                     # clients"
                .into(),
        ),
        (Step::Refused(Refusal::KeyConflict), "02 06 # Refused: KeyConflict".into()),
        (Step::Lost { attempts: 2, reason: "gone".into() }, "03 02 04 676f6e65 # Lost: 2 attempts, `gone`".into()),
    ]
}

#[test]
fn comparisons() {
    check_values(&comparison_pins());
}

pub(crate) fn comparison_pins() -> Vec<Pin<Comparison>> {
    vec![
        (Comparison::Exact, "00".into()),
        (Comparison::Class, "01".into()),
        (Comparison::Tolerance(TOLERANCE), "02 e807 904e # Tolerance: 1,000 and 10,000 x 10^-9".into()),
    ]
}

#[test]
fn node_states() {
    check_values(&node_state_pins());
}

pub(crate) fn node_state_pins() -> Vec<Pin<NodeState>> {
    vec![
        (NodeState::Ready, "00 # Ready".into()),
        (NodeState::Draining, "01 # Draining".into()),
        (NodeState::Paused("hot".into()), "02 03 686f74 # Paused: `hot`".into()),
    ]
}

#[test]
fn verdicts() {
    check_values(&verdict_pins());
}

pub(crate) fn verdict_pins() -> Vec<Pin<Verdict>> {
    vec![
        (Verdict::Chosen, "00".into()),
        (Verdict::NotDrawn, "01".into()),
        (Verdict::Worse, "02".into()),
        (Verdict::Unfit(UnfitReason::Reputation), "03 08 # Unfit: Reputation".into()),
        (Verdict::Full, "04".into()),
    ]
}

#[test]
fn preferences() {
    check_values(&preference_pins());
}

pub(crate) fn preference_pins() -> Vec<Pin<Preference>> {
    vec![(Preference::Fast, "00".into()), (Preference::Balanced, "01".into()), (Preference::Cheap, "02".into())]
}

#[test]
fn job_states() {
    check_values(&job_state_pins());
}

pub(crate) fn job_state_pins() -> Vec<Pin<JobState>> {
    vec![
        (JobState::Queued, "00 # Queued".into()),
        (
            JobState::Running { node: NODE, attempt: Attempt(1), progress: Some((3, 9)) },
            "01 ed*32 01 01 03 09 # Running: node, attempt, progress: some, 3 of 9".into(),
        ),
        (
            JobState::Done { outcome: Outcome::OutOfFuel, cost: Microcredits(300), node: NODE, settled: true },
            "02 01 ac02 ed*32 01 # Done: outcome, cost 300, node, settled".into(),
        ),
        (JobState::Failed("gone".into()), "03 04 676f6e65 # Failed: `gone`".into()),
    ]
}

#[test]
fn node_messages() {
    check_frames(&node_message_pins());
}

pub(crate) fn node_message_pins() -> Vec<Pin<NodeMessage>> {
    vec![
        (
            NodeMessage::Started { job: JOB, attempt: Attempt(2) },
            "13000000 08            # length 19, version 8
             00                     # Started
             0b*16 02               # job, attempt"
                .into(),
        ),
        (
            NodeMessage::Log { job: JOB, attempt: Attempt(2), bytes: b"line\n".to_vec() },
            "19000000 08            # length 25, version 8
             01                     # Log
             0b*16 02               # job, attempt
             05 6c696e650a          # bytes: 5"
                .into(),
        ),
        (
            NodeMessage::Progress { job: JOB, attempt: Attempt(2), done: 300, total: 400 },
            "17000000 08            # length 23, version 8
             02                     # Progress
             0b*16 02               # job, attempt
             ac02 9003              # done: 300, total: 400"
                .into(),
        ),
        (
            NodeMessage::Finished { receipt: Box::new(signed_receipt()), reason: String::new(), output: None },
            format!(
                "dc010000 08        # length 476, version 8
                 03                 # Finished
                 {}
                 00                 # reason: empty
                 00                 # output: none",
                signed_receipt_dump()
            ),
        ),
        (
            NodeMessage::Failed { job: JOB, attempt: Attempt(2), failure: AttemptFailure::Withdrawn },
            "14000000 08            # length 20, version 8
             04                     # Failed
             0b*16 02               # job, attempt
             03                     # failure: Withdrawn"
                .into(),
        ),
        (
            NodeMessage::Offer(Box::new(offer())),
            format!(
                "5a000000 08        # length 90, version 8
                 05                 # Offer
                 {OFFER}"
            ),
        ),
        (
            NodeMessage::State(NodeState::Paused("hot".into())),
            "07000000 08            # length 7, version 8
             06                     # State
             02 03 686f74           # Paused: `hot`"
                .into(),
        ),
    ]
}

#[test]
fn attempt_failures() {
    check_values(&attempt_failure_pins());
}

pub(crate) fn attempt_failure_pins() -> Vec<Pin<AttemptFailure>> {
    vec![
        (AttemptFailure::ModuleInvalid("bad".into()), "00 03 626164 # ModuleInvalid: `bad`".into()),
        (AttemptFailure::BlobMissing(INPUT.digest), "01 14*32 # BlobMissing: digest".into()),
        (AttemptFailure::Node("odd".into()), "02 03 6f6464 # Node: `odd`".into()),
        (AttemptFailure::Withdrawn, "03 # Withdrawn".into()),
        (AttemptFailure::Declined("no".into()), "04 02 6e6f # Declined: `no`".into()),
        (AttemptFailure::Preempted("hot".into()), "05 03 686f74 # Preempted: `hot`".into()),
        (AttemptFailure::GpuAway("hung".into()), "06 04 68756e67 # GpuAway: `hung`".into()),
        (AttemptFailure::Busy, "07 # Busy".into()),
    ]
}

#[test]
fn gateway_to_node_messages() {
    check_frames(&gateway_to_node_pins());
}

pub(crate) fn gateway_to_node_pins() -> Vec<Pin<GatewayToNode>> {
    vec![
        (
            GatewayToNode::Welcome { software: "adit".into() },
            "07000000 08            # length 7, version 8
             00                     # Welcome
             04 61646974            # software: `adit`"
                .into(),
        ),
        (
            GatewayToNode::Rejected(Rejection::BadOffer("odd".into())),
            "07000000 08            # length 7, version 8
             01                     # Rejected
             01 03 6f6464           # BadOffer: `odd`"
                .into(),
        ),
        (
            GatewayToNode::Lease {
                job: JOB,
                attempt: Attempt(1),
                client: CLIENT,
                spec: Box::new(spec()),
                input: Some(b"hello".to_vec()),
            },
            format!(
                "21010000 08        # length 289, version 8
                 02                 # Lease
                 0b*16 01           # job, attempt
                 c1*32              # client
                 {SPEC}
                 01 05 68656c6c6f   # input: some, 5 bytes"
            ),
        ),
        (
            GatewayToNode::Cancel { job: JOB, attempt: Attempt(2) },
            "13000000 08            # length 19, version 8
             03                     # Cancel
             0b*16 02               # job, attempt"
                .into(),
        ),
    ]
}

#[test]
fn stream_requests() {
    check_frames(&stream_request_pins());
}

pub(crate) fn stream_request_pins() -> Vec<Pin<StreamRequest>> {
    vec![
        (
            StreamRequest::Put(MODULE),
            "24000000 08            # length 36, version 8
             00                     # Put
             4d*32 ac02             # blob: BLAKE3, 300 bytes"
                .into(),
        ),
        (
            StreamRequest::Get(INPUT.digest),
            "22000000 08            # length 34, version 8
             01                     # Get
             14*32                  # digest"
                .into(),
        ),
        (
            StreamRequest::Output { job: JOB, attempt: Attempt(2) },
            "13000000 08            # length 19, version 8
             02                     # Output
             0b*16 02               # job, attempt"
                .into(),
        ),
        (
            StreamRequest::Logs { job: JOB, offset: 300 },
            "14000000 08            # length 20, version 8
             03                     # Logs
             0b*16                  # job
             ac02                   # offset: 300"
                .into(),
        ),
    ]
}

#[test]
fn stream_replies() {
    check_frames(&stream_reply_pins());
}

pub(crate) fn stream_reply_pins() -> Vec<Pin<StreamReply>> {
    vec![
        (
            StreamReply::Stored(MODULE),
            "24000000 08            # length 36, version 8
             00                     # Stored
             4d*32 ac02             # blob: BLAKE3, 300 bytes"
                .into(),
        ),
        (
            StreamReply::Found { bytes: 1 << 30 },
            "07000000 08            # length 7, version 8
             01                     # Found
             8080808004             # bytes: 1 GiB"
                .into(),
        ),
        (StreamReply::Following, "02000000 08 02 # length 2, version 8, Following".into()),
        (StreamReply::NotFound, "02000000 08 03 # length 2, version 8, NotFound".into()),
        (
            StreamReply::Refused("full".into()),
            "07000000 08            # length 7, version 8
             04                     # Refused
             04 66756c6c            # why: `full`"
                .into(),
        ),
        (
            StreamReply::Full { retry_after_ms: 1_000 },
            "04000000 08 05 e807 # length 4, version 8, Full, retry after 1,000 ms".into(),
        ),
    ]
}

#[test]
fn outcomes() {
    check_values(&outcome_pins());
}

pub(crate) fn outcome_pins() -> Vec<Pin<Outcome>> {
    vec![
        (Outcome::Finished { exit_code: 42 }, "00 54 # Finished: exit code 42 (zigzag)".into()),
        (Outcome::OutOfFuel, "01".into()),
        (Outcome::OutOfMemory, "02".into()),
        (Outcome::Trapped(TrapKind::StackOverflow), "03 08 # Trapped: StackOverflow".into()),
        (Outcome::TimedOut, "04".into()),
        (Outcome::Cancelled, "05".into()),
        (Outcome::OutputTooLarge, "06".into()),
        (Outcome::Preempted, "07".into()),
        (Outcome::OutOfGpuTime, "08".into()),
        (Outcome::GpuLost, "09".into()),
    ]
}

#[test]
fn trap_kinds() {
    check_values(&trap_kind_pins());
}

pub(crate) fn trap_kind_pins() -> Vec<Pin<TrapKind>> {
    vec![
        (TrapKind::Unreachable, "00".into()),
        (TrapKind::MemoryOutOfBounds, "01".into()),
        (TrapKind::TableOutOfBounds, "02".into()),
        (TrapKind::IndirectCallToNull, "03".into()),
        (TrapKind::BadSignature, "04".into()),
        (TrapKind::IntegerOverflow, "05".into()),
        (TrapKind::IntegerDivisionByZero, "06".into()),
        (TrapKind::BadConversionToInteger, "07".into()),
        (TrapKind::StackOverflow, "08".into()),
        (TrapKind::HostCall, "09".into()),
        (TrapKind::Other, "0a".into()),
    ]
}

#[test]
fn profiles() {
    check_values(&[(Profile::Deterministic, "00".into()), (Profile::Open, "01".into())]);
}

#[test]
fn exit_codes_are_zigzag_over_their_whole_range() {
    for (exit_code, dump) in [(0, "00"), (-1, "01"), (1, "02"), (i32::MAX, "feffffff0f"), (i32::MIN, "ffffffff0f")] {
        check_bytes(&(Outcome::Finished { exit_code }, format!("00 {dump}")));
    }
}

#[test]
fn specification_and_its_digest() {
    check_bytes(&(spec(), SPEC.to_owned()));
    assert_eq!(spec().digest(), Digest::of(&dump::bytes(SPEC)));
}

#[test]
fn order_of_a_payout() {
    let order = Order::Payout { id: TransferId([0x1d; 16]), owner: NODE, amount: Microcredits(7) };
    check_bytes(&(order, "01 1d*16 ed*32 07 # Payout: id, owner, 7 microcredits".to_owned()));
}

#[test]
fn job_id() {
    // BLAKE3 in key-derivation mode over client key and idempotency key, cut to 16 bytes.
    let mut hasher = blake3::Hasher::new_derive_key("adit job id v1");
    hasher.update(&dump::bytes("c1*32 1d*16"));
    let want = JobId(hasher.finalize().as_bytes()[..16].try_into().unwrap());
    let id = JobId::derive(&CLIENT, &IdempotencyKey([0x1d; 16]));
    assert_eq!(id, want);
    assert_eq!(id.to_string(), "53acd60687372508d88b4203b5db9d57");
}

#[test]
fn signed_receipt_bytes() {
    let pin = (signed_receipt(), signed_receipt_dump());
    check_bytes(&pin);
    assert_eq!(pin.0.to_bytes(), dump::bytes(&pin.1));
    assert_eq!(SignedReceipt::from_bytes(&dump::bytes(&pin.1)), Ok(pin.0));
}

#[test]
fn signed_settlement_bytes() {
    check_bytes(&(signed_settlement(), format!("{SETTLEMENT} {PROOF}")));
}

/// What a node signs for two receipts at once, written out by hand: the leaves, the root, and the bytes under the signature.
#[test]
fn receipt_signature_covers_domain_size_and_root() {
    let node = SecretKey::from_seed([4; 32]);
    let receipts = vec![receipt(node.public()), Receipt { attempt: Attempt(2), ..receipt(node.public()) }];
    let leaves = receipts.iter().map(|r| sha256(&[&[0], &public_bytes(r)])).collect::<Vec<_>>();
    let root = sha256(&[&[1], &leaves[0], &leaves[1]]);
    let message = [RECEIPT_DOMAIN.as_bytes(), &[0], &2u32.to_le_bytes(), &root].concat();

    let signed = sign_receipts(&node, receipts);
    assert_eq!((signed[0].proof.path.as_slice(), signed[1].proof.path.as_slice()), (&leaves[1..], &leaves[..1]));
    for receipt in signed {
        assert!(ed25519_verifies(&node.public(), &message, &receipt.proof.signature));
        receipt.verify().unwrap();
    }
}

#[test]
fn settlement_signature_covers_domain_size_and_root() {
    let gateway = SecretKey::from_seed([9; 32]);
    let settlement = Settlement { gateway: gateway.public(), ..signed_settlement().settlement };
    let statement = [&gateway.public().0[..], &dump::bytes(SETTLEMENT)[32..]].concat();
    let message = [b"adit settlement v1".as_slice(), &[0], &1u32.to_le_bytes(), &sha256(&[&[0], &statement])].concat();
    let signed = sign_settlements(&gateway, &[settlement]).remove(0);
    assert!(signed.proof.path.is_empty());
    assert!(ed25519_verifies(&gateway.public(), &message, &signed.proof.signature));
}

#[test]
fn digest_of_all_inputs_is_of_their_encoding() {
    let all = dump::bytes("14*32 01 05 772e62696e 3b*32 808040");
    assert_eq!(spec().input_digest(), Digest(blake3::derive_key("adit job inputs v1", &all)));
    assert_eq!(JobSpec { inputs: Vec::new(), ..spec() }.input_digest(), INPUT.digest);
}

/// The statement that a node signs of a receipt: its bytes without the salt, and with commitments in place of input and output.
fn public_bytes(receipt: &Receipt) -> Vec<u8> {
    let commit = |of: u8, digest: Digest| Digest(*blake3::keyed_hash(&SALT.0, &[&[of], digest.0.as_slice()].concat()).as_bytes());
    let (input, output) = (commit(0, receipt.input), commit(1, receipt.output));
    postcard::to_allocvec(&Receipt { input, output, salt: None, ..receipt.clone() }).unwrap()
}

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &parts.concat());
    digest.as_ref().try_into().unwrap()
}

fn ed25519_verifies(key: &PublicKey, message: &[u8], signature: &Signature) -> bool {
    use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
    UnparsedPublicKey::new(&ED25519, &key.0).verify(message, signature.0.as_ref()).is_ok()
}
