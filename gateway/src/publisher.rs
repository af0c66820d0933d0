//! Says what the log is: a thread that signs a checkpoint of what is durable, has the witnesses cosign it, and only then shows it.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use adit_ledger::{Reader, StoreError, TreeHead};
use adit_protocol::SecretKey;
use adit_tlog::{
    Cosigned, Policy, PolicyError, Published, PublishedCheckpoint, SubmitError, WitnessKey, log_key, request_cosignature,
    sign_checkpoint, with_cosignatures, witness_agent,
};

/// The shortest time between two checkpoints where nobody else is asked. A lone receipt's comes at once.
const INTERVAL: Duration = Duration::from_millis(100);

/// As [`INTERVAL`], where witnesses are asked, and how long after they were too few to ask again.
const WITNESSED_INTERVAL: Duration = Duration::from_secs(1);

/// How long the other witnesses are waited for once enough have cosigned, so that one of them that contradicts is still heard.
const GRACE: Duration = Duration::from_millis(500);

const _: () = assert!(GRACE.as_millis() < WITNESSED_INTERVAL.as_millis(), "the wait is over before the next checkpoint is due");

/// Signs checkpoints.
#[derive(Debug)]
pub(crate) struct Signer {
    key: SecretKey,
    reader: Reader,
    published: Published,
    witnesses: Option<Witnesses>,
}

/// Who is asked to cosign. Each witness is asked on a thread of its own, for which nobody waits longer than is said here: neither a
/// checkpoint, nor the gateway's start or end.
#[derive(Debug)]
struct Witnesses {
    policy: Policy,
    agent: ureq::Agent,
    prover: Prover,
    /// What is known of each, in the policy's order.
    known: Vec<Known>,
    words: Receiver<Word>,
    speak: Sender<Word>,
    /// Whether nobody waits for a checkpoint any more.
    is_stopped: bool,
}

/// What is known of a witness.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    /// The size of the tree that it cosigned last.
    size: u64,
    /// Whether a request to it is out: it is asked nothing else until then, so that one that is slow piles up no threads.
    is_asked: bool,
}

/// What the asking threads, and whoever ends the publisher, tell it.
#[derive(Debug)]
enum Word {
    /// The request to the witness at this place, about the tree of `head`, has ended.
    Answered { at: usize, head: TreeHead, answer: Result<Cosigned, Failed> },
    /// No checkpoint is waited for any more.
    Stop,
}

/// What makes proofs for the asking threads. They have no reader of their own, which would keep the ledger open and locked for as long as
/// a request is out: once this is dropped they make no proof more, and hold nothing of the ledger.
#[derive(Debug)]
struct Prover(Arc<Mutex<Option<Reader>>>);

impl Drop for Prover {
    fn drop(&mut self) {
        // Waits for a proof that is being made: it takes milliseconds.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
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
    /// The policy asks for no cosignature, and there is none, where one must show at the start that the ledger is the newest.
    #[error("the policy's quorum is none, and no witness cosigned to show that this ledger is the newest{}", shown(.failures))]
    Unwitnessed {
        /// What kept each of the witnesses from it.
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
        matches!(self, Self::Quorum { .. } | Self::Unwitnessed { .. })
    }
}

impl Signer {
    pub(crate) fn new(key: &SecretKey, reader: Reader, published: Published, policy: Option<Policy>) -> Self {
        let log = log_key(&key.public());
        let witnesses = policy.map(|policy| Witnesses::new(policy.for_log(log), reader.clone()));
        Self { key: SecretKey::from_seed(*key.seed()), reader, published, witnesses }
    }

    /// What was signed last.
    pub(crate) fn published(&self) -> &Published {
        &self.published
    }

    /// As [`Signer::publish`], before anything is added to a ledger. Where there are witnesses one must have cosigned, whatever the quorum:
    /// else nobody has said that the ledger is the newest.
    ///
    /// # Errors
    /// As [`Signer::publish`].
    pub(crate) fn publish_first(&mut self) -> Result<(), PublishError> {
        self.publish_with(true)
    }

    /// Signs the tree as it is, unless that was published already.
    ///
    /// # Errors
    /// [`PublishError`]; what was published before then stays. Also where a witness has meanwhile contradicted what was published.
    pub(crate) fn publish(&mut self) -> Result<(), PublishError> {
        self.publish_with(false)
    }

