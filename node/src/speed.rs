//! What this machine is measured to do, and what the gateway is told of it.

use std::cell::Cell;
use std::time::Duration;

use adit_protocol::{NodeMessage, NodeOffer, NodeState};

use crate::NodeEvent;
use crate::link::Link;
use crate::node::{GPU_KIND_LABEL, GPU_LABEL, Shared};

/// When a machine that was busy is measured again for the first time: what comes after a machine's start is over by then. Later pauses
/// double.
const AGAIN_MIN: Duration = Duration::from_secs(60);

/// The longest pause: a machine that is always busy spends no more than some ten thousandths of its time on this.
const AGAIN_MAX: Duration = Duration::from_secs(3600);

/// What is known of this machine's speed.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    /// 0 where it is not known.
    fuel_per_second: Cell<u64>,
    /// Whether another time may give more.
    may_be_more: Cell<bool>,
}

impl Shared {
    /// What this node offers now.
    pub(crate) fn offer_now(&self) -> NodeOffer {
        let gpu = self.gpu_now();
        let class = gpu.iter().map(|gpu| (GPU_LABEL.to_owned(), gpu.class.clone()));
        let kind = gpu.iter().filter_map(|gpu| gpu.class.split('/').next());
        let kind = kind.map(|kind| (GPU_KIND_LABEL.to_owned(), kind.to_owned()));
        let labels = self.offer.labels.iter().cloned().chain(class).chain(kind).collect();
        NodeOffer {
            fuel_per_second: self.measured.fuel_per_second.get(),
            gpu,
            labels,
            one_tenant: self.owner.rules().one_tenant,
            ..self.offer.clone()
        }
    }

    /// Measures this machine before it joins; later, where its owner or a rule wants it left alone now.
    pub(crate) async fn measure_first(&self) {
        if self.state() == NodeState::Ready {
            return self.measure().await;
        }
        self.measured.may_be_more.set(true);
    }

    /// Measures this machine. Where that fails its speed stays what it was, at first 0, which gateways read as not measured; the node
    /// works all the same. Ends where its owner or a rule wants the machine.
    pub(crate) async fn measure(&self) {
        match self.runtime.measure_speed_until(self.unready()).await {
            Ok(speed) => {
                tracing::info!(?speed, "measured");
                self.measured.fuel_per_second.set(speed.fuel_per_second);
                self.measured.may_be_more.set(speed.was_busy);
                self.tell(NodeEvent::Measured { speed, slots: self.config.slots });
            }
            Err(error) => {
                tracing::info!(%error, "not measured");
                self.measured.may_be_more.set(error.is_passing());
                self.tell(NodeEvent::NotMeasured { reason: error.to_string() });
            }
        }
    }
}

/// Measures a machine that was busy before again, at times when it has no job, and tells the gateway. Ends when its speed is known.
pub(crate) async fn measure_again(link: &Link) {
    let mut pause = AGAIN_MIN;
    while link.node.measured.may_be_more.get() {
        tokio::time::sleep(pause).await;
        if link.leases() == 0 && link.node.state() == NodeState::Ready {
            pause = (pause * 2).min(AGAIN_MAX);
            link.node.measure().await;
            link.send(&NodeMessage::Offer(Box::new(link.node.offer_now())));
        }
    }
}
