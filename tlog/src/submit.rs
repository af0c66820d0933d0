//! The log's side of a witness: its checkpoint, and the proof that it continues the one before, for a cosignature
//! (<https://c2sp.org/tlog-witness>).

use std::sync::Arc;
use std::time::Duration;

use adit_ledger::StoreError;
use rustls::crypto::aws_lc_rs;
use ureq::tls::{TlsConfig, TlsProvider};

use crate::checkpoint::{CheckpointError, SignedCheckpoint};
use crate::cosignature::{Cosignature, CosignatureError, verify_cosignature};
use crate::key::WitnessKey;
use crate::line::{parse_decimal, to_base64};
use crate::witness::{ADD_CHECKPOINT, SIZE_TYPE};

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a request may take in all.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a connection is kept for the next request: less than servers keep it, so that they seldom close it under one.
const IDLE_MAX: Duration = Duration::from_secs(5);

/// Bytes of an answer: the cosignatures of one witness.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// Letters of an answer's text that an error repeats.
const SHOWN_LETTERS_MAX: usize = 200;

/// What a witness gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosigned {
    /// Its cosignature.
    pub cosignature: Cosignature,
    /// The size of the tree that it cosigned: the old size of the next request.
    pub size: u64,
}

/// Why there is no cosignature.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// The witness cosigned a larger tree of this log than the log has. The log has lost leaves that it signed, as when an old backup was
    /// restored: it must not sign on.
    #[error("the witness cosigned a tree of {witness_size} leaves of this log, which has {size}: leaves were lost")]
    Ahead {
        /// The size that the witness knows.
        witness_size: u64,
        /// The checkpoint's size.
        size: u64,
    },
    /// The witness cosigned a tree of this log that does not continue in this one. The log has signed two histories, as when an old backup
    /// was restored and went on: it must not sign on.
    #[error("the witness cosigned another tree of {witness_size} leaves of this log: its history has changed")]
    Forked {
        /// The size of the tree that the witness cosigned.
        witness_size: u64,
    },
    /// What is to be cosigned is no checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The log cannot be read for a proof.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log has no proof between these sizes.
    #[error("the log does not prove that its tree of {old} leaves continues in that of {new}")]
    NoProof {
        /// The smaller size.
        old: u64,
        /// The larger size.
        new: u64,
    },
    /// There is no answer.
    #[error("the witness does not answer: {0}")]
    Http(Box<ureq::Error>),
    /// The witness does not cosign, for another reason.
    #[error("the witness answered {status}: {text}")]
    Refused {
        /// The status code.
        status: u16,
        /// The beginning of what it says.
        text: String,
    },
    /// The witness names one size, and then another.
    #[error("the witness does not stay with one size: asked from {old}, it wants {wanted}")]
    Unsteady {
        /// The size that was asked from.
        old: u64,
        /// The size that it wants to be asked from.
        wanted: u64,
    },
    /// The answer has no cosignature of this witness.
    #[error("the answer has no signature of the witness' key")]
    Missing,
    /// The answer's cosignature does not match.
    #[error("the witness' cosignature is wrong: {0}")]
    Cosignature(#[from] CosignatureError),
}

/// What asks witnesses: it gives up after some seconds, follows nobody elsewhere, and checks certificates by Mozilla's roots.
pub fn witness_agent() -> ureq::Agent {
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(aws_lc_rs::default_provider()))
        .build();
    let config = ureq::Agent::config_builder()
        .tls_config(tls)
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_global(Some(REQUEST_TIMEOUT))
        .max_idle_age(IDLE_MAX)
        .max_redirects(0)
        .http_status_as_error(false)
        .user_agent(concat!("adit/", env!("CARGO_PKG_VERSION")));
    config.build().new_agent()
}

