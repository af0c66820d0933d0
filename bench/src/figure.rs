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
    /// The least and the most that the ratio was in a round; nothing where there are not several.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "both_rounded")]
    pub(crate) spread: Option<[f64; 2]>,
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
        let spread = spread(&self.ratios());
        let (value, reference_value) = (median(self.ours), median(self.theirs));
        Figure { name, value, unit, reference, reference_value, ratio: value / reference_value, spread, goal }
    }

    /// Ours by theirs, in each round.
    pub(crate) fn ratios(&self) -> Vec<f64> {
        self.ours.iter().zip(&self.theirs).map(|(ours, theirs)| ours / theirs).collect()
    }
}

impl Title {
    /// A figure that is a ratio and nothing else.
    pub(crate) fn ratio(self, ratio: f64) -> Figure {
        let Self { name, unit, reference, goal } = self;
        Figure { name, value: ratio, unit, reference, reference_value: 1.0, ratio, spread: None, goal }
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
        let Self { name, value, unit, reference, reference_value, ratio, spread, goal } = self;
        let spread = spread.map_or_else(String::new, |[least, most]| format!("{least:.2}..{most:.2}"));
        let met = match goal {
            Goal::None => "",
            _ if self.is_met() => "met",
            _ => "missed",
        };
        write!(
            f,
            "{name:<17} {value:>9.1} {unit:<6} {reference_value:>10.1} {unit:<6} {ratio:>7.3} {spread:>12}  {goal:<7} {met:<6}  {reference}"
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

/// The least and the most of `values`, where there are several.
pub(crate) fn spread(values: &[f64]) -> Option<[f64; 2]> {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    (values.len() > 1).then_some([least, most])
}

/// The root of the values' product: a half and a double come to one.
pub(crate) fn geometric_mean(values: &[f64]) -> f64 {
    (values.iter().map(|value| value.ln()).sum::<f64>() / values.len() as f64).exp()
}

/// Three decimals are more than the measurement knows.
fn rounded<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(to_thousandths(*value))
}

fn both_rounded<S: Serializer>(values: &Option<[f64; 2]>, serializer: S) -> Result<S::Ok, S::Error> {
    values.map(|values| values.map(to_thousandths)).serialize(serializer)
}

fn to_thousandths(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
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
        assert_eq!(figure.spread, Some([2.0, 10.0]), "each round has its ratio");
        assert!(!figure.is_met());
    }

    #[test]
    fn geometric_mean_of_inverse_ratios_is_one() {
        assert!((geometric_mean(&[0.5, 2.0, 1.0]) - 1.0).abs() < 1e-12);
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
        assert!(row.contains("  2.000               - ") && !row.contains("met") && !row.contains("missed"), "{row}");
    }

    #[test]
    fn spread_of_several_rounds_is_told_in_both_forms() {
        let mut rounds = Rounds::default();
        [(300.0, 200.0), (100.0, 96.0), (100.0, 75.0)].into_iter().for_each(|(ours, theirs)| rounds.push(ours, theirs));
        let figure = rounds.figure(TITLE);
        assert!(figure.to_string().contains("  1.042   1.04..1.50  <= 2.4 "), "{figure}");
        assert!(serde_json::to_string(&figure).unwrap().contains(r#""ratio":1.042,"spread":[1.042,1.5],"goal""#));
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
