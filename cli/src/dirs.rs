use std::path::PathBuf;

use etcetera::BaseStrategy;

use crate::exit::usage;

/// The program's folders, each below what the XDG base directory specification names. None is made before it is needed.
#[derive(Debug, Clone)]
pub(crate) struct Dirs {
    /// The config file and the keys.
    pub(crate) config: PathBuf,
    /// What may be deleted at any time: compiled modules, what a pipe brought.
    pub(crate) cache: PathBuf,
    /// What is worth keeping: receipts, a gateway's ledger.
    pub(crate) data: PathBuf,
    /// What concerns running processes.
    pub(crate) state: PathBuf,
}

impl Dirs {
    /// The folders of whoever runs this.
    pub(crate) fn of_user() -> anyhow::Result<Self> {
        let base = etcetera::choose_base_strategy()
            .map_err(|_| usage("no home folder; set HOME, so that keys and receipts have a place"))?;
        let adit = |dir: PathBuf| dir.join("adit");
        Ok(Self {
            config: adit(base.config_dir()),
            cache: adit(base.cache_dir()),
            data: adit(base.data_dir()),
            state: adit(base.state_dir().unwrap_or_else(|| base.data_dir())),
        })
    }

    /// Where receipts are kept.
    pub(crate) fn receipts(&self) -> PathBuf {
        self.data.join("receipts")
    }

    /// Where jobs are kept, so that their bills can be computed again.
    pub(crate) fn jobs(&self) -> PathBuf {
        self.data.join("jobs")
    }
}
