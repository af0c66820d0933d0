//! What an owner lets others do with the machine: when, and whom. Pure: readings and the time come in as arguments.

mod hours;
mod judge;

use std::fmt;
use std::str::FromStr;

use adit_protocol::{ByteCount, Digest, JobSpec, Microcredits, Price, PublicKey};
use bytesize::ByteSize;

use crate::AbsurdError;

pub use hours::{Hours, ParseHoursError};
pub(crate) use judge::Judge;

/// The least traffic of a day: a connection that only stays takes as much in six hours.
const TRAFFIC_MIN: ByteCount = ByteCount(1 << 20);

/// What an owner lets others do with the machine. The default lets everybody do everything at any time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rules {
    /// When, by the machine's own clock on the wall.
    pub hours: Option<Hours>,
    /// The most that programs other than the node's may use of the processors.
    pub load_max: Option<Share>,
    /// The warmest that the machine may be.
    pub temperature_max: Option<Celsius>,
    /// Whether to work only while the machine is not on its battery.
    pub mains_only: bool,
    /// Bytes that the node may send and receive in a day, from midnight to midnight by the machine's clock.
    pub traffic_max: Option<ByteCount>,
    /// Whose jobs are taken.
    pub clients: Choice<PublicKey>,
    /// Which modules are taken.
    pub modules: Choice<Digest>,
    /// Whether jobs of one client alone run at a time; those of another wait until they are over.
    pub one_tenant: bool,
    /// What a job must be able to earn, with each of its limits used up, to be worth the trouble.
    pub job_price_min: Microcredits,
}

/// An allow list, where it is not empty, and a deny list, which has the last word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice<T> {
    /// What is taken; everything where it is empty.
    pub allow: Vec<T>,
    /// What is not.
    pub deny: Vec<T>,
}

/// A part of all of a machine's processors, in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(pub u32);

/// A temperature in thousandths of a degree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Celsius(pub i32);

/// What is to be known of the machine, so that the rules can be applied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wanted {
    /// What others use of the processors.
    pub load: bool,
    /// How warm it is.
    pub temperature: bool,
    /// What feeds it.
    pub mains: bool,
}

/// What is known of the machine at one moment. What was not wanted, or cannot be read, is missing.
#[derive(Debug, Clone, PartialEq)]
pub struct Readings {
    /// Date and time on the wall.
    pub clock: jiff::civil::DateTime,
    /// What programs other than the node's used of the processors in the last second.
    pub load: Option<Share>,
    /// The warmest place.
    pub temperature: Option<Celsius>,
    /// Whether it is not on its battery.
    pub on_mains: Option<bool>,
}

impl Readings {
    /// The time, and nothing of the machine.
    pub(crate) fn unknown() -> Self {
        Self { clock: jiff::Zoned::now().datetime(), load: None, temperature: None, on_mains: None }
    }
}

/// Whether the rules let the node work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    Allowed,
    /// They do not, and why.
    Forbidden(String),
}

impl Rules {
    /// What must be read.
    pub fn wanted(&self) -> Wanted {
        Wanted { load: self.load_max.is_some(), temperature: self.temperature_max.is_some(), mains: self.mains_only }
    }

    /// Whether a node that keeps them could ever work.
    ///
    /// # Errors
    /// The rule by which it could not.
    pub(crate) fn check(&self) -> Result<(), AbsurdError> {
        match self.traffic_max.filter(|most| *most < TRAFFIC_MIN) {
            None => Ok(()),
            Some(most) => Err(AbsurdError {
                what: format!("a node that moves at most {} a day could run nothing", show_bytes(most)),
                remedy: format!("give --traffic-max {} or more", show_bytes(TRAFFIC_MIN)),
            }),
        }
    }

    /// Whether they could be broken at any moment, and so must be looked at while a guest runs.
    pub(crate) fn depend_on_the_moment(&self) -> bool {
        self.wanted() != Wanted::default() || self.hours.is_some() || self.traffic_max.is_some()
    }

    /// Whether the owner takes a job, by who asks, what runs and what it can earn at `price`; else why not.
    pub(crate) fn admit(&self, client: &PublicKey, spec: &JobSpec, price: &Price) -> Result<(), String> {
        self.clients.admit(client).map_err(|list| format!("the client {list}"))?;
        self.modules.admit(&spec.module.digest).map_err(|list| format!("the module {list}"))?;
        // What has no price is worth nothing; another check refuses it.
        let most = price.cost_max(&spec.limits, spec.bytes_in().0).unwrap_or_default();
        if most < self.job_price_min {
            return Err(format!("it can earn {most} at most, and its owner takes no job for less than {}", self.job_price_min));
        }
        Ok(())
    }

    /// The rules in words, one a line; none where everything is allowed.
    pub fn describe(&self) -> Vec<String> {
        let mut lines = Vec::new();
        lines.extend(self.hours.as_ref().map(|hours| format!("works in the hours {hours}")));
        lines.extend(self.load_max.map(|share| format!("works while others use at most {share} of the processors")));
        lines.extend(self.temperature_max.map(|most| format!("works up to {most}")));
        lines.extend(self.mains_only.then(|| "works on mains power only".to_owned()));
        lines.extend(self.traffic_max.map(|most| format!("moves at most {} a day", show_bytes(most))));
        lines.extend(self.clients.describe("client"));
        lines.extend(self.modules.describe("module"));
        lines.extend(self.one_tenant.then(|| "runs jobs of one client at a time".to_owned()));
        let least = self.job_price_min;
        lines.extend((least.0 > 0).then(|| format!("takes jobs that can earn {least} or more")));
        lines
    }
}

