//! What the owner says now, and what the rules say: whether this node takes jobs.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use adit_protocol::limits::LABEL_BYTES_MAX;
use adit_protocol::{ByteCount, NodeState, UnixMillis};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use crate::kept::{self, Durable};
use crate::rules::{Judge, Readings, Rules, Standing};
use crate::times::{show_time, time_since_boot, wall_time};

/// A pause that the owner asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pause {
    /// When it is over by itself: by wall time, which is all that a next process can go by.
    until_ms: Option<u64>,
    /// The same since the machine started, where this process was told of it.
    #[serde(skip)]
    until: Option<Duration>,
}

impl Pause {
    fn is_over(&self) -> bool {
        match self.until {
            Some(until) => time_since_boot() >= until,
            None => self.until_ms.is_some_and(|until| wall_time().0 >= until),
        }
    }
}

/// The owner's words and rules.
#[derive(Debug)]
pub(crate) struct Owner {
    /// Where a pause is kept, so that it outlives the process.
    path: PathBuf,
    /// Where it is kept that the GPU is not lent.
    gpu_path: PathBuf,
    /// Those that hold now. Whoever judges by them for a while holds them, and judges by one set.
    rules: RefCell<Rc<Rules>>,
    pause: Cell<Option<Pause>>,
    /// Whether a pause that is over is still on the disk.
    is_pause_left: Cell<bool>,
    /// Held while a file is written.
    writing: Mutex<()>,
    is_gpu_kept_back: Cell<bool>,
    is_draining: Cell<bool>,
    is_leaving: Cell<bool>,
    judge: RefCell<Judge>,
    standing: RefCell<Standing>,
}

impl Owner {
    /// Takes in what the owner said to an earlier process, from files in `folder`. A pause that cannot be read holds until the owner says
    /// otherwise, and so does a GPU that is not lent: whoever said it wants it so.
    pub(crate) fn open(folder: &Path, rules: Rules) -> Self {
        let (path, gpu_path) = (folder.join(kept::PAUSE), folder.join(kept::GPU_OFF));
        let pause = kept::read(&path).unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), %error, "a pause cannot be read; the node stays paused until `adit node resume`");
            Some(Pause { until_ms: None, until: None })
        });
        let standing = RefCell::new(Standing::Allowed);
        Self {
            is_gpu_kept_back: Cell::new(gpu_path.exists()),
            path,
            gpu_path,
            rules: RefCell::new(Rc::new(rules)),
            pause: Cell::new(pause),
            is_pause_left: Cell::new(false),
            writing: Mutex::default(),
            is_draining: Cell::new(false),
            is_leaving: Cell::new(false),
            judge: RefCell::default(),
            standing,
        }
    }

    /// The rules that hold now.
    pub(crate) fn rules(&self) -> Rc<Rules> {
        Rc::clone(&self.rules.borrow())
    }

    /// Has other rules hold from here on. What the earlier ones had tripped is judged anew.
    pub(crate) fn set_rules(&self, rules: Rules) {
        *self.rules.borrow_mut() = Rc::new(rules);
        *self.judge.borrow_mut() = Judge::default();
    }

    /// Whether the owner keeps the GPU for himself, whatever the machine's configuration says.
    pub(crate) fn is_gpu_kept_back(&self) -> bool {
        self.is_gpu_kept_back.get()
    }

    /// Lends the GPU, or keeps it back.
    pub(crate) fn lend_gpu(&self, is_lent: bool) {
        self.is_gpu_kept_back.set(!is_lent);
    }

    /// Pauses, for a while or until [`Self::resume`].
    pub(crate) fn pause(&self, duration: Option<Duration>) {
        let until_ms = |duration: Duration| wall_time().0.saturating_add(duration.as_millis().try_into().unwrap_or(u64::MAX));
        let until = duration.map(|duration| time_since_boot().saturating_add(duration));
        self.pause.set(Some(Pause { until_ms: duration.map(until_ms), until }));
    }

    /// Ends a pause and a drain. The rules hold on.
    pub(crate) fn resume(&self) {
        self.is_draining.set(false);
        self.pause.set(None);
    }

    /// Has the next process know whether this one is paused.
    ///
    /// # Errors
    /// Where it will not. What was said holds for this one all the same.
    pub(crate) async fn keep_pause(&self) -> io::Result<()> {
        self.keep(&self.path, || self.pause.get()).await
    }

    /// Has the next process know whether the GPU is lent.
    ///
    /// # Errors
    /// As [`Self::keep_pause`].
    pub(crate) async fn keep_gpu(&self) -> io::Result<()> {
        self.keep(&self.gpu_path, || self.is_gpu_kept_back.get().then_some(true)).await
    }

    /// Has at `path` what is said when its turn to be written comes: of two commands that come fast, the last one's word is the last on the
    /// disk. A slow card takes seconds for one, and the thread that serves the network does not wait for it.
    async fn keep<T: Serialize + Send + 'static>(&self, path: &Path, said: impl Fn() -> Option<T>) -> io::Result<()> {
        let _turn = self.writing.lock().await;
        let (path, said) = (path.to_owned(), said());
        let written = spawn_blocking(move || match said {
            Some(said) => kept::write(&path, &said, Durable::Yes),
            None => kept::remove(&path),
        });
        written.await.map_err(io::Error::other)?
    }

    /// Whether a pause has ended by itself since this was asked last.
    pub(crate) fn has_pause_left(&self) -> bool {
        self.is_pause_left.take()
    }

    /// Takes from the disk a pause that has ended by itself.
    pub(crate) async fn forget_pause(&self) {
        // A file that stays is over too.
        if let Err(error) = self.keep_pause().await {
            tracing::warn!(path = %self.path.display(), %error, "a pause that is over is still on the disk");
        }
    }

    /// Has the node end what it has, and take no more.
    pub(crate) fn drain(&self) {
        self.is_draining.set(true);
    }

    /// Has the node give back what it has, because its process ends.
    pub(crate) fn leave(&self) {
        self.is_leaving.set(true);
    }

    /// Takes in what was read.
    pub(crate) fn look(&self, now: Duration, read: &Readings, moved_today: ByteCount) {
        *self.standing.borrow_mut() = self.judge.borrow_mut().judge(now, &self.rules(), read, moved_today);
        if self.pause.get().is_some_and(|pause| pause.is_over()) {
            self.pause.set(None);
            self.is_pause_left.set(true);
        }
    }

    /// Whether the node takes jobs, and why not.
    pub(crate) fn state(&self) -> NodeState {
        if self.is_leaving.get() {
            return NodeState::Paused("it stops".to_owned());
        }
        if let Some(Pause { until_ms, .. }) = self.pause.get() {
            let until = until_ms.map(|ms| format!(" until {}", show_time(UnixMillis(ms)))).unwrap_or_default();
            return NodeState::Paused(format!("its owner paused it{until}"));
        }
        match &*self.standing.borrow() {
            Standing::Forbidden(reason) => NodeState::Paused(clip(reason)),
            Standing::Allowed if self.is_draining.get() => NodeState::Draining,
            Standing::Allowed => NodeState::Ready,
        }
    }
}

