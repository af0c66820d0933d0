//! What the rules say to what is read, over time.
//!
//! A rule trips at once. Hours and the day's traffic are over as soon as they say so. What a machine's own state trips is over only once
//! its cause has been away for a while, because each time costs a job its place and a client what was done in vain:
//!
//! | rule | trips | is over |
//! |---|---|---|
//! | temperature | over the limit | [`COOLER`] below it for [`COOL_FOR`] |
//! | load | over the limit in the last second | at or under it for [`CALM_FOR`] |
//! | mains | on the battery | on mains for [`FED_FOR`] |
//!
//! What a rule needs and cannot be read keeps the node from working for as long.

use std::time::Duration;

use adit_protocol::ByteCount;

use super::{Celsius, Readings, Rules, Standing, show_bytes};

/// How much cooler than its limit a machine that was too warm must be. A guest warms a small machine by some degrees.
const COOLER: Celsius = Celsius(5_000);
/// For how long. Without, a machine that cools as fast as it warms would start and stop a job every few seconds.
const COOL_FOR: Duration = Duration::from_secs(60);
/// How long others must have been at or under the limit. Somebody who reads what a page shows will scroll again.
const CALM_FOR: Duration = Duration::from_secs(30);
/// How long a machine must have been on mains again; a plug that is put in makes and breaks contact first.
const FED_FOR: Duration = Duration::from_secs(5);

/// Judges readings by an owner's rules.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    temperature: Latch,
    load: Latch,
    mains: Latch,
}

/// A rule that trips at once, and is over when all has been well for a while.
#[derive(Debug, Default)]
struct Latch {
    /// Why it tripped. It stays as it is until that is over: a reason that changed with each reading would be news each time.
    tripped: Option<String>,
    well_since: Option<Duration>,
}

