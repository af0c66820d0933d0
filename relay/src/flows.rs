use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long a dialer's port may be silent before its flow is forgotten, as a NAT's mapping is: longer than a connection of ours lives
/// without a word.
pub(crate) const FLOW_IDLE: Duration = Duration::from_secs(30);

/// Flows on one path. Each has a socket and a buffer; a measurement has a client or a few dozens on a path.
pub(crate) const FLOWS_MAX: usize = 256;

/// What stands for each dialer's port on the gateway's side, of a bounded number.
#[derive(Debug)]
pub(crate) struct Flows<S> {
    flows: HashMap<SocketAddr, (S, Instant)>,
    max: usize,
}

impl<S> Flows<S> {
    pub(crate) fn new(max: usize) -> Self {
        Self { flows: HashMap::new(), max }
    }

    /// The flow of `source`, in use from now on again.
    pub(crate) fn touch(&mut self, now: Instant, source: SocketAddr) -> Option<&S> {
        let (flow, used) = self.flows.get_mut(&source)?;
        *used = now;
        Some(flow)
    }

    /// Whether another flow has room, now that those in no use are forgotten.
    pub(crate) fn has_room(&mut self, now: Instant) -> bool {
        self.expire(now);
        self.flows.len() < self.max
    }

    pub(crate) fn insert(&mut self, now: Instant, source: SocketAddr, flow: S) {
        debug_assert!(self.flows.len() < self.max, "room was asked for before");
        self.flows.insert(source, (flow, now));
    }

    /// Forgets those that nobody used for [`FLOW_IDLE`].
    pub(crate) fn expire(&mut self, now: Instant) {
        self.flows.retain(|_, (_, used)| now.saturating_duration_since(*used) < FLOW_IDLE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(port: u16) -> SocketAddr {
        (std::net::Ipv4Addr::LOCALHOST, port).into()
    }

    #[test]
    fn idle_flows_make_room_and_used_ones_stay() {
        let mut flows = Flows::new(2);
        let begun = Instant::now();
        for n in [1, 2] {
            assert!(flows.has_room(begun));
            flows.insert(begun, port(n), n);
        }
        assert!(!flows.has_room(begun + FLOW_IDLE / 2));
        assert_eq!(flows.touch(begun + FLOW_IDLE / 2, port(1)), Some(&1));
        assert!(flows.has_room(begun + FLOW_IDLE), "the second is idle");
        assert_eq!(flows.touch(begun + FLOW_IDLE, port(2)), None);
        assert_eq!(flows.touch(begun + FLOW_IDLE, port(1)), Some(&1));
    }
}
