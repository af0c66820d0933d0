//! Amounts as people write and read them: bytes, durations, credits.

use std::str::FromStr;
use std::time::Duration;

use adit_node::control::{PAUSE_MAX, PAUSE_MIN};
use adit_node::rules::Share;
use adit_protocol::{ByteCount, Microcredits, UnixMillis};
use bytesize::ByteSize;
use jiff::Timestamp;

/// Reads `256MiB`, `64KiB`, `1.5GiB`, `1GB` or a bare number of bytes.
pub(crate) fn parse_bytes(text: &str) -> Result<ByteCount, String> {
    let error = || format!("`{text}` is not a size; write a number with a unit, as in 256MiB");
    // The largest that a float carries exactly; every limit of the network is far below.
    let most = 1 << 53;
    let ByteSize(bytes) = text.parse().map_err(|_| error())?;
    if bytes < most { Ok(ByteCount(bytes)) } else { Err(error()) }
}

/// Reads `60s`, `5m`, `1h 30m`, `250ms`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| format!("`{text}` is not a duration; write a number with a unit, as in 60s or 5m"))
}

/// As [`parse_duration`], for how long something is to hold from now on: no moment, and no longer than anybody means.
pub(crate) fn parse_lasting(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        duration if duration < PAUSE_MIN => Err(format!("`{text}` is over at once; write how long it is to last, as in 30m")),
        duration if duration > PAUSE_MAX => Err(format!("`{text}` is longer than 10 years; leave it out for no end")),
        duration => Ok(duration),
    }
}

/// Reads credits as a decimal number with up to six decimals, exactly: `0.05` is 50,000 microcredits.
pub(crate) fn parse_credits(text: &str) -> Result<Microcredits, String> {
    let error = || format!("`{text}` is not an amount of credits; write a decimal number with at most six decimals, as in 0.05");
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 6 || text.ends_with('.') {
        return Err(error());
    }
    let whole: u64 = whole.parse().map_err(|_| error())?;
    let fraction = u64::from_str(&format!("{fraction:0<6}")).map_err(|_| error())?;
    whole.checked_mul(1_000_000).and_then(|n| n.checked_add(fraction)).map(Microcredits).ok_or_else(error)
}

/// Reads a percentage such as `5` or `2.5`, as millionths of the whole.
pub(crate) fn parse_percent(text: &str) -> Result<u32, String> {
    let error =
        || format!("`{text}` is not a percentage; write a decimal number up to 100 with at most four decimals, as in 2.5");
    // A percent is ten thousand millionths, and a credit a million: a hundred times as many.
    let Microcredits(millionths) = parse_credits(text).map_err(|_| error())?;
    match (millionths % 100, millionths / 100) {
        (0, ppm @ 0..=1_000_000) => Ok(ppm as u32),
        _ => Err(error()),
    }
}

/// Reads a part of a machine, `25` or `12.5%`.
pub(crate) fn parse_share(text: &str) -> Result<Share, String> {
    parse_percent(text.strip_suffix('%').unwrap_or(text)).map(Share)
}

/// Reads an RFC 3339 time such as `2026-01-31T12:00:00Z`, or a number of milliseconds since 1970.
pub(crate) fn parse_time(text: &str) -> Result<UnixMillis, String> {
    if let Ok(millis) = text.parse() {
        return Ok(UnixMillis(millis));
    }
    let error = || format!("`{text}` is not a time; write 2026-01-31T12:00:00Z, or milliseconds since 1970");
    let time: Timestamp = text.parse().map_err(|_| error())?;
    u64::try_from(time.as_millisecond()).map(UnixMillis).map_err(|_| error())
}

/// Reads a time that says its offset from UTC, or a date, which begins at midnight in UTC, or how long ago, as in `30d`.
pub(crate) fn parse_moment(text: &str) -> Result<UnixMillis, String> {
    let error = || {
        format!(
            "`{text}` is not a time; write 2026-01-31 (UTC), 2026-01-31T12:00:00Z (or +02:00), or how long ago, as in 30d or 12h"
        )
    };
    let millis = |time: Timestamp| u64::try_from(time.as_millisecond()).map(UnixMillis).map_err(|_| error());
    if let Ok(time) = text.parse::<Timestamp>() {
        return millis(time);
    }
    // A time without its offset, of which jiff would take the date alone, is neither.
    let is_date = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    if let Some(date) = is_date.then(|| text.parse::<jiff::civil::Date>().ok()).flatten() {
        return millis(date.to_zoned(jiff::tz::TimeZone::UTC).map_err(|_| error())?.timestamp());
    }
    let ago = parse_duration(text).map_err(|_| error())?;
    millis(Timestamp::now().checked_sub(ago).map_err(|_| error())?)
}

/// Reads `key=value`; the value may be empty and may hold further `=`.
pub(crate) fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is not KEY=VALUE")),
    }
}

/// `2.1 MiB`.
pub(crate) fn show_bytes(bytes: ByteCount) -> String {
    ByteSize(bytes.0).display().iec().to_string()
}