/// A reason that fits what a gateway is told.
fn clip(reason: &str) -> String {
    if reason.len() <= LABEL_BYTES_MAX {
        return reason.to_owned();
    }
    let ellipsis = '…';
    format!("{}{ellipsis}", &reason[..reason.floor_char_boundary(LABEL_BYTES_MAX - ellipsis.len_utf8())])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(dir: &tempfile::TempDir) -> Owner {
        let rules = Rules { traffic_max: Some(ByteCount(100)), ..Rules::default() };
        Owner::open(dir.path(), rules)
    }

    fn look(owner: &Owner, moved: u64) -> NodeState {
        let clock = jiff::civil::date(2026, 11, 23).at(12, 0, 0, 0);
        let read = Readings { clock, load: None, temperature: None, on_mains: None };
        owner.look(Duration::ZERO, &read, ByteCount(moved));
        owner.state()
    }

    #[tokio::test]
    async fn pause_outlives_the_process_until_it_is_ended() {
        let dir = tempfile::tempdir().unwrap();
        let paused = NodeState::Paused("its owner paused it".to_owned());
        let first = owner(&dir);
        first.pause(None);
        first.keep_pause().await.unwrap();
        let again = owner(&dir);
        assert_eq!(look(&again, 0), paused);
        again.resume();
        again.keep_pause().await.unwrap();
        assert_eq!(look(&again, 0), NodeState::Ready);
        assert_eq!(look(&owner(&dir), 0), NodeState::Ready);
    }

    #[tokio::test]
    async fn pause_is_over_in_its_time() {
        let dir = tempfile::tempdir().unwrap();
        let pause = async |duration| {
            let owner = owner(&dir);
            owner.pause(Some(duration));
            owner.keep_pause().await.unwrap();
            owner
        };
        pause(Duration::from_secs(3600)).await;
        let long = look(&owner(&dir), 0);
        assert!(matches!(&long, NodeState::Paused(reason) if reason.starts_with("its owner paused it until 20")), "{long:?}");
        for over in [pause(Duration::ZERO).await, owner(&dir)] {
            assert_eq!(look(&over, 0), NodeState::Ready);
            assert!(over.has_pause_left() && !over.has_pause_left());
        }
        let over = owner(&dir);
        look(&over, 0);
        over.forget_pause().await;
        assert!(!dir.path().join("paused.json").exists());
    }

    /// A clock that was set ahead by a year ended the pauses of that process, and one that was set back made them last.
    #[test]
    fn pause_goes_by_the_machines_own_time_in_its_process() {
        let is_over = |until_ms, until| Pause { until_ms: Some(until_ms), until }.is_over();
        let (hour, later) = (Duration::from_secs(3600), u64::MAX);
        assert!(is_over(later, Some(time_since_boot())) && !is_over(0, Some(time_since_boot() + hour)));
        // All that is known of an earlier process's is its wall time.
        assert!(is_over(0, None) && !is_over(later, None));
    }

    /// The node's one thread waited for the disk before it told anybody of a pause: on a slow card guests ran on for seconds.
    #[test]
    fn word_holds_before_the_disk_has_it_and_the_last_one_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            // A disk that hangs: whoever writes waits for it.
            let (disk, hangs) = std::sync::mpsc::channel::<()>();
            let disk_thread = spawn_blocking(move || hangs.recv());
            let owner = owner(&dir);
            owner.pause(None);
            let mut pause = std::pin::pin!(owner.keep_pause());
            assert!(futures_util::poll!(pause.as_mut()).is_pending());
            assert!(matches!(owner.state(), NodeState::Paused(_)));
            owner.resume();
            let mut resume = std::pin::pin!(owner.keep_pause());
            assert!(futures_util::poll!(resume.as_mut()).is_pending());
            assert_eq!(owner.state(), NodeState::Ready);
            drop(disk);
            disk_thread.await.unwrap().unwrap_err();
            // However they are waited for.
            let (resumed, paused) = tokio::join!(resume, pause);
            resumed.and(paused).unwrap();
        });
        assert!(!dir.path().join(kept::PAUSE).exists());
    }

    #[test]
    fn pause_that_cannot_be_read_holds() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("paused.json"), "{").unwrap();
        assert!(matches!(owner(&dir).state(), NodeState::Paused(_)));
    }

    #[test]
    fn rules_come_before_draining_and_hold_on_after_a_resume() {
        let dir = tempfile::tempdir().unwrap();
        let owner = owner(&dir);
        owner.drain();
        assert_eq!(look(&owner, 99), NodeState::Draining);
        let NodeState::Paused(reason) = look(&owner, 100) else { panic!("a rule is broken") };
        assert!(reason.contains("traffic"), "{reason}");
        owner.resume();
        assert!(matches!(look(&owner, 100), NodeState::Paused(_)));
        assert_eq!(look(&owner, 0), NodeState::Ready);
    }

    #[test]
    fn new_rules_hold_at_once_and_what_the_old_ones_tripped_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let owner = owner(&dir);
        assert!(matches!(look(&owner, 100), NodeState::Paused(_)));
        owner.set_rules(Rules { traffic_max: Some(ByteCount(200)), ..Rules::default() });
        assert_eq!(look(&owner, 100), NodeState::Ready);
        assert!(matches!(look(&owner, 200), NodeState::Paused(_)));
    }

    #[tokio::test]
    async fn gpu_that_is_kept_back_stays_so_until_it_is_lent_again() {
        let dir = tempfile::tempdir().unwrap();
        let lend = async |is_lent| {
            let owner = owner(&dir);
            owner.lend_gpu(is_lent);
            owner.keep_gpu().await.unwrap();
            assert_eq!(owner.is_gpu_kept_back(), !is_lent);
        };
        assert!(!owner(&dir).is_gpu_kept_back());
        lend(false).await;
        assert!(owner(&dir).is_gpu_kept_back());
        lend(true).await;
        assert!(!owner(&dir).is_gpu_kept_back());
    }

    #[test]
    fn reason_fits_what_a_gateway_takes() {
        let long = clip(&"ä".repeat(100));
        assert!(long.len() <= LABEL_BYTES_MAX && long.ends_with("ä…"), "{long}");
        assert_eq!(clip("short"), "short");
    }
}
