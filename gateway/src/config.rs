use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use adit_protocol::{Microcredits, PublicKey};
use adit_tlog::Policy;

use crate::{NodePolicy, RateLimits};

/// Where a gateway listens, where it keeps its data, and how much of it.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// The UDP address to listen on; port 0 for any.
    pub listen: SocketAddr,
    /// Holds `ledger.redb` and `blobs/`.
    pub data_dir: PathBuf,
    /// Bytes of modules, inputs and outputs that are kept; the least recently used go first.
    pub store_bytes_max: u64,
    /// Jobs that may wait at once.
    pub queue_max: usize,
    /// Clients whose jobs count for more where many wait, each with the parts that it gets; all others get one.
    pub client_weights: Vec<(PublicKey, u32)>,
    /// How fast one may submit and connect.
    pub rates: RateLimits,
    /// Which nodes may join.
    pub nodes: NodePolicy,
    /// What the gateway keeps of a job's cost, in millionths.
    pub fee_ppm: u32,
    /// What each key that never had credits is granted with its first job.
    pub welcome: Microcredits,
    /// The TCP address at which the log is served over HTTP; port 0 for any, nothing for none.
    pub log_listen: Option<SocketAddr>,
    /// Where others find the log, such as behind a proxy; nothing for where it listens.
    pub log_url: Option<String>,
    /// The witnesses that cosign the log, with their URLs, and the quorum without which no checkpoint is shown.
    pub witnesses: Option<Policy>,
    /// Whether to start also where fewer than the quorum of witnesses answer: then nobody may have seen that leaves were lost.
    pub starts_without_witnesses: bool,
    /// How long after its start it begins to look through the whole ledger, which it does each day from then on.
    pub check_delay: Duration,
}

impl GatewayConfig {
    /// A gateway with 16 GiB of blobs and the dispatcher's own queue bound, which all nodes may join, and which keeps nothing of a cost,
    /// grants nobody anything, and serves no log. It looks through its ledger a minute after its start: who comes back to it first has the
    /// whole machine.
    pub fn new(listen: SocketAddr, data_dir: impl Into<PathBuf>) -> Self {
        let queue_max = adit_dispatch::Config::default().queue_max;
        Self {
            listen,
            data_dir: data_dir.into(),
            store_bytes_max: 16 << 30,
            queue_max,
            client_weights: Vec::new(),
            rates: RateLimits::default(),
            nodes: NodePolicy::default(),
            fee_ppm: 0,
            welcome: Microcredits(0),
            log_listen: None,
            log_url: None,
            witnesses: None,
            starts_without_witnesses: false,
            check_delay: Duration::from_secs(60),
        }
    }
}