/// `412 us`, `1.2 ms`, `1.24 s`, `2m 5s`: about three digits, as much as anyone reads.
pub(crate) fn show_micros(micros: u64) -> String {
    let n = micros as f64;
    match micros {
        0..1_000 => format!("{micros} us"),
        1_000..1_000_000 => format!("{:.1} ms", n / 1e3),
        1_000_000..60_000_000 => format!("{:.2} s", n / 1e6),
        _ => humantime::format_duration(Duration::from_secs(micros / 1_000_000)).to_string(),
    }
}

/// `1h 30m`: as [`parse_duration`] reads it.
pub(crate) fn show_duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// RFC 3339 in UTC, to the second.
pub(crate) fn show_time(time: UnixMillis) -> String {
    let timestamp = i64::try_from(time.0 / 1000).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    timestamp.map_or_else(|| format!("{} ms after 1970", time.0), |t| t.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_read_as_millionths() {
        for (text, ppm) in [("0", 0), ("5", 50_000), ("2.5", 25_000), ("0.0001", 1), ("100", 1_000_000)] {
            assert_eq!(parse_percent(text), Ok(ppm), "{text}");
        }
        for text in ["", "-1", "100.0001", "0.00001", "five", "1000000000000000000"] {
            assert!(parse_percent(text).is_err(), "{text}");
        }
    }

    #[test]
    fn shares_are_percentages_with_or_without_their_sign() {
        assert_eq!((parse_share("12.5%"), parse_share("25")), (Ok(Share(125_000)), Ok(Share(250_000))));
        assert!(parse_share("%").is_err() && parse_share("101%").is_err());
    }

    #[test]
    fn moments_are_dates_times_or_how_long_ago() {
        assert_eq!(parse_moment("1970-01-02"), Ok(UnixMillis(86_400_000)));
        assert_eq!(parse_moment("1970-01-01T00:00:01.5Z"), Ok(UnixMillis(1_500)));
        assert_eq!(parse_moment("1970-01-01T02:00:00+02:00"), Ok(UnixMillis(0)));
        assert_eq!(parse_moment("1970-01-01T00:00:00-05:00"), Ok(UnixMillis(18_000_000)));
        let (hour, two) = (parse_moment("1h").unwrap(), parse_moment("2h").unwrap());
        assert!((3_590_000..=3_610_000).contains(&(hour.0 - two.0)));
        for text in ["", "yesterday", "1970-13-01", "1969-12-31", "-1h", "99999999999d"] {
            assert!(parse_moment(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_read_with_their_units() {
        for (text, want) in
            [("0", 0), ("65536", 65_536), ("256MiB", 256 << 20), ("1.5KiB", 1536), ("1 GiB", 1 << 30), ("2MB", 2_000_000)]
        {
            assert_eq!(parse_bytes(text), Ok(ByteCount(want)), "{text}");
        }
        for text in ["", "MiB", "-1MiB", "1 parsec", "9007199254740992", "99999999999TiB"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn credits_are_read_to_the_last_microcredit() {
        for (text, want) in [("0", 0), ("1", 1_000_000), ("0.05", 50_000), ("12.000001", 12_000_001)] {
            assert_eq!(parse_credits(text), Ok(Microcredits(want)), "{text}");
        }
        for text in ["", ".5", "1.", "-1", "+1", "1e3", "0.0000001", "1,5", "18446744073710", "1.2.3"] {
            assert!(parse_credits(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_need_their_unit() {
        assert_eq!(parse_duration("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(parse_duration("1h 30m"), Ok(Duration::from_secs(5_400)));
        assert!(parse_duration("60").unwrap_err().contains("60s"));
    }

    #[test]
    fn what_is_to_hold_for_a_while_holds_for_one() {
        assert_eq!(parse_lasting("1ms"), Ok(Duration::from_millis(1)));
        assert_eq!(parse_lasting("3650d"), Ok(PAUSE_MAX));
        for (text, want) in [
            ("0s", "is over at once"),
            ("999us", "is over at once"),
            ("3651d", "longer than 10 years"),
            ("100000000h", "longer than 10 years"),
            ("soon", "is not a duration"),
        ] {
            assert!(parse_lasting(text).unwrap_err().contains(want), "{text}");
        }
    }

    #[test]
    fn times_are_read_in_both_forms() {
        assert_eq!(parse_time("1970-01-01T00:00:01Z"), Ok(UnixMillis(1_000)));
        assert_eq!(parse_time("1500"), Ok(UnixMillis(1_500)));
        assert!(parse_time("1960-01-01T00:00:00Z").is_err());
        assert_eq!(show_time(UnixMillis(1_500)), "1970-01-01T00:00:01Z");
    }

    #[test]
    fn pairs_keep_everything_after_the_first_equals_sign() {
        assert_eq!(parse_pair("A=b=c"), Ok(("A".into(), "b=c".into())));
        assert_eq!(parse_pair("A="), Ok(("A".into(), String::new())));
        assert!(parse_pair("A").is_err() && parse_pair("=b").is_err());
    }

    #[test]
    fn measured_times_are_short() {
        let rows = [(0, "0 us"), (412, "412 us"), (1_234, "1.2 ms"), (1_240_000, "1.24 s"), (125_000_000, "2m 5s")];
        for (micros, want) in rows {
            assert_eq!(show_micros(micros), want);
        }
    }
}
