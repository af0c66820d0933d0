use super::{Error, Session};

/// A compiled entry point of a shader. Dropping it gives it back; what was recorded with it still runs.
#[derive(Debug)]
pub struct Pipeline {
    session: Session,
    handle: u32,
}

impl Pipeline {
    pub(super) fn new(session: &Session, wgsl: &str, entry: &str) -> Result<Self, Error> {
        Ok(Self { handle: session.pipeline_create(wgsl, entry)?, session: session.clone() })
    }

    /// The handle, which means nothing to another session.
    pub(super) fn handle(&self, session: &Session) -> Result<u32, Error> {
        if self.session.is(session) { Ok(self.handle) } else { Err(Error::Invalid("the pipeline is of another GPU".into())) }
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        // It was made, and so it can be given back; an error would be the host's, with nobody to tell.
        let _ = self.session.pipeline_destroy(self.handle);
    }
}
