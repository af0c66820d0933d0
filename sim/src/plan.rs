//! What a run is: how much of what, and which faults. Drawn from the seed; each fault is in about half of all plans, so that no fault
//! always hides what another one would show (A. Groce et al., "Swarm testing", 2012).

use std::fmt;
use std::str::FromStr;

use crate::chance::Chance;

/// A second, in microseconds.
pub(crate) const SECOND: u64 = 1_000_000;

/// After the faults have stopped, every job ends within this.
pub(crate) const QUIET_MAX_US: u64 = 60 * SECOND;

macro_rules! faults {
    ($($(#[doc = $doc:literal])+ $fault:ident = $name:literal,)+) => {
        /// What can go wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Fault {
            $($(#[doc = $doc])+ $fault,)+
        }

        impl Fault {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$fault,)+];

            /// Its name on the command line.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$fault => $name,)+
                }
            }
        }
    };
}

faults! {
    /// Packets are lost. QUIC sends them again, so that the stream stands still for some round trips.
    Loss = "loss",
    /// Paths are long and uneven.
    Delay = "delay",
    /// Clients submit and cancel a second time, nodes say things a second time.
    Duplicates = "duplicates",
    /// Connections break, with what was in flight; each end notices in its own time, so that a peer may be back before it is missed.
    Breaks = "breaks",
    /// Peers cannot reach the gateway for seconds.
    Partitions = "partitions",
    /// Nodes die with their work and come back.
    NodeCrashes = "node-crashes",
    /// The gateway dies and starts anew with what its disk has.
    GatewayCrashes = "gateway-crashes",
    /// The gateway stands still for up to some seconds.
    Stalls = "stalls",
    /// Clocks run fast or slow, and wall clocks jump.
    Clocks = "clocks",
    /// The disk takes its time.
    SlowDisk = "slow-disk",
    /// A write or a sync fails, and the gateway ends.
    DiskErrors = "disk-errors",
    /// A crash leaves some of what was not synced, sector by sector.
    TornWrites = "torn-writes",
    /// Nodes claim a speed that they do not have, call what they ran compilation, and sound modules invalid.
    Liars = "liars",
    /// Nodes now and then take many times as long.
    Stragglers = "stragglers",
    /// Nodes now and then never say how an attempt ended.
    Silence = "silence",
    /// Nodes fail jobs.
    NodeFailures = "node-failures",
    /// Nodes give back what they were given, some nearly all of it and in their owners' name; others cut short what is nearly done.
    GiveBacks = "give-backs",
    /// Receipts do not hold.
    BadReceipts = "bad-receipts",
    /// Nodes report attempts that they do not have, and change their price: they are expelled.
    Rogues = "rogues",
    /// Owners pause, drain and resume their nodes.
    Owners = "owners",
    /// Owners' lists have clients on them.
    Declines = "declines",
    /// Some modules run nowhere.
    BadModules = "bad-modules",
    /// Clients with little credit.
    Poverty = "poverty",
    /// More work than the nodes can do.
    Overload = "overload",
    /// Guests hang the GPU or use more of it than they may, and owners switch it off and on.
    Gpus = "gpus",
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Fault {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let names = || Self::ALL.iter().map(|fault| fault.name()).collect::<Vec<_>>().join(", ");
        let found = Self::ALL.iter().copied().find(|fault| fault.name() == name);
        found.ok_or_else(|| anyhow::anyhow!("`{name}` is not a fault; there are {}", names()))
    }
}

/// What is taken out of a seed's plan, to find the least that still fails.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Reduction {
    /// Faults that do not happen.
    pub without: Vec<Fault>,
    /// No more jobs than this.
    pub jobs_max: Option<u32>,
    /// No more nodes than this.
    pub nodes_max: Option<u32>,
}

impl fmt::Display for Reduction {
    /// As arguments of the command line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.without {
            write!(f, " --without {fault}")?;
        }
        if let Some(jobs) = self.jobs_max {
            write!(f, " --jobs {jobs}")?;
        }
        if let Some(nodes) = self.nodes_max {
            write!(f, " --nodes {nodes}")?;
        }
        Ok(())
    }
}

/// One run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What it is drawn from.
    pub seed: u64,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// Nodes.
    pub nodes: u32,
    /// Clients.
    pub clients: u32,
    /// Jobs of all clients.
    pub jobs: u32,
    /// Modules.
    pub modules: u32,
    /// How long faults happen and jobs come.
    pub active_us: u64,
    /// Bounds of the dispatcher.
    pub queue_max: usize,
    /// The same, of one client.
    pub queue_per_client_max: usize,
    /// Ended jobs that the gateway remembers beside the ledger.
    pub ended_jobs_max: usize,
    /// What the gateway keeps, in millionths.
    pub fee_ppm: u32,
}

impl Plan {
    /// The plan of a seed.
    pub fn draw(seed: u64, reduction: &Reduction) -> Self {
        let mut chance = Chance::new(seed, "plan");
        // Drawn whether or not it is left out, so that all else stays what it is.
        let drawn: Vec<Fault> = Fault::ALL.iter().copied().filter(|_| chance.permille(500)).collect();
        let plan = Self {
            seed,
            nodes: chance.within_orders(1, 16) as u32,
            clients: chance.within(1, 6) as u32,
            jobs: chance.within_orders(8, 160) as u32,
            modules: chance.within(1, 5) as u32,
            active_us: chance.within(4, 30) * SECOND,
            queue_max: chance.pick(&[4, 12, 100, 16_384]),
            queue_per_client_max: chance.pick(&[3, 8, 50, 4_096]),
            ended_jobs_max: chance.pick(&[1, 4, 4_096]),
            fee_ppm: chance.pick(&[0, 50_000, 1_000_000]),
            faults: drawn,
        };
        plan.reduced(reduction)
    }

    fn reduced(mut self, reduction: &Reduction) -> Self {
        self.faults.retain(|fault| !reduction.without.contains(fault));
        self.jobs = self.jobs.min(reduction.jobs_max.unwrap_or(u32::MAX));
        self.nodes = self.nodes.min(reduction.nodes_max.unwrap_or(u32::MAX));
        self
    }

    /// Whether something goes wrong in this run.
    pub fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { nodes, clients, jobs, active_us, queue_max, queue_per_client_max, .. } = self;
        let faults: Vec<&str> = self.faults.iter().map(|fault| fault.name()).collect();
        let seconds = active_us / SECOND;
        write!(f, "{nodes} nodes, {clients} clients, {jobs} jobs over {seconds} s, queue {queue_max}/{queue_per_client_max}; ")?;
        write!(f, "faults: {}", faults.join(", "))
    }
}
