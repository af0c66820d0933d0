use std::collections::BTreeMap;
use std::sync::Arc;

use adit_protocol::PublicKey;

use crate::class::Class;
use crate::request::Demand;
use crate::timer::Armed;

/// Which nodes may still be on their way back. While one of them would fit a job, the job waits rather than being refused.
#[derive(Debug, Default)]
pub(crate) struct Grace {
    opening: Opening,
    /// The nodes that left not long ago. An entry stays for its time even if the node is back before, perhaps with another offer:
    /// so its timer always comes, and with it the sweep for jobs that only the old offer fitted.
    departed: BTreeMap<PublicKey, Departed>,
}

/// The time after the first event, in which nodes of an earlier gateway process reconnect: any node may come.
#[derive(Debug, Default, PartialEq, Eq)]
enum Opening {
    #[default]
    Ahead,
    Running,
    Over,
}

#[derive(Debug)]
struct Departed {
    class: Arc<Class>,
    armed: Armed,
}

impl Grace {
    /// Opens at the first call, and says whether this is it.
    pub(crate) fn open(&mut self) -> bool {
        let first = self.opening == Opening::Ahead;
        if first {
            self.opening = Opening::Running;
        }
        first
    }

    pub(crate) fn end_opening(&mut self) {
        self.opening = Opening::Over;
    }

    /// Remembers a node that left, or whose owner paused it, until `armed`.
    pub(crate) fn await_return(&mut self, node: PublicKey, class: Arc<Class>, armed: Armed) {
        self.departed.insert(node, Departed { class, armed });
    }

    /// Forgets a node that left; returns the timer that stood for it.
    pub(crate) fn end_return(&mut self, node: &PublicKey) -> Option<Armed> {
        self.departed.remove(node).map(|departed| departed.armed)
    }

    /// Whether a node that fits may still be on its way.
    pub(crate) fn covers(&self, demand: &Demand) -> bool {
        self.opening != Opening::Over || self.departed.values().any(|node| node.class.fits(demand))
    }
}
