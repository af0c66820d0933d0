//! The machine's GPU: whether it is lent now, and how gateway and owner learn of it.

use std::time::Duration;

use adit_protocol::{GpuOffer, NodeMessage};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::NodeEvent;
use crate::node::Shared;

/// Why a job has to go whose GPU its owner takes back.
pub(crate) const TAKEN_BACK: &str = "its owner took the GPU back";

/// How long a GPU may take to be back that was lost. Its process is there again within 5 s.
const BACK_WITHIN: Duration = Duration::from_secs(6);

/// How a node's GPU is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuStatus {
    /// `off` where it is not in the node's configuration, `kept_back` where its owner said so, `lent`, or `missing` where none can be had.
    pub state: String,
    /// Its class, where it is lent.
    pub class: Option<String>,
    /// Memory for each job, where it is lent.
    pub memory_bytes: Option<u64>,
}

impl Shared {
    /// What is lent of the GPU now. One that was lost a moment ago is taken to be back in another: jobs wait for it at the runtime, where
    /// without it on offer they would be refused.
    pub(crate) fn gpu_now(&self) -> Option<GpuOffer> {
        if self.owner.is_gpu_kept_back() || self.runtime.gpu_withdrawn().is_some() {
            return None;
        }
        let gone = match self.runtime.gpu() {
            Some(offer) => {
                self.gpu_gone_since.set(None);
                return Some(offer);
            }
            None => self.gpu_gone_since.get().unwrap_or_else(Instant::now),
        };
        self.gpu_gone_since.set(Some(gone));
        self.gpu_told.borrow().clone().filter(|_| gone.elapsed() < BACK_WITHIN)
    }

    /// Waits until the GPU is there, or it is known why not, so that the gateway hears of it with the first offer.
    pub(crate) async fn settle_gpu(&self) {
        if self.config.gpu.is_none() || self.owner.is_gpu_kept_back() {
            return;
        }
        if let Err(reason) = self.runtime.gpu_settled().await {
            self.tell(NodeEvent::GpuMissing { reason });
        }
        self.look_at_gpu();
    }

    /// Tells gateway and owner where what is lent of the GPU has changed: its process may have been lost, or be there again.
    pub(crate) fn look_at_gpu(&self) {
        let now = self.gpu_now();
        if *self.gpu_told.borrow() == now {
            return;
        }
        tracing::info!(gpu = ?now, "GPU");
        *self.gpu_told.borrow_mut() = now.clone();
        if let Some(link) = self.link() {
            link.send(&NodeMessage::Offer(Box::new(self.offer_now())));
        }
        self.tell(match now {
            Some(offer) => NodeEvent::GpuLent { offer },
            None => NodeEvent::GpuNotLent,
        });
    }

    /// Lends the GPU, or takes it back from the jobs that have it.
    ///
    /// # Errors
    /// Where there is none to lend, or where the next process would not know it.
    pub(crate) async fn lend_gpu(&self, is_lent: bool) -> Result<(), String> {
        if is_lent && self.config.gpu.is_none() {
            return Err("this node was started without a GPU; `gpu = \"on\"` in its config file, or --gpu, names it".to_owned());
        }
        self.owner.lend_gpu(is_lent);
        if is_lent {
            self.runtime.set_gpu(true);
            self.settle_gpu().await;
        } else {
            // First the offer, so that no such job comes back here.
            self.look_at_gpu();
            if let Some(link) = self.link() {
                link.take_back_gpu();
            }
            self.runtime.set_gpu(false);
        }
        let kept = self.owner.keep_gpu();
        kept.await.map_err(|error| format!("it is done, but the node will not remember it when it is started again: {error}"))
    }

    pub(crate) fn gpu_status(&self) -> GpuStatus {
        let offer = self.gpu_now();
        let state = match &offer {
            _ if self.config.gpu.is_none() => "off",
            _ if self.owner.is_gpu_kept_back() => "kept_back",
            Some(_) => "lent",
            None => "missing",
        };
        let memory_bytes = offer.as_ref().map(|offer| offer.memory.0);
        GpuStatus { state: state.to_owned(), class: offer.map(|offer| offer.class), memory_bytes }
    }
}