/// How a reading compares to its rule.
enum Reading {
    /// Over the limit, in words.
    Bad(String),
    /// Within the limit, but not far enough to begin again.
    Fair,
    /// Well within the limit.
    Good,
    /// It cannot be read, in words.
    Missing(&'static str),
}

impl Judge {
    /// Whether the node may work. `now` is the time since any fixed moment; `moved_today` is what it sent and received since midnight.
    pub(crate) fn judge(&mut self, now: Duration, rules: &Rules, read: &Readings, moved_today: ByteCount) -> Standing {
        // Each of them is looked at each time, so that none misses what happens while another is tripped.
        let reasons = [
            hours(rules, read),
            traffic(rules, moved_today),
            mains(rules, read).and_then(|reading| self.mains.look(now, reading, FED_FOR)),
            temperature(rules, read).and_then(|reading| self.temperature.look(now, reading, COOL_FOR)),
            load(rules, read).and_then(|reading| self.load.look(now, reading, CALM_FOR)),
        ];
        reasons.into_iter().flatten().next().map_or(Standing::Allowed, Standing::Forbidden)
    }
}

fn hours(rules: &Rules, read: &Readings) -> Option<String> {
    let hours = rules.hours.as_ref()?;
    (!hours.contains(read.clock)).then(|| format!("outside of the hours {hours}"))
}

fn traffic(rules: &Rules, moved: ByteCount) -> Option<String> {
    let most = rules.traffic_max?;
    (moved >= most).then(|| format!("the day's traffic of {} is used up", show_bytes(most)))
}

fn mains(rules: &Rules, read: &Readings) -> Option<Reading> {
    rules.mains_only.then(|| match read.on_mains {
        Some(true) => Reading::Good,
        Some(false) => Reading::Bad("the machine is on its battery".to_owned()),
        None => Reading::Missing("whether the machine is on mains power cannot be read"),
    })
}

fn temperature(rules: &Rules, read: &Readings) -> Option<Reading> {
    let most = rules.temperature_max?;
    Some(match read.temperature {
        Some(now) if now > most => Reading::Bad(format!("the machine is at {now}, over {most}")),
        Some(now) if now.0 > most.0 - COOLER.0 => Reading::Fair,
        Some(_) => Reading::Good,
        None => Reading::Missing("the machine's temperature cannot be read"),
    })
}

fn load(rules: &Rules, read: &Readings) -> Option<Reading> {
    let most = rules.load_max?;
    Some(match read.load {
        Some(now) if now > most => Reading::Bad(format!("others use {now} of the processors, over {most}")),
        Some(_) => Reading::Good,
        None => Reading::Missing("what others use of the processors is not known yet"),
    })
}

impl Latch {
    fn look(&mut self, now: Duration, reading: Reading, well_for: Duration) -> Option<String> {
        match reading {
            Reading::Bad(reason) => {
                self.tripped.get_or_insert(reason);
                self.well_since = None;
            }
            Reading::Missing(reason) => {
                self.well_since = None;
                return Some(self.tripped.clone().unwrap_or_else(|| reason.to_owned()));
            }
            Reading::Fair => self.well_since = None,
            Reading::Good if now.saturating_sub(*self.well_since.get_or_insert(now)) >= well_for => self.tripped = None,
            Reading::Good => {}
        }
        self.tripped.clone()
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::super::Share;
    use super::*;

    /// Calm, cool and on mains, on a Monday at noon.
    fn well() -> Readings {
        Readings {
            clock: date(2026, 11, 23).at(12, 0, 0, 0),
            load: Some(Share(0)),
            temperature: Some(Celsius(40_000)),
            on_mains: Some(true),
        }
    }

    /// Each row: the second, what is read, and what is said to it; nothing where the node may work.
    #[track_caller]
    fn check(rules: Rules, rows: &[(f64, Readings, Option<&str>)]) {
        let mut judge = Judge::default();
        for (second, read, want) in rows {
            let standing = judge.judge(Duration::from_secs_f64(*second), &rules, read, ByteCount(0));
            let want = want.map_or(Standing::Allowed, |reason| Standing::Forbidden(reason.to_owned()));
            assert_eq!(standing, want, "at {second} s");
        }
    }

    #[test]
    fn without_rules_everything_is_allowed() {
        let nothing = Readings { load: None, temperature: None, on_mains: None, ..well() };
        check(Rules::default(), &[(0.0, nothing, None)]);
    }

    #[test]
    fn hours_begin_and_end_to_the_minute() {
        let at = |hour, minute| Readings { clock: date(2026, 11, 23).at(hour, minute, 0, 0), ..well() };
        let out = Some("outside of the hours 22:00-07:00");
        check(
            Rules { hours: Some("22:00-07:00".parse().unwrap()), ..Rules::default() },
            &[(0.0, at(6, 59), None), (60.0, at(7, 0), out), (120.0, at(21, 59), out), (180.0, at(22, 0), None)],
        );
    }

    #[test]
    fn warm_machine_rests_until_it_has_been_cool_for_a_minute() {
        let at = |degrees: f64| Readings { temperature: Some(Celsius((degrees * 1000.0) as i32)), ..well() };
        let hot = Some("the machine is at 83 °C, over 80 °C");
        check(
            Rules { temperature_max: Some(Celsius(80_000)), ..Rules::default() },
            &[
                (0.0, at(80.0), None),
                (0.1, at(83.0), hot),
                (0.2, at(91.0), hot),
                (10.0, at(79.9), hot),
                (20.0, at(75.0), hot),
                // Warmer again in between: the minute begins anew.
                (70.0, at(75.1), hot),
                (80.0, at(74.0), hot),
                (139.9, at(74.0), hot),
                (140.0, at(74.0), None),
                (141.0, at(79.0), None),
                (142.0, at(80.1), Some("the machine is at 80.1 °C, over 80 °C")),
            ],
        );
    }

    #[test]
    fn busy_machine_rests_until_it_has_been_calm_for_half_a_minute() {
        let at = |percent: u32| Readings { load: Some(Share(percent * 10_000)), ..well() };
        let busy = Some("others use 40% of the processors, over 25%");
        check(
            Rules { load_max: Some(Share(250_000)), ..Rules::default() },
            &[
                (0.0, Readings { load: None, ..well() }, Some("what others use of the processors is not known yet")),
                // Nothing tripped, so there is nothing to wait for.
                (1.0, at(25), None),
                (2.0, at(40), busy),
                (3.0, at(10), busy),
                (32.9, at(25), busy),
                (33.0, at(25), None),
                (34.0, at(26), Some("others use 26% of the processors, over 25%")),
                (40.0, at(0), Some("others use 26% of the processors, over 25%")),
                // What cannot be read is not calm.
                (69.0, Readings { load: None, ..well() }, Some("others use 26% of the processors, over 25%")),
                (71.0, at(0), Some("others use 26% of the processors, over 25%")),
                (101.0, at(0), None),
            ],
        );
    }

    #[test]
    fn machine_on_its_battery_rests_until_it_has_been_fed_for_some_seconds() {
        let on = |mains| Readings { on_mains: mains, ..well() };
        let battery = Some("the machine is on its battery");
        check(
            Rules { mains_only: true, ..Rules::default() },
            &[
                (0.0, on(Some(true)), None),
                (1.0, on(Some(false)), battery),
                (2.0, on(Some(true)), battery),
                (3.0, on(Some(false)), battery),
                (4.0, on(Some(true)), battery),
                (8.9, on(Some(true)), battery),
                (9.0, on(Some(true)), None),
                (10.0, on(None), Some("whether the machine is on mains power cannot be read")),
                (11.0, on(Some(true)), None),
            ],
        );
    }

    #[test]
    fn first_broken_rule_is_told_and_the_others_are_not_forgotten() {
        let rules =
            Rules { hours: Some("mon 00:00-13:00".parse().unwrap()), temperature_max: Some(Celsius(80_000)), ..Rules::default() };
        let late = Readings { clock: date(2026, 11, 23).at(13, 0, 0, 0), ..well() };
        let hot = Readings { temperature: Some(Celsius(81_000)), ..late.clone() };
        let (out, was_hot) = (Some("outside of the hours mon 00:00-13:00"), Some("the machine is at 81 °C, over 80 °C"));
        check(
            rules,
            &[(0.0, late.clone(), out), (1.0, hot, out), (2.0, late, out), (3.0, well(), was_hot), (62.0, well(), None)],
        );
    }

    #[test]
    fn traffic_of_a_day_ends_it() {
        let rules = Rules { traffic_max: Some(ByteCount(1000)), ..Rules::default() };
        let mut judge = Judge::default();
        let mut at = |moved| judge.judge(Duration::ZERO, &rules, &well(), ByteCount(moved));
        assert_eq!(at(999), Standing::Allowed);
        assert_eq!(at(1000), Standing::Forbidden("the day's traffic of 1000 B is used up".to_owned()));
        assert_eq!(at(0), Standing::Allowed);
    }
}
