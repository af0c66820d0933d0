//! Readings of many sensors, more than memory holds, and the range of each sensor as a named input: keeps what is in range, as it comes.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::error::Error;

use adit_guest::{Input, Output};
use serde::{Deserialize, Serialize};

/// What a sensor saw.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Reading {
    sensor: u32,
    /// Seconds since 1970.
    at: u64,
    value: f32,
}

/// Reports are made once in so many readings: each pays fuel.
const READINGS_PER_REPORT: u64 = 100_000;

#[adit_guest::job]
fn keep_what_is_in_range(input: Input, mut output: Output) -> Result<(), Box<dyn Error>> {
    let ranges: HashMap<u32, (f32, f32)> = adit_guest::named("ranges")?.decode()?;
    let (mut seen, mut kept) = (0, 0);
    for reading in input.records::<Reading>() {
        let reading = reading?;
        let (least, most) = ranges.get(&reading.sensor).ok_or_else(|| format!("sensor {} has no range", reading.sensor))?;
        if (*least..=*most).contains(&reading.value) {
            output.record(reading)?;
            kept += 1;
        }
        seen += 1;
        if seen % READINGS_PER_REPORT == 0 {
            adit_guest::progress(seen, 0);
        }
    }
    adit_guest::progress(seen, seen);
    adit_guest::info!("kept {kept} of {seen} readings");
    Ok(())
}

#[cfg(test)]
mod tests {
    use adit_guest::records;
    use adit_guest::testing::{Harness, Told};

    use super::*;

    fn run(readings: &[Reading]) -> Told {
        let mut input = Vec::new();
        readings.iter().for_each(|reading| records::write(&mut input, reading).unwrap());
        let ranges = HashMap::from([(1_u32, (0.0_f32, 10.0_f32)), (2, (-5.0, 5.0))]);
        Harness::new().input(input).named_value("ranges", ranges).run(main)
    }

    fn reading(sensor: u32, value: f32) -> Reading {
        Reading { sensor, at: 1_700_000_000, value }
    }

    #[test]
    fn readings_out_of_their_sensors_range_are_left_out() {
        let told = run(&[reading(1, 7.0), reading(2, 7.0), reading(2, -5.0), reading(1, f32::NAN)]);
        let kept: Result<Vec<Reading>, _> = records::read(&told.output[..]).collect();
        assert_eq!(kept.unwrap(), [reading(1, 7.0), reading(2, -5.0)]);
        assert_eq!(told.log_text(), "[info] kept 2 of 4 readings\n");
        assert_eq!(told.progress, [(4, 4)]);
    }

    #[test]
    fn sensor_without_a_range_ends_the_job() {
        let told = run(&[reading(1, 7.0), reading(3, 7.0)]);
        assert_eq!((told.exit_code, &*told.log_text()), (1, "[error] sensor 3 has no range\n"));
    }

    #[test]
    fn missing_ranges_are_asked_for() {
        let told = Harness::new().run(main);
        assert_eq!(told.exit_code, 1);
        assert!(told.log_text().contains("--with ranges=FILE"), "{}", told.log_text());
    }
}