    fn publish_with(&mut self, needs_witness: bool) -> Result<(), PublishError> {
        self.check_whole()?;
        self.take_in_late()?;
        let head = self.reader.tree()?;
        if self.published.get().is_some_and(|published| published.head == head) {
            return Ok(());
        }
        let note = sign_checkpoint(&self.key, &head);
        let note = match &mut self.witnesses {
            Some(witnesses) => witnesses.cosign(note, head, needs_witness)?,
            None => note,
        };
        // It may have been found while the witnesses were waited for.
        self.check_whole()?;
        self.published.set(PublishedCheckpoint { head, note: note.into() });
        Ok(())
    }

    /// Nothing is signed over a ledger in which somebody found damage.
    fn check_whole(&self) -> Result<(), PublishError> {
        self.reader.found_damage().map_or(Ok(()), |damage| Err(damage.into()))
    }

    /// Takes in what witnesses answered for which no checkpoint waited. A cosignature of what is shown is shown too.
    fn take_in_late(&mut self) -> Result<(), PublishError> {
        let Some(witnesses) = &mut self.witnesses else { return Ok(()) };
        while let Ok(word) = witnesses.words.try_recv() {
            if let Some(Heard { head, answer: Ok(line), .. }) = witnesses.take_in(word)?
                && let Some(shown) = self.published.get()
                && shown.head == head
            {
                let note = with_cosignatures(&shown.note, [line.as_str()]).into();
                self.published.set(PublishedCheckpoint { head, note });
            }
        }
        Ok(())
    }

    /// Whether witnesses are yet to answer.
    fn is_asking(&self) -> bool {
        self.witnesses.as_ref().is_some_and(|witnesses| witnesses.known.iter().any(|known| known.is_asked))
    }

    fn is_stopped(&self) -> bool {
        self.witnesses.as_ref().is_some_and(|witnesses| witnesses.is_stopped)
    }
}

impl Witnesses {
    fn new(policy: Policy, reader: Reader) -> Self {
        let (speak, words) = channel();
        let known = vec![Known::default(); policy.witnesses().len()];
        let prover = Prover(Arc::new(Mutex::new(Some(reader))));
        Self { policy, agent: witness_agent(), prover, known, words, speak, is_stopped: false }
    }

    /// Asks at once all witnesses that are not asked yet, and waits until they have answered, or for [`GRACE`] once enough have. Returns
    /// the note with their cosignatures, where these are enough.
    fn cosign(&mut self, note: Vec<u8>, head: TreeHead, needs_witness: bool) -> Result<Vec<u8>, PublishError> {
        let note: Arc<[u8]> = note.into();
        let mut answers: Vec<Option<Result<String, Failed>>> =
            (0..self.known.len()).map(|at| self.ask(at, &note, head).err().map(Err)).collect();
        let mut deadline = None;
        let (cosigned, verdict) = loop {
            let lines = || answers.iter().flatten().flatten().map(String::as_str);
            let cosigned = with_cosignatures(&note, lines());
            let verdict = self.policy.check(&cosigned);
            if verdict.is_ok() && (!needs_witness || lines().next().is_some()) {
                deadline.get_or_insert_with(|| Instant::now() + GRACE);
            }
            if self.is_stopped || answers.iter().all(Option::is_some) {
                break (cosigned, verdict);
            }
            let Some(word) = self.next_word(deadline) else { break (cosigned, verdict) };
            if let Some(heard) = self.take_in(word)?
                && heard.head == head
            {
                answers[heard.at] = Some(heard.answer);
            }
        };
        let failures = || {
            let asked = self.policy.witnesses().iter().zip(&answers);
            asked
                .filter_map(|(witness, answer)| Some(format!("{}: {}", witness.name, answer.as_ref()?.as_ref().err()?)))
                .collect()
        };
        match verdict {
            Ok(verdict) => {
                debug_assert_eq!(verdict.head, head);
                if deadline.is_some() { Ok(cosigned) } else { Err(PublishError::Unwitnessed { failures: failures() }) }
            }
            Err(error) => Err(PublishError::Quorum { error: error.into(), failures: failures() }),
        }
    }

