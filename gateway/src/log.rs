use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use tokio::sync::Notify;

/// What a reader gets at a time, and so what one that does not read on costs.
const PIECE_BYTES: usize = 64 * 1024;

/// What a guest wrote to standard error: grows while the job runs, and is followed by any number of readers. Bounded by the job's log
/// limit, which the node enforces and [`Log::append`] enforces again.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log(Rc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    content: RefCell<Content>,
    grown: Notify,
}

#[derive(Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    ended: bool,
}

impl Log {
    /// Adds what fits below `bytes_max`, and says how much that was.
    pub(crate) fn append(&self, bytes: &[u8], bytes_max: u64) -> usize {
        let mut content = self.0.content.borrow_mut();
        let room = usize::try_from(bytes_max).unwrap_or(usize::MAX).saturating_sub(content.bytes.len());
        let fits = bytes.len().min(room);
        content.bytes.extend_from_slice(&bytes[..fits]);
        self.0.grown.notify_waiters();
        fits
    }

    /// The same with a line of the gateway's, which begins none in the middle: a guest may end without a line's end.
    pub(crate) fn append_line(&self, line: &str, bytes_max: u64) -> usize {
        let is_in_line = self.0.content.borrow().bytes.last().is_some_and(|last| *last != b'\n');
        let break_before = if is_in_line { "\n" } else { "" };
        self.append(format!("{break_before}{line}\n").as_bytes(), bytes_max)
    }

    /// No more will come.
    pub(crate) fn end(&self) {
        self.0.content.borrow_mut().ended = true;
        self.0.grown.notify_waiters();
    }

    pub(crate) fn len(&self) -> usize {
        self.0.content.borrow().bytes.len()
    }

    /// What stands from `offset` on, waited for; nothing at the end.
    pub(crate) async fn read(&self, offset: usize) -> Option<Bytes> {
        loop {
            // Asked for before the look, so that what is appended in between is not missed.
            let grown = self.0.grown.notified();
            {
                let content = self.0.content.borrow();
                if let Some(rest) = content.bytes.get(offset..).filter(|rest| !rest.is_empty()) {
                    return Some(Bytes::copy_from_slice(&rest[..rest.len().min(PIECE_BYTES)]));
                }
                if content.ended {
                    return None;
                }
            }
            grown.await;
        }
    }
}
