//! Says what the log is: a thread that signs a checkpoint of what is durable, has the witnesses cosign it, and only then shows it.

use std::fmt;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use adit_ledger::{Reader, StoreError, TreeHead};
use adit_protocol::SecretKey;
use adit_tlog::{
    Policy, PolicyError, PolicyWitness, Published, PublishedCheckpoint, SubmitError, log_key, request_cosignature,
    sign_checkpoint, with_cosignatures, witness_agent,
};

/// The shortest time between two checkpoints where nobody else is asked. A lone receipt's comes at once.
const INTERVAL: Duration = Duration::from_millis(100);

/// As [`INTERVAL`], where witnesses are asked, and how long after they were too few to ask again.
const WITNESSED_INTERVAL: Duration = Duration::from_secs(1);

/// Signs checkpoints.
#[derive(Debug)]
pub(crate) struct Signer {
    key: SecretKey,
    reader: Reader,
    published: Published,
    witnesses: Option<Witnesses>,
}

/// Who is asked to cosign.
#[derive(Debug)]
struct Witnesses {
    policy: Policy,
    agent: ureq::Agent,
    /// The size of the tree that each cosigned last, in the policy's order.
    sizes: Vec<u64>,
}

/// Why no checkpoint is shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// A witness has seen more of this log than there is, or something else. Nothing more must be signed.
    #[error(
        "witness {witness}: {error}; this ledger is an older backup, or a copy of one that went on elsewhere: restore the newest"
    )]
    Contradicted {
        /// The witness' name in the policy.
        witness: String,
        /// What it says.
        error: Box<SubmitError>,
    },
    /// Too few witnesses cosigned.
    #[error("{error}{}", shown(.failures))]
    Quorum {
        /// What the policy asks for.
        error: Box<PolicyError>,
        /// What kept each of the others from it.
        failures: Vec<String>,
    },
    /// The log cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn shown(failures: &[String]) -> String {
    failures.iter().map(|failure| format!("; {failure}")).collect()
}

impl PublishError {
    /// Whether it ends by itself, when a witness answers again.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Quorum { .. })
    }
}

impl Signer {
    pub(crate) fn new(key: &SecretKey, reader: Reader, published: Published, policy: Option<Policy>) -> Self {
        let log = log_key(&key.public());
        let witnesses = policy.map(|policy| {
            let sizes = vec![0; policy.witnesses().len()];
            Witnesses { policy: policy.for_log(log), agent: witness_agent(), sizes }
        });
        Self { key: SecretKey::from_seed(*key.seed()), reader, published, witnesses }
    }

    /// What was signed last.
    pub(crate) fn published(&self) -> &Published {
        &self.published
    }

    /// Signs the tree as it is, unless that was published already.
    ///
    /// # Errors
    /// [`PublishError`]; what was published before then stays.
    pub(crate) fn publish(&mut self) -> Result<(), PublishError> {
        let head = self.reader.tree()?;
        if self.published.get().is_some_and(|published| published.head == head) {
            return Ok(());
        }
        let note = sign_checkpoint(&self.key, &head);
        let note = match &mut self.witnesses {
            Some(witnesses) => witnesses.cosign(note, &head, &self.reader)?,
            None => note,
        };
        self.published.set(PublishedCheckpoint { head, note: note.into() });
        Ok(())
    }
}

impl Witnesses {
    /// Asks all witnesses at once. Returns the note with their cosignatures, where these are enough.
    fn cosign(&mut self, note: Vec<u8>, head: &TreeHead, ledger: &Reader) -> Result<Vec<u8>, PublishError> {
        let ask = |(witness, size): (&PolicyWitness, u64)| {
            let url = witness.url.as_deref().ok_or("the policy has no URL of it").map_err(Failed::Other)?;
            let prove = |old, new| ledger.prove_growth(old, new);
            request_cosignature(&self.agent, url, &witness.key, size, &note, prove).map_err(Failed::Submit)
        };
        let asked = self.policy.witnesses().iter().zip(self.sizes.iter().copied());
        let answers: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = asked.map(|asked| scope.spawn(move || ask(asked))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap_or(Err(Failed::Other("its thread panicked")))).collect()
        });
        let (mut lines, mut failures) = (Vec::new(), Vec::new());
        for (at, (witness, answer)) in self.policy.witnesses().iter().zip(answers).enumerate() {
            match answer {
                Ok(cosigned) => {
                    self.sizes[at] = cosigned.size;
                    lines.push(cosigned.cosignature.line);
                }
                Err(Failed::Submit(error @ (SubmitError::Ahead { .. } | SubmitError::Forked { .. }))) => {
                    return Err(PublishError::Contradicted { witness: witness.name.clone(), error: Box::new(error) });
                }
                Err(failed) => failures.push(format!("{}: {failed}", witness.name)),
            }
        }
        let note = with_cosignatures(&note, lines.iter().map(String::as_str));
        match self.policy.check(&note) {
            Ok(verdict) => {
                debug_assert_eq!(verdict.head, *head);
                Ok(note)
            }
            Err(error) => Err(PublishError::Quorum { error: error.into(), failures }),
        }
    }
}

/// Why a witness gave nothing.
enum Failed {
    Submit(SubmitError),
    Other(&'static str),
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Submit(error) => error.fmt(f),
            Self::Other(text) => f.write_str(text),
        }
    }
}

/// The thread. Dropping it ends the thread, after the checkpoint that it is at.
pub(crate) struct Publisher {
    grown: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Publisher {
    /// Starts the thread. Where nothing more must be signed it says why to `on_fault`, and ends.
    pub(crate) fn spawn(signer: Signer, on_fault: impl FnOnce(PublishError) + Send + 'static) -> io::Result<Self> {
        let (grown, news) = sync_channel(1);
        let thread = thread::Builder::new().name("log".into()).spawn(move || {
            if let Err(error) = publish(signer, &news) {
                on_fault(error);
            }
        })?;
        Ok(Self { grown: Some(grown), thread: Some(thread) })
    }

    /// What tells the thread that the log has grown, without waiting.
    pub(crate) fn bell(&self) -> impl Fn() + Send + 'static {
        let grown = self.grown.clone();
        move || {
            if let Some(grown) = &grown {
                // Full: the thread has not heard of the growth before yet, and will see this one too. Gone: nothing is signed any more.
                let (Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(()))) = grown.try_send(());
            }
        }
    }
}

impl Drop for Publisher {
    /// Every bell must be gone by now.
    fn drop(&mut self) {
        self.grown = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported when it happened.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").finish_non_exhaustive()
    }
}

fn publish(mut signer: Signer, news: &Receiver<()>) -> Result<(), PublishError> {
    let interval = if signer.witnesses.is_some() { WITNESSED_INTERVAL } else { INTERVAL };
    let mut said = false;
    loop {
        let begun = Instant::now();
        let is_behind = match signer.publish() {
            Ok(()) => false,
            Err(error) if error.is_passing() => {
                // Once until it is over, and not each second.
                if !std::mem::replace(&mut said, true) {
                    tracing::warn!(%error, "no checkpoint is published");
                }
                true
            }
            Err(error) => return Err(error),
        };
        if said && !is_behind {
            tracing::info!("checkpoints are published again");
            said = false;
        }
        let heard = if is_behind { news.recv_timeout(interval) } else { news.recv().map_err(RecvTimeoutError::from) };
        if heard == Err(RecvTimeoutError::Disconnected) {
            // What was recorded last is still said, as far as nobody has to be waited for.
            return if signer.witnesses.is_none() { signer.publish() } else { Ok(()) };
        }
        thread::sleep(interval.saturating_sub(begun.elapsed()));
    }
}
