use adit_protocol::{UnfitReason, Verdict};

/// Every verdict there is.
const ALL: [Verdict; 15] = [
    Verdict::Chosen,
    Verdict::NotDrawn,
    Verdict::Worse,
    Verdict::Full,
    Verdict::Unfit(UnfitReason::Profile),
    Verdict::Unfit(UnfitReason::Label),
    Verdict::Unfit(UnfitReason::Memory),
    Verdict::Unfit(UnfitReason::Slots),
    Verdict::Unfit(UnfitReason::Price),
    Verdict::Unfit(UnfitReason::FailedBefore),
    Verdict::Unfit(UnfitReason::NotReady),
    Verdict::Unfit(UnfitReason::Declined),
    Verdict::Unfit(UnfitReason::Reputation),
    Verdict::Unfit(UnfitReason::Deadline),
    Verdict::Unfit(UnfitReason::Gpu),
];

/// How often each verdict was given.
#[derive(Debug, Default)]
pub(crate) struct Verdicts([u32; ALL.len()]);

impl Verdicts {
    pub(crate) fn count(&mut self, verdict: Verdict) {
        if let Some(at) = ALL.iter().position(|known| *known == verdict) {
            self.0[at] = self.0[at].saturating_add(1);
        }
    }

    /// Those that were given, with how often.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Verdict, u64)> {
        ALL.into_iter().zip(self.0).filter(|(_, count)| *count > 0).map(|(verdict, count)| (verdict, u64::from(count)))
    }
}
