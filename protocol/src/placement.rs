use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Attempt, Fuel, JobId, Microcredits, NodeState, PublicKey, Refusal, UnfitReason, UnixMillis};

/// Where a job may run, and which of the nodes that may run it gets it.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// Labels that the node must carry, each as key and value.
    pub labels: Vec<(String, String)>,
    /// What counts among the nodes that fit.
    pub prefer: Preference,
    /// How long after its first submission the job's result is of use, in milliseconds. A job that could not end by then is not started.
    pub deadline_ms: Option<u64>,
    /// Among the jobs of one client that wait, those of a higher priority go first.
    pub priority: u8,
    /// Whether a second attempt may be started on another node where the first takes longer than such jobs nearly always do. The first
    /// result counts, and both are paid for what they did.
    pub hedge: bool,
}

/// What counts among the nodes that fit a job.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preference {
    /// The predicted time until the result; the price only between equals.
    Fast,
    /// Time and price alike: a tenth less time is worth a tenth more of the price.
    #[default]
    Balanced,
    /// The price; the time only between equals.
    Cheap,
}

impl Preference {
    /// The preference's name as scripts read it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Balanced => "balanced",
            Self::Cheap => "cheap",
        }
    }
}

impl fmt::Display for Preference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Preference {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "fast" => Ok(Self::Fast),
            "balanced" => Ok(Self::Balanced),
            "cheap" => Ok(Self::Cheap),
            _ => Err(format!("`{text}` is not a preference; write `fast`, `balanced` or `cheap`")),
        }
    }
}

/// A step of a job on its way to a node, as it was recorded then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// An attempt was given to a node.
    Started(Decision),
    /// No node could have it, and it waits from here on.
    Waits(Wait),
    /// It was refused.
    Refused(Refusal),
    /// It ended because its attempts came to nothing.
    Lost {
        /// How many attempts there were.
        attempts: u32,
        /// What the last of them died of, and why there is no further one.
        reason: String,
    },
}

/// Why a job waits: what kept each connected node from having it when its wait began.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// How many nodes were ruled out, under the first thing that ruled each out. Where many jobs like it wait already, these are what was
    /// found for the first of them.
    pub unfit: Vec<(UnfitReason, u32)>,
    /// Nodes that fit and had no room.
    pub full: u32,
    /// Other jobs that waited, of all clients.
    pub queued: u32,
    /// Of these, the ones of its own client that go before it: of a higher priority, or of the same and older. None for a job whose attempt
    /// was lost: it goes before all that had none.
    pub ahead: u32,
    /// Other clients with jobs that waited. Clients are served in turn, so their jobs are not all before it.
    pub clients: u32,
}

/// How an attempt came to its node: what was known when that was decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The attempt that was started.
    pub attempt: Attempt,
    /// Whether it is a second one beside another that runs.
    pub is_hedge: bool,
    /// How long the job had waited, in microseconds over all its waits.
    pub waited_us: u64,
    /// What counted.
    pub prefer: Preference,
    /// What the job was taken to need.
    pub fuel: Fuel,
    /// Whether that comes from earlier jobs of its module; else it is the job's limit.
    pub is_fuel_known: bool,
    /// Whether the job had waited and this node was the first with room for it; else the node was chosen among those with room.
    pub is_first_free: bool,
    /// Whether none had room, and the job comes before all that waits at this node.
    pub is_next: bool,
    /// The nodes that were compared, best first; at most [`CANDIDATES_MAX`](crate::limits::CANDIDATES_MAX).
    pub candidates: Vec<Candidate>,
    /// How many nodes were ruled out while candidates were sought, under the first thing that ruled each out.
    pub unfit: Vec<(UnfitReason, u32)>,
    /// Connected nodes that had no room.
    pub full: u32,
    /// Connected nodes with room beside the candidates, which were not compared, as the orders in which nodes are kept (by distance, speed and price) show no
    /// reason why they should be better.
    pub others: u32,
}

/// A node that was compared for a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// The node.
    pub node: PublicKey,
    /// What it was predicted to take.
    pub predicted: Prediction,
    /// What the job would cost there at the fuel that it was taken to need.
    pub price: Microcredits,
    /// Time and price as the job weighs them: the least is the best.
    pub score: u64,
    /// What became of it.
    pub verdict: Verdict,
}

/// The predicted parts of a job's time on a node, in microseconds.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prediction {
    /// One round trip between gateway and node.
    pub rtt_us: u64,
    /// Until the jobs that the node already has make room.
    pub queue_us: u64,
    /// To bring module and input there, as far as they are not.
    pub fetch_us: u64,
    /// To compile the module, where it is not known there.
    pub compile_us: u64,
    /// To run it.
    pub run_us: u64,
}

impl Prediction {
    /// All parts together, in microseconds.
    pub fn total_us(&self) -> u64 {
        let Self { rtt_us, queue_us, fetch_us, compile_us, run_us } = *self;
        [queue_us, fetch_us, compile_us, run_us].into_iter().fold(rtt_us, u64::saturating_add)
    }
}

/// What became of a node that was compared for a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Verdict {
    /// It got the job.
    Chosen,
    /// It was about as good as the one that got it; the lot fell on the other, so that not all jobs of a moment go to one node.
    NotDrawn,
    /// Another was better.
    Worse,
    /// It was ruled out.
    Unfit(UnfitReason),
    /// It had no room. Told of where few nodes are connected; else they are counted.
    Full,
}

/// What a node was considered for, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// What the gateway knows of it now.
    pub state: NodeState,
    /// How far its claims and its work have held, in thousandths.
    pub reputation: u16,
    /// How often it was compared, with each verdict, in this connection.
    pub verdicts: Vec<(Verdict, u64)>,
    /// The last jobs for which it was compared and which it did not get, newest first.
    pub passed: Vec<Passed>,
}

/// A job that went to another node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passed {
    /// The job.
    pub job: JobId,
    /// When, by the gateway's wall clock.
    pub time: UnixMillis,
    /// What was known of the node.
    pub candidate: Candidate,
    /// What was known of the one that got the job.
    pub chosen: Candidate,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preference_is_read_as_it_is_written() {
        for preference in [Preference::Fast, Preference::Balanced, Preference::Cheap] {
            assert_eq!(preference.to_string().parse(), Ok(preference));
        }
        assert!("quick".parse::<Preference>().is_err());
    }

    #[test]
    fn prediction_is_the_sum_of_its_parts_and_does_not_overflow() {
        let parts = Prediction { rtt_us: 1, queue_us: 20, fetch_us: 300, compile_us: 4_000, run_us: 50_000 };
        assert_eq!(parts.total_us(), 54_321);
        assert_eq!(Prediction { run_us: u64::MAX, ..parts }.total_us(), u64::MAX);
    }
}
