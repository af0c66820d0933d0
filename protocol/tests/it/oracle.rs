//! What must hold for any bytes at all. The tests beside this file and the fuzz targets in `fuzz/` call the same functions.

use std::fmt::Debug;

use adit_protocol::limits::FRAME_BYTES_MAX;
use adit_protocol::{
    Answer, Candidate, ClientMessage, FRAME_HEADER_BYTES, GatewayToClient, GatewayToNode, Greeting, JobEvent, JobResult, JobSpec,
    NodeMessage, Price, SignedReceipt, SignedSettlement, Step, StreamReply, StreamRequest, decode_exact, decode_frame,
    encode_frame, frame_length,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The body of a frame from a hostile peer is a message or an error, for each kind of message; a message survives its own encoding.
/// Returns how many kinds took it, so that a generator can tell whether it gets past the decoder.
pub(crate) fn frame(body: &[u8]) -> usize {
    // A longer body is refused by its header before it is read.
    if body.is_empty() || body.len() + FRAME_HEADER_BYTES > FRAME_BYTES_MAX {
        return 0;
    }
    let taken = [
        message::<Greeting>(body),
        message::<ClientMessage>(body),
        message::<GatewayToClient>(body),
        message::<NodeMessage>(body),
        message::<GatewayToNode>(body),
        message::<StreamRequest>(body),
        message::<StreamReply>(body),
    ];
    if let Ok(message) = decode_frame::<GatewayToClient>(body) {
        shown(&message);
    }
    taken.into_iter().filter(|taken| *taken).count()
}

/// What people are shown of a message is made without a panic, whatever numbers are in it.
fn shown(message: &GatewayToClient) {
    match message {
        GatewayToClient::Rejected(rejection) => assert!(!rejection.to_string().is_empty()),
        GatewayToClient::Event { event, .. } => {
            if let JobEvent::Ended(JobResult::Refused(refusal)) = &**event {
                // A refusal whose text is the peer's alone may have none.
                let _ = refusal.to_string();
            }
        }
        GatewayToClient::Answer { answer: Answer::Why(steps), .. } => {
            for (_, step) in steps {
                match step {
                    Step::Started(decision) => decision.candidates.iter().for_each(predicted),
                    Step::Refused(refusal) => _ = refusal.to_string(),
                    Step::Waits(_) | Step::Lost { .. } => {}
                }
            }
        }
        GatewayToClient::Answer { answer: Answer::WhyNot(Some(record)), .. } => {
            record.passed.iter().flat_map(|passed| [&passed.candidate, &passed.chosen]).for_each(predicted);
        }
        _ => {}
    }
}

/// A whole is never less than its longest part.
fn predicted(candidate: &Candidate) {
    let parts = candidate.predicted;
    let longest = [parts.rtt_us, parts.queue_us, parts.fetch_us, parts.compile_us, parts.run_us].into_iter().max();
    assert!(Some(parts.total_us()) >= longest, "{parts:?}");
}

fn message<M: Serialize + DeserializeOwned + PartialEq + Debug>(body: &[u8]) -> bool {
    let Ok(message) = decode_frame::<M>(body) else { return false };
    let mut frame = Vec::new();
    encode_frame(&message, &mut frame).expect("a message that was read can be written");
    let (header, again) = frame.split_first_chunk::<FRAME_HEADER_BYTES>().expect("a frame has a header");
    assert_eq!(frame_length(*header), Ok(again.len()));
    assert!(again == body, "a message has one encoding");
    true
}

/// The specification of a hostile client is checked and priced without a panic, and what passes the check has a price.
pub(crate) fn specification(bytes: &[u8]) -> bool {
    let Ok(spec) = decode_exact::<JobSpec>(bytes) else { return false };
    let checked = spec.check();
    let dearest = Price {
        per_compute_minute: 1 << 20,
        per_gib_compute_minute: 1 << 20,
        per_gib_in: 1 << 20,
        per_gib_out: 1 << 20,
        per_gpu_minute: 1 << 20,
    };
    let price = dearest.cost_max(&spec.limits, spec.bytes_in().0);
    assert!(checked.is_err() || price.is_ok(), "within the limits, yet without a price: {spec:?}");
    true
}

/// The bytes of a receipt file are a receipt or an error; a receipt has exactly one encoding, and its checks never panic. Its public form is
/// a receipt, which proves what it proves, and has no other public form.
pub(crate) fn receipt(bytes: &[u8]) -> bool {
    let Ok(signed) = SignedReceipt::from_bytes(bytes) else { return false };
    assert_eq!(signed.to_bytes(), bytes, "a receipt with two encodings has two digests");
    let public = signed.public();
    assert_eq!(public.public(), public, "what is public already stays as it is");
    assert_eq!(SignedReceipt::from_bytes(&public.to_bytes()).as_ref(), Ok(&public));
    assert_eq!(public.verify().is_ok(), signed.clone().verify().is_ok(), "the public form proves the same");
    if let Ok(verified) = signed.verify() {
        assert_eq!(verified.receipt().price.cost(&verified.receipt().usage), Ok(verified.receipt().cost));
    }
    true
}

/// The bytes of a settlement are a settlement or an error; checking it against a receipt never panics.
pub(crate) fn settlement(bytes: &[u8], of: &SignedReceipt) -> bool {
    let Ok(signed) = decode_exact::<SignedSettlement>(bytes) else { return false };
    if signed.verify(of).is_ok() {
        assert_eq!(signed.settlement.receipt, of.digest(), "a settlement of another receipt");
    }
    true
}
