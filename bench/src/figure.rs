//! What a measurement comes to: a value, what it is compared with, and the goal.

use std::fmt;

use serde::{Serialize, Serializer};

/// One measured number and its reference, each the median over rounds that alternated.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Figure {
    /// How the figure is asked for.
    pub(crate) name: &'static str,
    /// Ours.
    #[serde(serialize_with = "rounded")]
    pub(crate) value: f64,
    /// Of both numbers.
    pub(crate) unit: &'static str,
    /// What ours is compared with.
    pub(crate) reference: &'static str,
    /// Theirs.
    #[serde(serialize_with = "rounded")]
    pub(crate) reference_value: f64,
    /// Ours by theirs.
    #[serde(serialize_with = "rounded")]
    pub(crate) ratio: f64,
    /// What the ratio should be, or the difference, or ours alone.
    pub(crate) goal: Goal,
}

/// A bound on a ratio, or where it says so on something else.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Goal {
    AtMost(f64),
    AtLeast(f64),
    /// Ours is at most so much more than theirs, in the figure's unit.
    MoreByAtMost(f64),
    /// Ours is at most this, whatever theirs is.
    Within(f64),
    /// It is only told.
    None,
}

/// What one figure is, before it is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Title {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) reference: &'static str,
    pub(crate) goal: Goal,
}

/// Values of ours and of the reference, one each per round.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    ours: Vec<f64>,
    theirs: Vec<f64>,
}

impl Rounds {
    /// Adds a round.
    pub(crate) fn push(&mut self, ours: f64, theirs: f64) {
        self.ours.push(ours);
        self.theirs.push(theirs);
    }

    /// The figure that the rounds make.
    pub(crate) fn figure(self, title: Title) -> Figure {
        let Title { name, unit, reference, goal } = title;
        let (value, reference_value) = (median(self.ours), median(self.theirs));
        Figure { name, value, unit, reference, reference_value, ratio: value / reference_value, goal }
    }
}

impl Figure {
    /// Whether the ratio is what it should be.
    pub(crate) fn is_met(&self) -> bool {
        match self.goal {
            Goal::AtMost(bound) => self.ratio <= bound,
            Goal::AtLeast(bound) => self.ratio >= bound,
            Goal::MoreByAtMost(bound) => self.value - self.reference_value <= bound,
            Goal::Within(bound) => self.value <= bound,
            Goal::None => true,
        }
    }
}

impl fmt::Display for Figure {
    /// One row of the table for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, value, unit, reference, reference_value, ratio, goal } = self;
        let met = match goal {
            Goal::None => "",
            _ if self.is_met() => "met",
            _ => "missed",
        };
        write!(
            f,
            "{name:<17} {value:>9.1} {unit:<6} {reference_value:>10.1} {unit:<6} {ratio:>7.3}  {goal:<7} {met:<6}  {reference}"
        )
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::AtMost(bound) => format!("<= {bound}"),
            Self::AtLeast(bound) => format!(">= {bound}"),
            Self::MoreByAtMost(bound) => format!("+ {bound}"),
            Self::Within(bound) => format!("< {bound}"),
            Self::None => "-".to_owned(),
        };
        f.pad(&text)
    }
}

impl Serialize for Goal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The middle of `values`; of an even number the upper of the two in the middle.
///
/// # Panics
/// Where there is none: every figure has at least one round.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    assert!(!values.is_empty(), "a figure has at least one round");
    let middle = values.len() / 2;
    *values.select_nth_unstable_by(middle, f64::total_cmp).1
}

/// Three decimals are more than the measurement knows.
fn rounded<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((value * 1e3).round() / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TITLE: Title = Title { name: "echo", unit: "us", reference: "bare echo", goal: Goal::AtMost(2.4) };

    #[test]
    fn median_is_the_middle_and_no_outlier_moves_it() {
        for (values, want) in [(vec![3.0], 3.0), (vec![1.0, 2.0], 2.0), (vec![9e9, 1.0, 3.0, 2.0, -9e9], 2.0)] {
            assert_eq!(median(values.clone()), want, "{values:?}");
        }
    }

    #[test]
    fn figure_is_made_of_the_medians_of_its_rounds() {
        let mut rounds = Rounds::default();
        for (ours, theirs) in [(300.0, 100.0), (240.0, 120.0), (900.0, 90.0)] {
            rounds.push(ours, theirs);
        }
        let figure = rounds.figure(TITLE);
        assert_eq!((figure.value, figure.reference_value, figure.ratio), (300.0, 100.0, 3.0));
        assert!(!figure.is_met());
    }

    #[test]
    fn goal_is_met_on_its_bound_and_on_its_side() {
        let figure = |ratio, goal| Figure {
            value: ratio,
            reference_value: 1.0,
            ratio,
            goal,
            ..Rounds { ours: vec![1.0], theirs: vec![1.0] }.figure(TITLE)
        };
        let rows = [
            (2.4, Goal::AtMost(2.4), true),
            (2.5, Goal::AtMost(2.4), false),
            (0.15, Goal::AtLeast(0.15), true),
            (0.1, Goal::AtLeast(0.15), false),
            (f64::NAN, Goal::AtMost(2.4), false),
        ];
        for (ratio, goal, met) in rows {
            assert_eq!(figure(ratio, goal).is_met(), met, "{ratio} {goal}");
        }
    }

    #[test]
    fn goal_may_be_about_the_difference_or_about_ours_alone() {
        let figure = |ours, theirs, goal| {
            let mut rounds = Rounds::default();
            rounds.push(ours, theirs);
            rounds.figure(Title { goal, ..TITLE }).is_met()
        };
        assert!(figure(45.0, 5.0, Goal::MoreByAtMost(40.0)) && !figure(45.1, 5.0, Goal::MoreByAtMost(40.0)));
        assert!(figure(5.0, 1.0, Goal::Within(5.0)) && !figure(5.1, 100.0, Goal::Within(5.0)));
    }

    #[test]
    fn figure_without_a_goal_is_neither_met_nor_missed() {
        let mut rounds = Rounds::default();
        rounds.push(4.0, 2.0);
        let row = rounds.figure(Title { goal: Goal::None, ..TITLE }).to_string();
        assert!(row.contains("  2.000  - ") && !row.contains("met") && !row.contains("missed"), "{row}");
    }

    #[test]
    fn json_line_has_the_documented_fields() {
        let mut rounds = Rounds::default();
        rounds.push(400.0, 300.0);
        assert_eq!(
            serde_json::to_string(&rounds.figure(TITLE)).unwrap(),
            r#"{"name":"echo","value":400.0,"unit":"us","reference":"bare echo","reference_value":300.0,"ratio":1.333,"goal":"<= 2.4"}"#
        );
    }
}
