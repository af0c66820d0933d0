use adit_protocol::{GatewayToClient, GatewayToNode, NodeOffer};
use adit_transport::{Connection, Outbox, SendError};

/// Tells the connections of this process apart, also two of the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LinkId(pub(crate) u64);

/// A connected client.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) link: LinkId,
    pub(crate) connection: Connection,
    pub(crate) outbox: Outbox,
}

/// A connected node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) link: LinkId,
    pub(crate) connection: Connection,
    pub(crate) outbox: Outbox,
    pub(crate) offer: NodeOffer,
    pub(crate) path: Path,
}

/// The round trip to a node, by what QUIC says of it.
///
/// QUIC's own figure is smoothed (RFC 9002, section 5.3: a sample weighs an eighth), and on an idle connection samples are seconds apart: it
/// took a minute to notice that a line's queue was empty again. So the samples are computed back from how far the figure moved.
#[derive(Debug, Default)]
pub(crate) struct Path {
    last: Option<Reading>,
    rtt_us: u64,
    spread_us: u64,
}

#[derive(Debug, Clone, Copy)]
struct Reading {
    smoothed_us: u64,
    acks: u64,
}

impl Path {
    /// Takes in the smoothed round trip and the number of acknowledgements as they are now. Returns the round trip, and how far the samples
    /// lie from it: the mean, in which a new one weighs a quarter, as in RFC 9002.
    pub(crate) fn add(&mut self, smoothed_us: u64, acks: u64) -> (u64, u64) {
        let now = Reading { smoothed_us, acks };
        match self.last.replace(now) {
            None => self.rtt_us = smoothed_us,
            Some(last) if acks > last.acks => self.take(sample_us(last, now)),
            Some(_) => {}
        }
        (self.rtt_us, self.spread_us)
    }

    fn take(&mut self, sample_us: u64) {
        self.spread_us = (self.spread_us * 3 + self.rtt_us.abs_diff(sample_us)) / 4;
        self.rtt_us = (self.rtt_us + sample_us) / 2;
    }
}

/// The sample that moved the smoothed figure so, as many times as there were acknowledgements.
fn sample_us(last: Reading, now: Reading) -> u64 {
    let count = i32::try_from(now.acks - last.acks).unwrap_or(i32::MAX).min(64);
    let moved = now.smoothed_us as f64 - last.smoothed_us as f64;
    let sample = last.smoothed_us as f64 + moved / (1.0 - 0.875f64.powi(count));
    // One that lies outside of what a path can be shows that there were fewer samples than acknowledgements.
    sample.clamp(now.smoothed_us as f64 / 32.0, now.smoothed_us as f64 * 32.0) as u64
}

impl Client {
    pub(crate) fn send(&self, message: &GatewayToClient) {
        check(&self.connection, self.outbox.send(message));
    }

    /// Sends what nobody waits for.
    pub(crate) fn send_soon(&self, message: &GatewayToClient) {
        check(&self.connection, self.outbox.send_soon(message));
    }
}

impl Node {
    pub(crate) fn send(&self, message: &GatewayToNode) {
        check(&self.connection, self.outbox.send(message));
    }
}

/// A peer that lets messages pile up is disconnected: its own link then sees the end and cleans up.
fn check(connection: &Connection, sent: Result<(), SendError>) {
    if let Err(error) = sent {
        tracing::debug!(peer = %connection.peer(), %error, "message not sent");
        connection.close("the control stream is stuck");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// QUIC's smoothed figure over these samples, looked at once a second with as many samples in between as are told.
    fn seen(start_us: u64, rounds: &[(u64, &[u64])]) -> Vec<u64> {
        let (mut smoothed, mut acks, mut path) = (start_us, 10, Path::default());
        path.add(smoothed, acks);
        let mut seen = Vec::new();
        for (extra_acks, samples) in rounds {
            for sample in *samples {
                smoothed = (smoothed * 7 + sample) / 8;
            }
            acks += samples.len() as u64 + extra_acks;
            seen.push(path.add(smoothed, acks).0);
        }
        seen
    }

    #[test]
    fn idle_path_that_gets_better_or_worse_is_known_within_some_samples() {
        let better = seen(300_000, &[(0, &[2_000]), (0, &[]), (0, &[2_000]), (0, &[2_000]), (0, &[2_000])]);
        assert!(better[0] < 155_000 && better[1] == better[0] && better[4] < 25_000, "{better:?}");
        let worse = seen(2_000, &[(0, &[300_000]), (0, &[300_000]), (0, &[300_000])]);
        assert!(worse[0] > 145_000 && worse[2] > 260_000, "{worse:?}");
    }

    #[test]
    fn busy_path_is_as_quic_says() {
        let many = [5_000; 40];
        let busy = seen(80_000, &[(0, &many), (0, &many), (0, &many), (0, &many), (0, &many), (0, &many)]);
        assert!((4_900..7_000).contains(&busy[5]), "{busy:?}");
    }

    #[test]
    fn acknowledgements_without_a_sample_do_no_harm() {
        let quiet = seen(50_000, &[(3, &[]), (0, &[50_000]), (20, &[50_000]), (1, &[40_000])]);
        assert!(quiet.iter().all(|rtt| (40_000..=50_001).contains(rtt)), "{quiet:?}");
        assert_eq!(Path::default().add(7, 0), (7, 0));
    }
}
