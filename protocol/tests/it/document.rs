//! `docs/wire-protocol.md` keeps up with the code: it names every variant with its number, and every limit with its value.

use std::fmt::Debug;

use adit_protocol::{ALPN, PROTOCOL_VERSION, limits};

use crate::dump::{Pin, bytes};
use crate::wire;

const DOCUMENT: &str = include_str!("../../../docs/wire-protocol.md");

/// Checks that the table of the enum `name` has a row for each variant, `| # | `Variant` |`.
fn check_table<M: Debug>(name: &str, pins: &[Pin<M>], header_bytes: usize) {
    let table = DOCUMENT.split_once(&format!("| # | `{name}` |")).unwrap_or_else(|| panic!("no table of {name}")).1;
    let table = table.split("\n\n").next().unwrap();
    for (value, dump) in pins {
        let debug = format!("{value:?}");
        let variant = debug.split(|c: char| !c.is_alphanumeric()).next().unwrap();
        let row = format!("| {} | `{variant}` |", bytes(dump)[header_bytes]);
        assert!(table.contains(&row), "{name}: no row `{row}`");
    }
}

#[test]
fn version_is_stated() {
    assert!(DOCUMENT.starts_with(&format!("# The wire protocol, version {PROTOCOL_VERSION}\n")));
    for row in [
        format!("| ALPN (RFC 7301) | `{}` |", str::from_utf8(ALPN).unwrap()),
        format!("| 1 | version | {PROTOCOL_VERSION} |"),
        format!("The domain is `{}` for a node's receipts", wire::RECEIPT_DOMAIN),
    ] {
        assert!(DOCUMENT.contains(&row), "no `{row}`");
    }
}

#[test]
fn every_message_is_described() {
    // Length and version stand before the variant of a frame.
    check_table("Greeting", &wire::greeting_pins(), 5);
    check_table("ClientMessage", &wire::client_message_pins(), 5);
    check_table("GatewayToClient", &wire::gateway_to_client_pins(), 5);
    check_table("NodeMessage", &wire::node_message_pins(), 5);
    check_table("GatewayToNode", &wire::gateway_to_node_pins(), 5);
    check_table("StreamRequest", &wire::stream_request_pins(), 5);
    check_table("StreamReply", &wire::stream_reply_pins(), 5);
    check_table("Query", &wire::query_pins(), 0);
    check_table("JobEvent", &wire::job_event_pins(), 0);
    check_table("JobResult", &wire::job_result_pins(), 0);
    check_table("Refusal", &wire::refusal_pins(), 0);
    check_table("UnfitReason", &wire::unfit_reason_pins(), 0);
    check_table("Rejection", &wire::rejection_pins(), 0);
    check_table("NodeState", &wire::node_state_pins(), 0);
    check_table("Verdict", &wire::verdict_pins(), 0);
    check_table("Preference", &wire::preference_pins(), 0);
    check_table("Answer", &wire::answer_pins(), 0);
    check_table("JobState", &wire::job_state_pins(), 0);
    check_table("AttemptFailure", &wire::attempt_failure_pins(), 0);
    check_table("Step", &wire::step_pins(), 0);
    check_table("Comparison", &wire::comparison_pins(), 0);
    check_table("Outcome", &wire::outcome_pins(), 0);
    check_table("TrapKind", &wire::trap_kind_pins(), 0);
}

#[test]
fn every_limit_is_stated() {
    let rows = [
        ("FRAME_BYTES_MAX", limits::FRAME_BYTES_MAX as u64),
        ("INLINE_BYTES_MAX", limits::INLINE_BYTES_MAX as u64),
        ("LOG_CHUNK_BYTES_MAX", limits::LOG_CHUNK_BYTES_MAX as u64),
        ("MODULE_BYTES_MAX", limits::MODULE_BYTES_MAX),
        ("BLOB_BYTES_MAX", limits::BLOB_BYTES_MAX),
        ("NAMED_INPUTS_MAX", limits::NAMED_INPUTS_MAX as u64),
        ("INPUT_NAME_BYTES_MAX", limits::INPUT_NAME_BYTES_MAX as u64),
        ("ARGS_MAX", limits::ARGS_MAX as u64),
        ("ENV_MAX", limits::ENV_MAX as u64),
        ("ARGS_ENV_BYTES_MAX", limits::ARGS_ENV_BYTES_MAX as u64),
        ("LABELS_MAX", limits::LABELS_MAX as u64),
        ("LABEL_BYTES_MAX", limits::LABEL_BYTES_MAX as u64),
        ("CACHED_MODULES_MAX", limits::CACHED_MODULES_MAX as u64),
        ("TOKEN_BYTES_MAX", limits::TOKEN_BYTES_MAX as u64),
        ("CANDIDATES_MAX", limits::CANDIDATES_MAX as u64),
        ("FUEL_MAX", limits::FUEL_MAX),
        ("MEMORY_BYTES_MAX", limits::MEMORY_BYTES_MAX),
        ("WALL_MS_MAX", limits::WALL_MS_MAX),
        ("GPU_NS_MAX", limits::GPU_NS_MAX),
        ("GPU_MEMORY_BYTES_MAX", limits::GPU_MEMORY_BYTES_MAX),
        ("GPU_BUFFERS_MAX", limits::GPU_BUFFERS_MAX.into()),
        ("GPU_PIPELINES_MAX", limits::GPU_PIPELINES_MAX.into()),
        ("GPU_DISPATCHES_MAX", limits::GPU_DISPATCHES_MAX),
        ("GPU_WORKGROUPS_MAX", limits::GPU_WORKGROUPS_MAX),
        ("GPU_INVOCATIONS_MAX", limits::GPU_INVOCATIONS_MAX.into()),
        ("GPU_WORKGROUP_BYTES_MAX", limits::GPU_WORKGROUP_BYTES_MAX.into()),
        ("GPU_CLASS_BYTES_MAX", limits::GPU_CLASS_BYTES_MAX as u64),
        ("LOG_BYTES_MAX", limits::LOG_BYTES_MAX),
        ("PRICE_COMPONENT_MAX", limits::PRICE_COMPONENT_MAX),
        ("BATCH_LEAVES_MAX", limits::BATCH_LEAVES_MAX as u64),
        ("REASON_BYTES_MAX", limits::REASON_BYTES_MAX as u64),
        ("LEAF_BYTES_MAX", limits::LEAF_BYTES_MAX as u64),
        ("ANSWER_ROWS_MAX", limits::ANSWER_ROWS_MAX as u64),
    ];
    for (name, value) in rows {
        assert!(DOCUMENT.contains(&format!("| `{name}` | {value} |")), "{name} is {value}");
    }
    let constants = include_str!("../../src/limits.rs").matches("\npub const ").count();
    assert_eq!(constants, rows.len() + 1, "every limit but FUEL_PER_COMPUTE_MINUTE, which is a unit");
}