    /// Starts to ask a witness for its cosignature of `note`, the checkpoint of `head`.
    fn ask(&mut self, at: usize, note: &Arc<[u8]>, head: TreeHead) -> Result<(), Failed> {
        let (witness, known) = (&self.policy.witnesses()[at], &mut self.known[at]);
        let url = witness.url.clone().ok_or(Failed::Other("the policy has no URL of it"))?;
        if known.is_asked {
            return Err(Failed::Other("it has not answered an earlier request yet"));
        }
        let request = Request {
            agent: self.agent.clone(),
            url,
            key: witness.key.clone(),
            size: known.size,
            note: Arc::clone(note),
            reader: Arc::clone(&self.prover.0),
        };
        let speak = self.speak.clone();
        let run = move || {
            let answer = catch_unwind(AssertUnwindSafe(|| request.run()));
            let answer = answer.unwrap_or(Err(Failed::Other("its thread panicked")));
            // Where nobody listens any more, the publisher has ended.
            let _ = speak.send(Word::Answered { at, head, answer });
        };
        // The thread is left to itself: it ends with its request.
        let spawned = thread::Builder::new().name("witness".into()).spawn(run);
        spawned.map_err(|_| Failed::Other("there is no thread to ask it on"))?;
        known.is_asked = true;
        Ok(())
    }

    /// The next word; nothing where none comes until the deadline.
    fn next_word(&self, deadline: Option<Instant>) -> Option<Word> {
        match deadline {
            Some(deadline) => self.words.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok(),
            None => self.words.recv().ok(),
        }
    }

    /// What a word says, where it is an answer.
    ///
    /// # Errors
    /// [`PublishError::Contradicted`].
    fn take_in(&mut self, word: Word) -> Result<Option<Heard>, PublishError> {
        let Word::Answered { at, head, answer } = word else {
            self.is_stopped = true;
            return Ok(None);
        };
        self.known[at].is_asked = false;
        let answer = match answer {
            Ok(cosigned) => {
                self.known[at].size = cosigned.size;
                Ok(cosigned.cosignature.line)
            }
            Err(Failed::Submit(error @ (SubmitError::Ahead { .. } | SubmitError::Forked { .. }))) => {
                let witness = self.policy.witnesses()[at].name.clone();
                return Err(PublishError::Contradicted { witness, error: Box::new(error) });
            }
            Err(failed) => Err(failed),
        };
        Ok(Some(Heard { at, head, answer }))
    }
}

/// What a witness answered about the tree of `head`.
struct Heard {
    at: usize,
    head: TreeHead,
    /// The cosignature's line.
    answer: Result<String, Failed>,
}

/// What a witness is asked, with all that this takes.
struct Request {
    agent: ureq::Agent,
    url: String,
    key: WitnessKey,
    size: u64,
    note: Arc<[u8]>,
    /// As in [`Prover`]: nothing where the publisher has ended.
    reader: Arc<Mutex<Option<Reader>>>,
}

impl Request {
    fn run(&self) -> Result<Cosigned, Failed> {
        let prove = |old, new| match &*self.reader.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(reader) => reader.prove_growth(old, new),
            None => Ok(None),
        };
        request_cosignature(&self.agent, &self.url, &self.key, self.size, &self.note, prove).map_err(Failed::Submit)
    }
}

/// Why a witness gave nothing.
#[derive(Debug)]
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

/// The thread. Dropping it ends the thread, which then waits for no witness.
pub(crate) struct Publisher {
    grown: Option<SyncSender<()>>,
    /// Nothing where there are no witnesses.
    speak: Option<Sender<Word>>,
    thread: Option<JoinHandle<()>>,
}

