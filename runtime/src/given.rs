//! What the client of a job was told, so that it is not told twice where the job begins again.

/// What was given out of one job.
#[derive(Debug, Default)]
pub(crate) struct Given {
    log: Stream,
    output: Stream,
    /// How far the job said that it was.
    done: Option<u64>,
    /// What it must have done again before that is told.
    done_before: u64,
}

/// Bytes that were given out, and how many of them come again.
#[derive(Debug, Default)]
struct Stream {
    bytes: u64,
    repeated: u64,
}

impl Given {
    /// Whether nothing was given out.
    pub(crate) fn is_nothing(&self) -> bool {
        self.log.bytes == 0 && self.output.bytes == 0 && self.done.is_none()
    }

    /// The job begins again, and says all again.
    pub(crate) fn begin_again(&mut self) {
        self.log.repeated = self.log.bytes;
        self.output.repeated = self.output.bytes;
        self.done_before = self.done.unwrap_or(0);
    }

    /// What is new of a piece of log.
    pub(crate) fn log(&mut self, bytes: Vec<u8>) -> Option<Vec<u8>> {
        self.log.fresh(bytes)
    }

    /// What is new of a piece of output.
    pub(crate) fn output(&mut self, bytes: Vec<u8>) -> Option<Vec<u8>> {
        self.output.fresh(bytes)
    }

    /// Whether output was given out that has not come again.
    pub(crate) fn is_output_awaited(&self) -> bool {
        self.output.repeated > 0
    }

    /// Whether it is news that so much is done.
    pub(crate) fn progress(&mut self, done: u64) -> bool {
        let is_news = done >= self.done_before;
        if is_news {
            self.done = Some(done);
            self.done_before = 0;
        }
        is_news
    }
}

impl Stream {
    fn fresh(&mut self, mut bytes: Vec<u8>) -> Option<Vec<u8>> {
        let repeated = usize::try_from(self.repeated).map_or(bytes.len(), |repeated| repeated.min(bytes.len()));
        self.repeated -= repeated as u64;
        bytes.drain(..repeated);
        self.bytes += bytes.len() as u64;
        (!bytes.is_empty()).then_some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_is_not_given_again() {
        let mut given = Given::default();
        assert!(given.is_nothing());
        assert_eq!(given.log(b"abc".to_vec()), Some(b"abc".to_vec()));
        assert_eq!(given.output(b"12".to_vec()), Some(b"12".to_vec()));
        assert!(given.progress(5) && given.progress(3));
        given.begin_again();
        assert!(!given.is_nothing());
        // In other pieces than before.
        assert_eq!(given.log(b"a".to_vec()), None);
        assert_eq!(given.log(b"bcd".to_vec()), Some(b"d".to_vec()));
        assert_eq!(given.log(b"e".to_vec()), Some(b"e".to_vec()));
        assert!(given.is_output_awaited());
        assert_eq!(given.output(b"1".to_vec()), None);
        assert!(given.is_output_awaited());
        assert_eq!(given.output(b"23".to_vec()), Some(b"3".to_vec()));
        assert!(!given.is_output_awaited());
        assert!(!given.progress(2) && given.progress(3) && given.progress(0));
        given.begin_again();
        assert_eq!(given.log(b"abcdef".to_vec()), Some(b"f".to_vec()));
    }
}