/// Asks the witness with the submission prefix `url` to cosign a checkpoint of this log, a signed note. `last_size` is the size of the tree
/// that it cosigned last, as far as is known; zero where nothing is, and the witness then says it. `prove` makes the proof that the tree
/// of its first argument's leaves continues in that of the second's, as [`Reader::prove_growth`](adit_ledger::Reader::prove_growth) does;
/// it is not asked for what needs none. Blocks, at most twice for as long as `agent` lets a request take.
///
/// # Errors
/// [`SubmitError`]. After [`SubmitError::Ahead`] and [`SubmitError::Forked`] the log must not sign another checkpoint.
pub fn request_cosignature(
    agent: &ureq::Agent,
    url: &str,
    witness: &WitnessKey,
    last_size: u64,
    checkpoint: &[u8],
    mut prove: impl FnMut(u64, u64) -> Result<Option<Vec<[u8; 32]>>, StoreError>,
) -> Result<Cosigned, SubmitError> {
    let size = SignedCheckpoint::from_bytes(checkpoint)?.head().size;
    let url = format!("{}{ADD_CHECKPOINT}", url.trim_end_matches('/'));
    // What is known of the witness may be wrong, but the witness itself is not: it is asked even where it seems to be ahead.
    let mut old = if last_size > size { 0 } else { last_size };
    for is_last in [false, true] {
        let proof = if old == 0 || old == size {
            Vec::new()
        } else {
            prove(old, size)?.ok_or(SubmitError::NoProof { old, new: size })?
        };
        let answer = Answer::of(agent, &url, &request_body(old, &proof, checkpoint))?;
        match answer {
            Answer::Cosigned(lines) => return Ok(Cosigned { cosignature: find(&lines, checkpoint, witness)?, size }),
            Answer::Size(witness_size) if witness_size > size => return Err(SubmitError::Ahead { witness_size, size }),
            // Some witnesses name the size also where the root is another.
            Answer::Size(witness_size) if witness_size == old && old == size => return Err(SubmitError::Forked { witness_size }),
            Answer::Size(wanted) if is_last || wanted == old => return Err(SubmitError::Unsteady { old, wanted }),
            Answer::Size(wanted) => old = wanted,
            Answer::Conflict(_) if old == size => return Err(SubmitError::Forked { witness_size: old }),
            Answer::Unproven(_) if old > 0 => return Err(SubmitError::Forked { witness_size: old }),
            Answer::Conflict(text) => return Err(SubmitError::Refused { status: 409, text }),
            Answer::Unproven(text) => return Err(SubmitError::Refused { status: 422, text }),
            Answer::Other(status, text) => return Err(SubmitError::Refused { status, text }),
        }
    }
    unreachable!("the second answer is the last")
}

/// The body of an `add-checkpoint` call.
pub(crate) fn request_body(old: u64, proof: &[[u8; 32]], checkpoint: &[u8]) -> Vec<u8> {
    let mut head = format!("old {old}\n");
    for hash in proof {
        head += &format!("{}\n", to_base64(hash));
    }
    [head.as_bytes(), b"\n", checkpoint].concat()
}

/// What a witness says.
enum Answer {
    /// 200, with signature lines.
    Cosigned(String),
    /// 409, with the size of the tree that it cosigned last.
    Size(u64),
    /// 409, without one.
    Conflict(String),
    /// 422.
    Unproven(String),
    Other(u16, String),
}

impl Answer {
    fn of(agent: &ureq::Agent, url: &str, body: &[u8]) -> Result<Self, SubmitError> {
        let failed = |error| SubmitError::Http(Box::new(error));
        let mut response = agent.post(url).content_type("text/plain; charset=utf-8").send(body).map_err(failed)?;
        let status = response.status().as_u16();
        let kind = response.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let is_size = kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(SIZE_TYPE));
        let text = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).lossy_utf8(true).read_to_string().map_err(failed)?;
        if status == 409
            && is_size
            && let Some(size) = parse_decimal(text.strip_suffix('\n').unwrap_or(&text))
        {
            return Ok(Self::Size(size));
        }
        let shown = || text.trim().chars().take(SHOWN_LETTERS_MAX).collect();
        Ok(match status {
            200 => Self::Cosigned(text),
            409 => Self::Conflict(shown()),
            422 => Self::Unproven(shown()),
            _ => Self::Other(status, shown()),
        })
    }
}

