use super::body::{Body, Signatures};

pub(crate) fn canonicalise(_body: &mut Body<'_>, _signatures: &Signatures) {}