impl<T> Default for Choice<T> {
    fn default() -> Self {
        Self { allow: Vec::new(), deny: Vec::new() }
    }
}

impl<T: PartialEq> Choice<T> {
    fn admit(&self, one: &T) -> Result<(), &'static str> {
        if self.deny.contains(one) {
            return Err("is on its owner's deny list");
        }
        if !self.allow.is_empty() && !self.allow.contains(one) {
            return Err("is not on its owner's allow list");
        }
        Ok(())
    }

    fn describe(&self, what: &str) -> Option<String> {
        let count = |list: &[T]| match list.len() {
            1 => format!("1 {what}"),
            n => format!("{n} {what}s"),
        };
        match (&self.allow[..], &self.deny[..]) {
            ([], []) => None,
            ([], deny) => Some(format!("takes every {what} but {}", deny.len())),
            (allow, []) => Some(format!("takes {} and no other", count(allow))),
            (allow, deny) => Some(format!("takes {} and no other, and never {}", count(allow), count(deny))),
        }
    }
}

/// `2.1 MiB`.
fn show_bytes(bytes: ByteCount) -> String {
    ByteSize(bytes.0).display().iec().to_string()
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", f64::from(self.0 / 1_000) / 10.0)
    }
}

impl fmt::Display for Celsius {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} °C", f64::from(self.0 / 100) / 10.0)
    }
}

/// A temperature that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a temperature; write degrees Celsius between 0 and 150, as in 80 or 72.5")]
pub struct ParseCelsiusError(String);

impl FromStr for Celsius {
    type Err = ParseCelsiusError;

    /// Reads `80` or `72.5`.
    fn from_str(text: &str) -> Result<Self, ParseCelsiusError> {
        match text.parse::<f64>() {
            Ok(degrees) if (0.0..=150.0).contains(&degrees) => Ok(Self((degrees * 1_000.0).round() as i32)),
            _ => Err(ParseCelsiusError(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use adit_protocol::{BlobRef, JobLimits};

    use super::*;

    #[test]
    fn lists_say_whose_jobs_and_which_modules_are_taken() {
        let [ann, bob] = [1, 2].map(|byte| PublicKey([byte; 32]));
        let spec = JobSpec::new(BlobRef::of(b"module"), BlobRef::of(b""));
        let module = spec.module.digest;
        let clients = |allow: &[PublicKey], deny: &[PublicKey]| Rules {
            clients: Choice { allow: allow.to_vec(), deny: deny.to_vec() },
            ..Rules::default()
        };
        let modules = |allow: &[Digest], deny: &[Digest]| Rules {
            modules: Choice { allow: allow.to_vec(), deny: deny.to_vec() },
            ..Rules::default()
        };
        for (rules, want) in [
            (Rules::default(), Ok(())),
            (clients(&[ann], &[]), Ok(())),
            (clients(&[bob], &[]), Err("the client is not on its owner's allow list")),
            (clients(&[], &[bob]), Ok(())),
            (clients(&[ann], &[ann]), Err("the client is on its owner's deny list")),
            (modules(&[module], &[]), Ok(())),
            (modules(&[Digest::of(b"")], &[]), Err("the module is not on its owner's allow list")),
            (modules(&[], &[module]), Err("the module is on its owner's deny list")),
        ] {
            assert_eq!(rules.admit(&ann, &spec, &Price::default()), want.map_err(str::to_owned), "{rules:?}");
        }
    }

    #[test]
    fn job_that_could_earn_too_little_is_declined() {
        let price = Price { per_compute_minute: 60_000, ..Price::default() };
        let limits = JobLimits { fuel: adit_protocol::Fuel(2_000_000_000), ..JobLimits::default() };
        let spec = JobSpec { limits, ..JobSpec::new(BlobRef::of(b"module"), BlobRef::of(b"")) };
        // Two of sixty.
        for (least, is_taken) in [(0, true), (2_000, true), (2_001, false)] {
            let rules = Rules { job_price_min: Microcredits(least), ..Rules::default() };
            assert_eq!(rules.admit(&PublicKey([1; 32]), &spec, &price).is_ok(), is_taken, "{least}");
        }
    }

    #[test]
    fn rules_are_told_in_words() {
        assert!(Rules::default().describe().is_empty());
        let rules = Rules {
            hours: Some("22:00-07:00".parse().unwrap()),
            load_max: Some(Share(125_000)),
            temperature_max: Some(Celsius(80_000)),
            clients: Choice { allow: vec![PublicKey([1; 32])], deny: Vec::new() },
            modules: Choice { allow: Vec::new(), deny: vec![Digest::of(b"a"), Digest::of(b"b")] },
            ..Rules::default()
        };
        let want = [
            "works in the hours 22:00-07:00",
            "works while others use at most 12.5% of the processors",
            "works up to 80 °C",
            "takes 1 client and no other",
            "takes every module but 2",
        ];
        assert_eq!(rules.describe(), want);
    }

    #[test]
    fn temperatures_are_read_in_degrees() {
        assert_eq!("72.5".parse(), Ok(Celsius(72_500)));
        for text in ["", "hot", "-1", "151", "80C", "NaN"] {
            assert!(text.parse::<Celsius>().is_err(), "{text}");
        }
    }
}