impl Publisher {
    /// Starts the thread. Where nothing more must be signed it says why to `on_fault`, and ends.
    pub(crate) fn spawn(signer: Signer, on_fault: impl FnOnce(PublishError) + Send + 'static) -> io::Result<Self> {
        let (grown, news) = sync_channel(1);
        let speak = signer.witnesses.as_ref().map(|witnesses| witnesses.speak.clone());
        let thread = thread::Builder::new().name("log".into()).spawn(move || {
            if let Err(error) = publish(signer, &news) {
                on_fault(error);
            }
        })?;
        Ok(Self { grown: Some(grown), speak, thread: Some(thread) })
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
        if let Some(speak) = &self.speak {
            // Where nobody listens, the thread has ended.
            let _ = speak.send(Word::Stop);
        }
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
            Err(error) if error.is_passing() && signer.is_stopped() => return Ok(()),
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
        // A late answer is looked for too: it may contradict what was published.
        let looks_again = is_behind || signer.is_asking();
        let heard = if looks_again { news.recv_timeout(interval) } else { news.recv().map_err(RecvTimeoutError::from) };
        if heard == Err(RecvTimeoutError::Disconnected) {
            // What was recorded last is still said, as far as nobody has to be waited for.
            return if signer.witnesses.is_none() { signer.publish() } else { Ok(()) };
        }
        thread::sleep(interval.saturating_sub(begun.elapsed()));
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use adit_ledger::{Ledger, Operation};
    use adit_protocol::{Terms, UnixMillis};
    use adit_tlog::{Cosigner, HttpResponse, HttpServer, UnixSeconds, Witness};
    use redb::backends::InMemoryBackend;

    use super::*;

    /// How long a test waits for what must come.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// What takes less waited for no request: these end after fifteen seconds.
    const PROMPT: Duration = Duration::from_secs(10);

    fn log() -> SecretKey {
        SecretKey::from_seed([100; 32])
    }

    fn cosigner(n: u8) -> Cosigner {
        Cosigner::new(&format!("witness.example/w{n}"), SecretKey::from_seed([n; 32])).unwrap()
    }

    fn witness(n: u8) -> Witness {
        Witness::open_with(InMemoryBackend::new(), cosigner(n), vec![log_key(&log().public())]).unwrap()
    }

    fn grow(ledger: &mut Ledger) {
        let terms = Terms { gateway: log().public(), fee_ppm: ledger.tree().size as u32, time: UnixMillis(0) };
        ledger.apply(&[Operation::State(terms)]).unwrap().remove(0).unwrap();
    }

    fn ledger() -> Ledger {
        let mut ledger = Ledger::open_with(InMemoryBackend::new(), log().public()).unwrap();
        grow(&mut ledger);
        ledger
    }

    fn serve(handle: impl Fn(&[u8]) -> HttpResponse + Send + Sync + 'static) -> (HttpServer, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = HttpServer::spawn("test-witness", listener, move |request| handle(&request.body)).unwrap();
        let url = format!("http://{}/", server.address());
        (server, url)
    }

    fn serve_witness(n: u8) -> (HttpServer, String) {
        let witness = witness(n);
        serve(move |body| witness.add_checkpoint(body, UnixSeconds(1)))
    }

    /// A witness that answers a request for each pass that it is given. Its passes are to be dropped before it.
    struct Slow {
        passes: Sender<()>,
        came: Receiver<()>,
        url: String,
        _server: HttpServer,
    }

    impl Slow {
        fn serve(answer: impl Fn(&[u8]) -> HttpResponse + Send + Sync + 'static) -> Self {
            let ((passes, gate), (tell, came)) = (channel(), channel());
            let gate = Mutex::new(gate);
            let (server, url) = serve(move |body| {
                let _ = tell.send(());
                let _ = gate.lock().unwrap().recv();
                answer(body)
            });
            Self { passes, came, url, _server: server }
        }
    }

    /// A policy of witnesses 1 and 2, at these URLs.
    fn policy(rule: &str, urls: [&str; 2]) -> Policy {
        let keys = [1, 2].map(|n| cosigner(n).key().to_string());
        let log = log_key(&log().public());
        let text = format!("log {log}\nwitness good {} {}\nwitness slow {} {}\n{rule}\n", keys[0], urls[0], keys[1], urls[1]);
        text.parse().unwrap()
    }

    const ANY: &str = "group g any good slow\nquorum g";

    fn signer(ledger: &Ledger, policy: Policy) -> Signer {
        Signer::new(&log(), ledger.reader().clone(), Published::default(), Some(policy))
    }

    /// The lines of signatures in what is shown, with the log's own.
    fn signatures(signer: &Signer) -> usize {
        let note = signer.published().get().unwrap().note;
        String::from_utf8(note.to_vec()).unwrap().lines().filter(|line| line.starts_with('\u{2014}')).count()
    }

    #[test]
    fn slow_witness_is_asked_once_at_a_time_and_shown_late() {
        let (_good, url) = serve_witness(1);
        let second = witness(2);
        let slow = Slow::serve(move |body| second.add_checkpoint(body, UnixSeconds(1)));
        let mut ledger = ledger();
        let mut signer = signer(&ledger, policy(ANY, [&url, &slow.url]));
        let begun = Instant::now();
        signer.publish_first().unwrap();
        for _ in 0..3 {
            grow(&mut ledger);
            signer.publish().unwrap();
            assert_eq!((signer.published().get().unwrap().head, signatures(&signer)), (ledger.tree(), 2));
        }
        assert!(begun.elapsed() < PROMPT && signer.is_asking());
        slow.came.try_recv().unwrap();
        slow.came.try_recv().unwrap_err();

        let late = |signer: &mut Signer| {
            slow.passes.send(()).unwrap();
            let deadline = Instant::now() + PATIENCE;
            while signer.is_asking() {
                assert!(Instant::now() < deadline, "the late answer never comes");
                signer.publish().unwrap();
                thread::yield_now();
            }
        };
        late(&mut signer);
        assert_eq!(signatures(&signer), 2, "its answer is about an earlier tree");
        assert_eq!(signer.witnesses.as_ref().unwrap().known[1].size, 1);
        grow(&mut ledger);
        signer.publish().unwrap();
        assert_eq!(signatures(&signer), 2);
        late(&mut signer);
        assert_eq!(signatures(&signer), 3);
        signer.witnesses.as_ref().unwrap().policy.check(&signer.published().get().unwrap().note).unwrap();
    }

    #[test]
    fn late_contradiction_ends_the_publisher_also_where_nothing_grows() {
        let (_good, url) = serve_witness(1);
        let size = || HttpResponse { content_type: "text/x.tlog.size", ..HttpResponse::text(409, "99\n") };
        let slow = Slow::serve(move |_| size());
        let ledger = ledger();
        let mut signer = signer(&ledger, policy(ANY, [&url, &slow.url]));
        signer.publish_first().unwrap();
        let (tell, fault) = channel();
        let _publisher = Publisher::spawn(signer, move |error| tell.send(error).unwrap()).unwrap();
        slow.passes.send(()).unwrap();
        let error = fault.recv_timeout(PATIENCE).unwrap();
        assert!(matches!(&error, PublishError::Contradicted { witness, .. } if witness == "slow"), "{error}");
    }

    #[test]
    fn quick_contradiction_is_heard_though_the_quorum_is_reached() {
        let (_good, url) = serve_witness(1);
        let size = || HttpResponse { content_type: "text/x.tlog.size", ..HttpResponse::text(409, "99\n") };
        let (_other, other) = serve(move |_| size());
        let error = signer(&ledger(), policy(ANY, [&url, &other])).publish_first().unwrap_err();
        assert!(matches!(&error, PublishError::Contradicted { witness, .. } if witness == "slow"), "{error}");
    }

    #[test]
    fn end_waits_for_no_witness_and_leaves_the_ledger_to_others() {
        let (_good, url) = serve_witness(1);
        let size = || HttpResponse { content_type: "text/x.tlog.size", ..HttpResponse::text(409, "1\n") };
        let slow = Slow::serve(move |_| size());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.redb");
        let mut ledger = Ledger::open(&path, log().public()).unwrap();
        grow(&mut ledger);
        grow(&mut ledger);
        let signer = signer(&ledger, policy("group g all good slow\nquorum g", [&url, &slow.url]));
        let publisher = Publisher::spawn(signer, |error| panic!("{error}")).unwrap();
        slow.came.recv_timeout(PATIENCE).unwrap();
        let begun = Instant::now();
        drop(publisher);
        drop(ledger);
        let ledger = Ledger::open(&path, log().public()).unwrap();
        assert!(begun.elapsed() < PROMPT);
        // The request that is still out wants a proof now, and gets none.
        slow.passes.send(()).unwrap();
        drop(ledger);
    }

    #[test]
    fn first_checkpoint_has_a_witness_whatever_the_quorum() {
        let (server, url) = serve_witness(1);
        let (gone, gone_url) = serve_witness(2);
        drop(gone);
        let (mut ledger, policy) = (ledger(), policy("quorum none", [&url, &gone_url]));
        signer(&ledger, policy.clone()).publish_first().unwrap();
        drop(server);
        let mut signer = signer(&ledger, policy);
        let error = signer.publish_first().unwrap_err();
        assert!(error.is_passing() && signer.published().get().is_none());
        let text = error.to_string();
        assert!(text.contains("no witness cosigned") && text.contains("good: ") && text.contains("slow: "), "{text}");
        grow(&mut ledger);
        signer.publish().unwrap();
        assert_eq!(signatures(&signer), 1);
    }
}
