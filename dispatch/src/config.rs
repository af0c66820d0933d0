/// The bounds of a [`Dispatcher`](crate::Dispatcher). The defaults suit one gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Decides where the lot falls among nodes that are about as good for a job. One trace of events under one seed gives one trace of
    /// actions.
    pub seed: u64,
    /// The nodes among which the lot falls, at most. 4: with two, jobs that come in a burst still meet; with many, some get a node that is
    /// worse for no gain. 1 takes the best always.
    pub spread: usize,
    /// Jobs that wait at once. Each costs some hundred bytes here and its specification at the driver. 16,384 is a quarter of
    /// a minute at a thousand jobs per second: who must wait longer is better served by a refusal that says when to come back.
    pub queue_max: usize,
    /// Jobs of one client that wait at once: a quarter of the queue, so that no three clients can fill it. Jobs whose attempt was lost
    /// count too, and are queued again whatever the count is: they were admitted before.
    pub queue_per_client_max: usize,
    /// Attempts of one job that came to nothing. 3: one bad node is bad luck, two are a coincidence; a job that takes a third node down is
    /// itself the likely cause.
    pub attempts_max: u32,
    /// Attempts of one job that nodes' owners cut short, each of which is paid, where each node that fits has done so. 8: who meets so many
    /// owners who come home has a job that is too long for lent machines.
    pub preemptions_max: u32,
    /// How long nodes may take to reconnect after a departure before a job that only they would fit is refused. 3 s: a node's first
    /// reconnection attempts, with their backoff, lie within it.
    pub join_grace_us: u64,
    /// The same after the gateway's start: nodes look less often for one that was away for longer. Where none is known, there is none to wait for.
    pub opening_grace_us: u64,
    /// What a lease lasts beyond the job's own wall time. Nodes enforce that themselves; this is for fetching a large input,
    /// compiling, and sending a large output. 10 minutes carry 16 GiB at 220 Mbit/s.
    pub lease_grace_us: u64,
    /// How long a node may take to confirm a cancellation. 10 s: it stops a guest within milliseconds, so a node that takes
    /// longer is not reachable in any useful sense, and the client should not wait for it.
    pub cancel_grace_us: u64,
    /// How long a node whose owner took the machine back may take to hand in what it had. 1 s: it stops its guests within 200 ms, and a
    /// job that waits longer is better begun elsewhere. A node that gave work back has as long to say that its owner wants the machine.
    pub vacate_grace_us: u64,
    /// The soonest that a second attempt is started beside a first, in microseconds. 20 ms: below, a hedge costs more than it can save.
    pub hedge_min_us: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            seed: 0,
            spread: 4,
            queue_max: 16_384,
            queue_per_client_max: 4_096,
            attempts_max: 3,
            preemptions_max: 8,
            join_grace_us: 3_000_000,
            opening_grace_us: 3_000_000,
            lease_grace_us: 600_000_000,
            cancel_grace_us: 10_000_000,
            vacate_grace_us: 1_000_000,
            hedge_min_us: 20_000,
        }
    }
}
