//! The hours in which a machine is lent.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{DateTime, Weekday};

const DAY_MINUTES: u16 = 24 * 60;

/// Hours of the week, by the machine's own clock: `mon-fri 22:00-07:00, sat-sun`.
///
/// Each part has days, a span of hours, or both. Without days it is of every day, without hours it is of the whole day. A span that ends
/// before it begins goes on over midnight, and belongs to the day on which it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hours {
    text: String,
    spans: Vec<Span>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    /// From Monday.
    days: [bool; 7],
    /// Minutes of the day: from the first, up to and without the second.
    from: u16,
    until: u16,
}

/// Hours that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{part}` are no hours: {reason}; write them as in `mon-fri 22:00-07:00, sat-sun`")]
pub struct ParseHoursError {
    part: String,
    reason: &'static str,
}

impl Hours {
    /// Whether a moment is within the hours.
    pub fn contains(&self, moment: DateTime) -> bool {
        let (day, minute) = (index(moment.weekday()), minute(moment));
        self.spans.iter().any(|span| span.contains(day, minute))
    }
}

impl Span {
    fn contains(&self, day: usize, minute: u16) -> bool {
        let (today, yesterday) = (self.days[day], self.days[(day + 6) % 7]);
        if self.from < self.until {
            return today && (self.from..self.until).contains(&minute);
        }
        today && minute >= self.from || yesterday && minute < self.until
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Hours {
    type Err = ParseHoursError;

    fn from_str(text: &str) -> Result<Self, ParseHoursError> {
        let span = |part: &str| parse_span(part).map_err(|reason| ParseHoursError { part: part.trim().to_owned(), reason });
        let spans = text.split(',').map(span).collect::<Result<_, _>>()?;
        Ok(Self { text: text.trim().to_owned(), spans })
    }
}

fn parse_span(part: &str) -> Result<Span, &'static str> {
    let words: Vec<&str> = part.split_whitespace().collect();
    let is_time = |word: &str| word.contains(':');
    let (days, hours) = match words[..] {
        [hours] if is_time(hours) => (None, Some(hours)),
        [days] => (Some(days), None),
        [days, hours] if is_time(hours) && !is_time(days) => (Some(days), Some(hours)),
        [] => return Err("there is nothing"),
        _ => return Err("there is more than days and a span of hours"),
    };
    let (from, until) = hours.map_or(Ok((0, DAY_MINUTES)), parse_hours)?;
    Ok(Span { days: days.map_or(Ok([true; 7]), parse_days)?, from, until })
}

fn parse_days(text: &str) -> Result<[bool; 7], &'static str> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (mut day, last) = (parse_day(first)?, parse_day(last)?);
    let mut days = [false; 7];
    loop {
        days[day] = true;
        if day == last {
            return Ok(days);
        }
        day = (day + 1) % 7;
    }
}

fn parse_day(text: &str) -> Result<usize, &'static str> {
    let names = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    names.iter().position(|name| text.eq_ignore_ascii_case(name)).ok_or("a day is one of mon, tue, wed, thu, fri, sat, sun")
}

fn parse_hours(text: &str) -> Result<(u16, u16), &'static str> {
    let (from, until) = text.split_once('-').ok_or("a span has two ends")?;
    let (from, until) = (parse_minute(from)?, parse_minute(until)?);
    if from == until || from == DAY_MINUTES {
        return Err("the span is empty; the whole day is 00:00-24:00");
    }
    Ok((from, until))
}

fn parse_minute(text: &str) -> Result<u16, &'static str> {
    let error = "a time is between 00:00 and 24:00";
    let (hours, minutes) = text.split_once(':').ok_or(error)?;
    let number = |digits: &str, places| match digits.len() {
        n if places >= n && n > 0 && digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse::<u16>().map_err(|_| error),
        _ => Err(error),
    };
    let (hours, minutes) = (number(hours, 2)?, number(minutes, 2)?);
    match hours * 60 + minutes {
        minute if minutes < 60 && minute <= DAY_MINUTES => Ok(minute),
        _ => Err(error),
    }
}

fn index(day: Weekday) -> usize {
    day.to_monday_zero_offset() as usize
}

fn minute(moment: DateTime) -> u16 {
    moment.hour() as u16 * 60 + moment.minute() as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A moment in the week that begins on Monday, 2026-11-23.
    fn moment(day: &str, time: &str) -> DateTime {
        let day = 23 + parse_day(day).unwrap() as i8;
        let minute = parse_minute(time).unwrap();
        jiff::civil::date(2026, 11, day).at((minute / 60) as i8, (minute % 60) as i8, 59, 0)
    }

    #[test]
    fn hours_contain_what_they_say() {
        for (hours, inside, outside) in [
            ("22:00-07:00", &["mon 22:00", "mon 23:59", "tue 00:00", "sun 06:59"][..], &["mon 21:59", "mon 07:00"][..]),
            ("09:00-17:00", &["sat 09:00", "mon 16:59"], &["sat 08:59", "mon 17:00"]),
            // The night of Friday ends on Saturday; there is none that ends on Monday.
            ("mon-fri 22:00-07:00", &["fri 22:00", "sat 06:59", "mon 22:00"], &["sat 07:00", "sat 22:00", "mon 06:59"]),
            ("mon-fri 18:00-24:00, sat-sun", &["fri 23:59", "sat 00:00", "sun 12:00"], &["mon 17:59", "mon 00:00"]),
            ("sun-mon", &["sun 00:00", "mon 23:59"], &["tue 00:00", "sat 23:59"]),
            ("Wed", &["wed 12:00"], &["tue 23:59", "thu 00:00"]),
            ("00:00-24:00", &["mon 00:00", "sun 23:59"], &[]),
        ] {
            let parsed: Hours = hours.parse().unwrap();
            let contains = |moment_text: &&str| {
                let (day, time) = moment_text.split_once(' ').unwrap();
                parsed.contains(moment(day, time))
            };
            for at in inside {
                assert!(contains(at), "{hours} has {at}");
            }
            for at in outside {
                assert!(!contains(at), "{hours} has not {at}");
            }
            assert_eq!(parsed.to_string(), hours);
        }
    }

    #[test]
    fn what_are_no_hours_is_told() {
        for (text, want) in [
            ("", "there is nothing"),
            ("mon,", "there is nothing"),
            ("someday", "a day is one of"),
            ("mon-", "a day is one of"),
            ("mon tue", "there is more"),
            ("mon 1:00-2:00 3:00-4:00", "there is more"),
            ("09:00", "two ends"),
            ("09:00-09:00", "empty"),
            ("24:00-07:00", "empty"),
            ("09:00-24:01", "a time is between"),
            ("09:60-10:00", "a time is between"),
            ("+9:00-10:00", "a time is between"),
            ("009:00-10:00", "a time is between"),
        ] {
            let error = text.parse::<Hours>().unwrap_err().to_string();
            assert!(error.contains(want), "{text}: {error}");
        }
    }
}
