//! The socket between supervisor and workers: any bytes, in any pieces, are messages or an error.

use adit_protocol::limits::REASON_BYTES_MAX;
use adit_protocol::{ByteCount, FRAME_HEADER_BYTES, Fuel, JobLimits};
use adit_runtime::lab::{Reader, receive};

const READERS: [Reader; 4] =
    [Reader::SandboxWorker, Reader::CompileWorker, Reader::SupervisorOfSandbox, Reader::SupervisorOfCompiler];

/// The first byte says how the others are read: one half of it by whom, if by all that is 4 and more, and the other half whether the
/// next ones are lengths of pieces. Returns how many messages there were.
pub(crate) fn check(bytes: &[u8]) -> usize {
    let Some((&how, rest)) = bytes.split_first() else { return 0 };
    let (lengths, stream) = rest.split_at(rest.len().min(usize::from(how >> 4)));
    let framed;
    let stream = if how & 8 == 0 {
        stream
    } else {
        // As one frame, so that a length need not be guessed.
        framed = [&(stream.len() as u32).to_le_bytes(), stream].concat();
        &framed
    };
    let readers = READERS.iter().enumerate().filter(|(index, _)| how & 4 != 0 || *index == usize::from(how & 3));
    readers.map(|(_, reader)| read(*reader, stream, lengths)).sum()
}

fn read(reader: Reader, stream: &[u8], lengths: &[u8]) -> usize {
    let limits = limits();
    let received = receive(reader, &pieces(stream, lengths), &limits);
    assert_eq!(receive(reader, &[stream], &limits), received, "{reader:?}: it matters in which pieces bytes come");

    // As we write them the messages are no longer than they came, and are read as the same ones.
    let again = received.frames.concat();
    assert!(again.len() <= stream.len(), "{reader:?}: {} bytes of {}", again.len(), stream.len());
    let read_again = receive(reader, &[&again], &limits);
    assert_eq!((&read_again.frames, &read_again.ended), (&received.frames, &Ok(())), "{reader:?}");
    assert_eq!(read_again.report, received.report, "{reader:?}");
    assert!(received.ended.is_ok() || stream.len() > again.len(), "{reader:?}: an error without bytes that made it");
    assert!(received.frames.iter().all(|frame| frame.len() > FRAME_HEADER_BYTES));

    if let Some(report) = received.report {
        let usage = report.usage;
        assert!(usage.fuel <= limits.fuel && usage.memory_peak <= limits.memory && usage.bytes_out <= limits.output, "{usage:?}");
        assert!(usage.memory_fuel <= u128::from(limits.fuel.0) * u128::from(limits.memory.0), "{usage:?}");
        assert!(report.reason.len() <= REASON_BYTES_MAX, "a reason of {} bytes", report.reason.len());
    }
    received.frames.len()
}

fn limits() -> JobLimits {
    JobLimits { fuel: Fuel(1_000), memory: ByteCount(1 << 16), output: ByteCount(40), log: ByteCount(20), ..JobLimits::default() }
}

/// A stream in pieces of these lengths, in turn; a length of 0 is all that is left.
fn pieces<'a>(mut stream: &'a [u8], lengths: &[u8]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for &length in lengths.iter().cycle() {
        if stream.is_empty() || length == 0 {
            break;
        }
        let (piece, rest) = stream.split_at(stream.len().min(length.into()));
        pieces.push(piece);
        stream = rest;
    }
    pieces.push(stream);
    pieces
}
