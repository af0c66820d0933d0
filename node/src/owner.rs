//! What the owner says now, and what the rules say: whether this node takes jobs.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use adit_protocol::limits::LABEL_BYTES_MAX;
use adit_protocol::{ByteCount, NodeState, UnixMillis};
use serde::{Deserialize, Serialize};

use crate::kept::{self, Durable};
use crate::rules::{Judge, Readings, Rules, Standing};
use crate::times::{show_time, wall_time};

/// A pause that the owner asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pause {
    /// When it is over by itself.
    until_ms: Option<u64>,
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
        let (path, gpu_path) = (folder.join("paused.json"), folder.join("gpu-off.json"));
        let pause = kept::read(&path).unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), %error, "a pause cannot be read; the node stays paused until `adit node resume`");
            Some(Pause { until_ms: None })
        });
        let standing = RefCell::new(Standing::Allowed);
        Self {
            is_gpu_kept_back: Cell::new(gpu_path.exists()),
            path,
            gpu_path,
            rules: RefCell::new(Rc::new(rules)),
            pause: Cell::new(pause),
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

    /// Lends the GPU, or keeps it back, also where the node is started again.
    ///
    /// # Errors
    /// Where the next process would not know it; it then holds for this one.
    pub(crate) fn lend_gpu(&self, is_lent: bool) -> io::Result<()> {
        self.is_gpu_kept_back.set(!is_lent);
        if is_lent { kept::remove(&self.gpu_path) } else { kept::write(&self.gpu_path, &true, Durable::Yes) }
    }

    /// Pauses, for a while or until [`Self::resume`].
    ///
    /// # Errors
    /// Where the pause cannot be kept for the next process; it then holds for this one.
    pub(crate) fn pause(&self, duration: Option<Duration>) -> io::Result<()> {
        let until = |duration: Duration| wall_time().0.saturating_add(duration.as_millis().try_into().unwrap_or(u64::MAX));
        let pause = Pause { until_ms: duration.map(until) };
        self.pause.set(Some(pause));
        kept::write(&self.path, &pause, Durable::Yes)
    }

    /// Ends a pause and a drain. The rules hold on.
    ///
    /// # Errors
    /// Where the next process would be paused again.
    pub(crate) fn resume(&self) -> io::Result<()> {
        self.is_draining.set(false);
        self.pause.set(None);
        kept::remove(&self.path)
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
        if self.pause.get().and_then(|pause| pause.until_ms).is_some_and(|until| wall_time().0 >= until) {
            // A file that stays is over too.
            if let Err(error) = self.end_pause() {
                tracing::warn!(path = %self.path.display(), %error, "a pause that is over is still on the disk");
            }
        }
    }

    fn end_pause(&self) -> io::Result<()> {
        self.pause.set(None);
        kept::remove(&self.path)
    }

    /// Whether the node takes jobs, and why not.
    pub(crate) fn state(&self) -> NodeState {
        if self.is_leaving.get() {
            return NodeState::Paused("it stops".to_owned());
        }
        if let Some(Pause { until_ms }) = self.pause.get() {
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

    #[test]
    fn pause_outlives_the_process_until_it_is_ended() {
        let dir = tempfile::tempdir().unwrap();
        let paused = NodeState::Paused("its owner paused it".to_owned());
        owner(&dir).pause(None).unwrap();
        let again = owner(&dir);
        assert_eq!(look(&again, 0), paused);
        again.resume().unwrap();
        assert_eq!(look(&again, 0), NodeState::Ready);
        assert_eq!(look(&owner(&dir), 0), NodeState::Ready);
    }

    #[test]
    fn pause_is_over_in_its_time() {
        let dir = tempfile::tempdir().unwrap();
        owner(&dir).pause(Some(Duration::from_secs(3600))).unwrap();
        let long = look(&owner(&dir), 0);
        assert!(matches!(&long, NodeState::Paused(reason) if reason.starts_with("its owner paused it until 20")), "{long:?}");
        owner(&dir).pause(Some(Duration::ZERO)).unwrap();
        assert_eq!(look(&owner(&dir), 0), NodeState::Ready);
        assert!(!dir.path().join("paused.json").exists());
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
        owner.resume().unwrap();
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

    #[test]
    fn gpu_that_is_kept_back_stays_so_until_it_is_lent_again() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!owner(&dir).is_gpu_kept_back());
        owner(&dir).lend_gpu(false).unwrap();
        assert!(owner(&dir).is_gpu_kept_back());
        let again = owner(&dir);
        again.lend_gpu(true).unwrap();
        assert!(!again.is_gpu_kept_back() && !owner(&dir).is_gpu_kept_back());
    }

    #[test]
    fn reason_fits_what_a_gateway_takes() {
        let long = clip(&"ä".repeat(100));
        assert!(long.len() <= LABEL_BYTES_MAX && long.ends_with("ä…"), "{long}");
        assert_eq!(clip("short"), "short");
    }
}