/// The witness' own signature among the lines of an answer.
fn find(lines: &str, checkpoint: &[u8], witness: &WitnessKey) -> Result<Cosignature, SubmitError> {
    for line in lines.lines() {
        match verify_cosignature(checkpoint, line, witness) {
            Err(CosignatureError::Key { .. }) => {}
            found => return Ok(found?),
        }
    }
    Err(SubmitError::Missing)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::Mutex;

    use adit_protocol::SecretKey;
    use redb::backends::InMemoryBackend;

    use super::*;
    use crate::tree::Tree;
    use crate::{Cosigner, HttpResponse, HttpServer, UnixSeconds, Witness, log_key, sign_checkpoint};

    const NOW: UnixSeconds = UnixSeconds(1_700_000_000);

    fn log() -> SecretKey {
        SecretKey::from_seed([100; 32])
    }

    fn cosigner() -> Cosigner {
        Cosigner::new("witness.example/w1", SecretKey::from_seed([5; 32])).unwrap()
    }

    fn tree(of: &str, size: u64) -> Tree {
        Tree::of((0..size).map(|index| format!("{of} {index}").into_bytes()))
    }

    fn serve(handle: impl Fn(&[u8]) -> HttpResponse + Send + Sync + 'static) -> (HttpServer, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = HttpServer::spawn("test-witness", listener, move |request| {
            assert_eq!(request.path, "/prefix/add-checkpoint");
            handle(&request.body)
        });
        let server = server.unwrap();
        let url = format!("http://{}/prefix/", server.address());
        (server, url)
    }

    fn serve_witness() -> (HttpServer, String) {
        let witness = Witness::open_with(InMemoryBackend::new(), cosigner(), vec![log_key(&log().public())]).unwrap();
        serve(move |body| witness.add_checkpoint(body, NOW))
    }

    /// Asks for the cosignature of a tree, and says how often a proof was made.
    fn submit(url: &str, last_size: u64, tree: &Tree) -> (Result<Cosigned, SubmitError>, usize) {
        let (checkpoint, mut proofs) = (sign_checkpoint(&log(), &tree.head()), 0);
        let result = request_cosignature(&witness_agent(), url, cosigner().key(), last_size, &checkpoint, |old, new| {
            assert!(old > 0 && old < new && new == tree.head().size);
            proofs += 1;
            Ok(Some(tree.prove_growth(old)))
        });
        (result, proofs)
    }

    #[test]
    fn log_gets_its_cosignatures_as_it_grows() {
        let (_server, url) = serve_witness();
        let rows = [(0, 0, 0), (0, 1, 0), (1, 5, 1), (0, 9, 1), (3, 12, 2), (12, 12, 0), (99, 20, 1)];
        for (last_size, size, want_proofs) in rows {
            let (result, proofs) = submit(&url, last_size, &tree("a", size));
            let cosigned = result.unwrap();
            assert_eq!((cosigned.size, cosigned.cosignature.time, proofs), (size, NOW, want_proofs), "{last_size} to {size}");
        }
    }

    #[test]
    fn restored_backup_is_told_from_every_other_failure() {
        let (_server, url) = serve_witness();
        submit(&url, 0, &tree("a", 9)).0.unwrap();
        for last_size in [0, 5, 7, 9] {
            let error = submit(&url, last_size, &tree("a", 7)).0.unwrap_err();
            assert!(matches!(error, SubmitError::Ahead { witness_size: 9, size: 7 }), "{error}");
        }
        for (last_size, size) in [(0, 9), (9, 9), (0, 12), (9, 12), (4, 12)] {
            let error = submit(&url, last_size, &tree("b", size)).0.unwrap_err();
            assert!(matches!(error, SubmitError::Forked { witness_size: 9 }), "{error}");
        }
        submit(&url, 9, &tree("a", 12)).0.unwrap();
    }

    #[test]
    fn answers_of_all_sorts_end() {
        let size = |text: &str| HttpResponse { content_type: SIZE_TYPE, ..HttpResponse::text(409, text) };
        let other = Cosigner::new("other", SecretKey::from_seed([6; 32])).unwrap();
        let checkpoint = sign_checkpoint(&log(), &tree("a", 7).head());
        let (foreign, good) = (other.cosign(&checkpoint, NOW).unwrap().line, cosigner().cosign(&checkpoint, NOW).unwrap().line);
        let wrong = cosigner().cosign(&sign_checkpoint(&log(), &tree("a", 8).head()), NOW).unwrap().line;
        let rows: Vec<(HttpResponse, &str)> = vec![
            (HttpResponse::text(200, format!("{foreign}{good}")), "good"),
            (HttpResponse::text(200, good.trim_end()), "good"),
            (HttpResponse::text(200, ""), "the answer has no signature"),
            (HttpResponse::text(200, foreign), "the answer has no signature"),
            (HttpResponse::text(200, wrong), "the witness' cosignature is wrong"),
            (HttpResponse::text(200, "hello"), "the witness' cosignature is wrong"),
            (HttpResponse::text(200, "\u{2014}".repeat(40_000)), "the witness does not answer"),
            (HttpResponse::text(403, "\u{1b}no"), "the witness answered 403: \u{1b}no"),
            (HttpResponse::text(404, "no".repeat(1000)), "the witness answered 404: nono"),
            (HttpResponse::text(500, ""), "the witness answered 500"),
            (HttpResponse::text(302, ""), "the witness answered 302"),
            (HttpResponse::text(409, "8\n"), "the witness answered 409"),
            (size("08\n"), "the witness answered 409"),
            (size(""), "the witness answered 409"),
            (size("8\n"), "the witness cosigned a tree of 8 leaves"),
            (size("18446744073709551615"), "the witness cosigned a tree of 18446744073709551615"),
            (size("3\n"), "the witness does not stay with one size"),
            (size("5\n"), "the witness does not stay with one size"),
        ];
        for (response, want) in rows {
            let (_server, url) = serve(move |_| response.clone());
            let result = submit(&url, 3, &tree("a", 7)).0;
            let text = result.map_or_else(|error| error.to_string(), |cosigned| cosigned.cosignature.line.replace(&good, "good"));
            assert!(text.starts_with(want) && text.chars().count() < 300, "{text} instead of {want}");
        }
    }

    #[test]
    fn nobody_listening_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        for url in [url.as_str(), "nonsense", "ftp://x/", ""] {
            assert!(matches!(submit(url, 0, &tree("a", 7)).0, Err(SubmitError::Http(_))), "{url}");
        }
        // TLS is set up: what answers is no TLS server, and says so without a panic.
        let (_server, url) = serve_witness();
        assert!(matches!(submit(&url.replace("http:", "https:"), 0, &tree("a", 7)).0, Err(SubmitError::Http(_))));
    }

    #[test]
    fn proof_that_cannot_be_made_ends_it() {
        let (_server, url) = serve_witness();
        submit(&url, 0, &tree("a", 5)).0.unwrap();
        let (checkpoint, asked) = (sign_checkpoint(&log(), &tree("a", 7).head()), Mutex::new(Vec::new()));
        let result = request_cosignature(&witness_agent(), &url, cosigner().key(), 5, &checkpoint, |old, new| {
            asked.lock().unwrap().push((old, new));
            Ok(None)
        });
        assert!(matches!(result, Err(SubmitError::NoProof { old: 5, new: 7 })));
        assert_eq!(*asked.lock().unwrap(), [(5, 7)]);
        let bad = request_cosignature(&witness_agent(), &url, cosigner().key(), 5, b"nothing", |_, _| Ok(None));
        assert!(matches!(bad, Err(SubmitError::Checkpoint(_))));
    }
}
