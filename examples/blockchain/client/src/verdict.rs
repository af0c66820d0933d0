//! What the batches come to together.

use std::fmt;

use adit_example_blockchain::{Batch, Network, Report, Verdict};
use serde_json::{Value, json};

/// The chains, each with what its batches say.
#[derive(Debug, Default)]
pub(crate) struct Chains(Vec<Chain>);

#[derive(Debug)]
struct Chain {
    network: Network,
    /// The sums, and the ends.
    report: Report,
    /// What does not hold, with the height at which its batch begins.
    refusals: Vec<(u32, String)>,
}

impl Chains {
    /// Joins the verdicts of batches in the order of their chains. Where one batch's headers do not begin where the last one's end, that
    /// is a refusal too: the batches were checked apart, and only here is seen that they are one chain.
    pub(crate) fn join(batches: &[Batch], verdicts: Vec<Verdict>) -> Self {
        let mut chains = Self::default();
        for (batch, verdict) in batches.iter().zip(verdicts) {
            if chains.0.last().is_none_or(|chain| chain.network != batch.network) {
                chains.0.push(Chain { network: batch.network, report: Report::default(), refusals: Vec::new() });
            }
            if let Some(chain) = chains.0.last_mut() {
                chain.add(batch.height, verdict);
            }
        }
        chains
    }

    pub(crate) fn are_valid(&self) -> bool {
        self.0.iter().all(|chain| chain.refusals.is_empty())
    }

    pub(crate) fn to_json(&self) -> Value {
        self.0.iter().map(Chain::to_json).collect()
    }
}

impl Chain {
    fn add(&mut self, height: u32, verdict: Verdict) {
        let report = match verdict {
            Verdict::Valid(report) => report,
            Verdict::Refused(reason) => return self.refusals.push((height, reason)),
        };
        let sum = &mut self.report;
        if report.headers > 0 {
            // After a refusal there is nothing to join to.
            if sum.headers == height && height > 0 && report.previous != sum.last {
                self.refusals
                    .push((height, format!("it stands on {}, and the batch before ends in {}", report.previous, sum.last)));
            }
            sum.last = report.last;
        }
        sum.headers += report.headers;
        sum.blocks += report.blocks;
        sum.transactions += report.transactions;
        sum.inputs += report.inputs;
        sum.signatures += report.signatures;
        sum.proven += report.proven;
        sum.unchecked += report.unchecked;
        sum.without_values += report.without_values;
    }

    fn to_json(&self) -> Value {
        let Report { headers, blocks, transactions, inputs, signatures, proven, unchecked, without_values, .. } = &self.report;
        let refusals: Vec<Value> =
            self.refusals.iter().map(|(height, reason)| json!({ "height": height, "reason": reason })).collect();
        json!({
            "network": format!("{:?}", self.network).to_lowercase(), "headers": headers, "blocks": blocks, "transactions": transactions,
            "inputs": inputs, "proven": proven, "signatures": signatures, "unchecked": unchecked, "without_values": without_values,
            "last": self.report.last.to_string(), "refusals": refusals,
        })
    }
}

impl fmt::Display for Chains {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Chain { network, report, refusals } in &self.0 {
            write!(f, "{}: ", format!("{network:?}").to_lowercase())?;
            // The sum has no first height of its own: where batches are refused it has gaps.
            match report.headers {
                0 => writeln!(f, "{report}")?,
                headers => writeln!(f, "{headers} headers up to {}; {}", report.last, Report { headers: 0, ..report.clone() })?,
            }
            for (height, reason) in refusals {
                writeln!(f, "  refused, in the batch from {height}: {reason}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use adit_example_blockchain::Hash;

    use super::*;

    fn batch(network: Network, height: u32) -> Batch {
        Batch { network, height, before: Default::default(), period_start: None, headers: Default::default(), blocks: Vec::new() }
    }

    fn valid(previous: u8, last: u8) -> Verdict {
        Verdict::Valid(Report {
            headers: 10,
            previous: Hash([previous; 32]),
            last: Hash([last; 32]),
            signatures: 3,
            ..Report::default()
        })
    }

    #[test]
    fn batches_that_join_are_one_chain() {
        let batches = [batch(Network::Main, 0), batch(Network::Main, 10), batch(Network::Test, 0)];
        let chains = Chains::join(&batches, vec![valid(0, 1), valid(1, 2), valid(0, 7)]);
        assert!(chains.are_valid());
        assert_eq!((chains.0.len(), chains.0[0].report.headers, chains.0[0].report.signatures), (2, 20, 6));
    }

    #[test]
    fn batches_that_do_not_join_are_refused() {
        let chains = Chains::join(&[batch(Network::Main, 0), batch(Network::Main, 10)], vec![valid(0, 1), valid(3, 4)]);
        assert!(!chains.are_valid());
        assert!(chains.to_string().contains("refused, in the batch from 10: it stands on 0303"), "{chains}");
    }

    #[test]
    fn refusals_are_told_with_their_reasons() {
        let chains = Chains::join(&[batch(Network::Main, 0)], vec![Verdict::Refused("header 3: no".to_owned())]);
        assert!(!chains.are_valid());
        assert!(chains.to_string().contains("refused, in the batch from 0: header 3: no"), "{chains}");
        assert_eq!(chains.to_json()[0]["refusals"][0]["reason"], "header 3: no");
    }
}
