use std::net::SocketAddr;
use std::path::PathBuf;

use adit_protocol::Microcredits;

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
    /// What the gateway keeps of a job's cost, in millionths.
    pub fee_ppm: u32,
    /// What each key that never had credits is granted with its first job.
    pub welcome: Microcredits,
}

impl GatewayConfig {
    /// A gateway with 16 GiB of blobs and the dispatcher's own queue bound, which keeps nothing of a cost and grants nobody anything.
    pub fn new(listen: SocketAddr, data_dir: impl Into<PathBuf>) -> Self {
        let queue_max = adit_dispatch::Config::default().queue_max;
        Self { listen, data_dir: data_dir.into(), store_bytes_max: 16 << 30, queue_max, fee_ppm: 0, welcome: Microcredits(0) }
    }
}
