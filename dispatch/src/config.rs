/// The bounds of a [`Dispatcher`](crate::Dispatcher). The defaults suit one gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Jobs that wait at once. Each costs some hundred bytes here and its specification at the driver. 16,384 is a quarter of
    /// a minute at a thousand jobs per second: who must wait longer is better served by a refusal that says when to come back.
    pub queue_max: usize,
    /// Jobs of one client that wait at once: a quarter of the queue, so that no three clients can fill it.
    pub queue_per_client_max: usize,
    /// Attempts of one job. 3: one bad node is bad luck, two are a coincidence; a job that takes a third node down is itself
    /// the likely cause.
    pub attempts_max: u32,
    /// How long nodes may take to reconnect, after the gateway's start and after a departure, before a job that only they
    /// would fit is refused. 3 s: a node's first reconnection attempts, with their backoff, lie within it.
    pub join_grace_us: u64,
    /// What a lease lasts beyond the job's own wall time. Nodes enforce that themselves; this is for fetching a large input,
    /// compiling, and sending a large output. 10 minutes carry 16 GiB at 220 Mbit/s.
    pub lease_grace_us: u64,
    /// How long a node may take to confirm a cancellation. 10 s: it stops a guest within milliseconds, so a node that takes
    /// longer is not reachable in any useful sense, and the client should not wait for it.
    pub cancel_grace_us: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            queue_max: 16_384,
            queue_per_client_max: 4_096,
            attempts_max: 3,
            join_grace_us: 3_000_000,
            lease_grace_us: 600_000_000,
            cancel_grace_us: 10_000_000,
        }
    }
}
