//! The sample data: what sensors at eight sites measured, made from a seed alone. Readings are missing for hours at a time, and some are
//! far off. Nothing here is a float, so every machine makes the same bytes.

use std::fmt::Write;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

/// Rows of a row group in Parquet.
const GROUP_ROWS: usize = 25_000;
const SITES: [&str; 8] = ["bakery", "cellar", "foundry", "greenhouse", "ice store", "kiln", "orchard", "roof"];
/// The temperature of each site on average, in thousandths of a degree.
const LEVELS: [i64; 8] = [24_000, 11_500, 38_000, 27_000, -18_500, 412_000, 9_000, 8_000];

/// What one sensor measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Where, by its place among the sites.
    site: usize,
    /// Which of the site's sensors.
    sensor: i32,
    /// Milliseconds since 1970.
    time: i64,
    /// Thousandths of a degree; none where the sensor was silent.
    temperature: Option<i32>,
    /// Watt-hours so far.
    energy: i64,
}

/// The readings of one file. Different files have different ones.
pub fn readings(file: u32, rows: u32) -> impl Iterator<Item = Reading> {
    let mut random = Random(u64::from(file) << 32 | 0x9e37);
    (0..rows).map(move |row| reading(&mut random, file, row))
}

fn reading(random: &mut Random, file: u32, row: u32) -> Reading {
    let site = random.below(8) as usize;
    let sensor = random.below(40) as i32;
    // A reading every 250 ms over all sensors.
    let time = 1_700_000_000_000 + (i64::from(file) * 1_000_000 + i64::from(row)) * 250 + random.below(250) as i64;
    // A day as a triangle: warmest at noon.
    let minute = time / 60_000 % 1440;
    let day = (720 - (minute - 720).abs()) * 10;
    // The sum of four is nearly bell-shaped.
    let noise: i64 = (0..4).map(|_| random.below(1_500) as i64 - 750).sum();
    let mut temperature = LEVELS[site] + day + noise;
    if random.below(1_000) == 0 {
        // A loose contact, or the end of the scale.
        temperature = if random.below(4) == 0 { -273_150 } else { temperature + random.below(900_000) as i64 };
    }
    // Some sensors are silent for three hours now and then, and all of them once in a while.
    let hours = time / 10_800_000;
    let is_silent = (hours * 31 + i64::from(sensor) * 7 + site as i64) % 23 == 0 || random.below(200) == 0;
    let energy = i64::from(sensor) * 1_000_000_000 + (time - 1_700_000_000_000) / 1_000 + random.below(50_000_000) as i64;
    Reading { site, sensor, time, temperature: (!is_silent).then_some(temperature as i32), energy }
}

/// A file of readings in CSV.
pub fn csv(file: u32, rows: u32) -> Vec<u8> {
    let mut text = String::from("site,sensor,time,temperature,energy\n");
    for Reading { site, sensor, time, temperature, energy } in readings(file, rows) {
        let temperature = temperature
            .map(|milli| format!("{}{}.{:03}", if milli < 0 { "-" } else { "" }, milli.abs() / 1000, milli.abs() % 1000));
        // Writing to a string does not fail.
        let _ = writeln!(text, "{},{sensor},{time},{},{energy}", SITES[site], temperature.unwrap_or_default());
    }
    text.into_bytes()
}

/// A file of readings in Parquet, compressed by Snappy.
///
/// # Errors
/// The library cannot write it.
pub fn parquet(file: u32, rows: u32) -> Result<Vec<u8>, ParquetError> {
    let schema = parse_message_type(
        "message readings {
            required binary site (UTF8);
            required int32 sensor;
            required int64 time (TIMESTAMP(MILLIS, true));
            optional int32 temperature (DECIMAL(9, 3));
            required int64 energy;
        }",
    )?;
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut writer = SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::new(properties))?;
    let readings: Vec<Reading> = readings(file, rows).collect();
    for chunk in readings.chunks(GROUP_ROWS) {
        let mut group = writer.next_row_group()?;
        write_group(&mut group, chunk)?;
        group.close()?;
    }
    writer.into_inner()
}

fn write_group(group: &mut SerializedRowGroupWriter<'_, Vec<u8>>, readings: &[Reading]) -> Result<(), ParquetError> {
    let sites: Vec<ByteArray> = readings.iter().map(|reading| ByteArray::from(SITES[reading.site])).collect();
    let sensors: Vec<i32> = readings.iter().map(|reading| reading.sensor).collect();
    let times: Vec<i64> = readings.iter().map(|reading| reading.time).collect();
    let temperatures: Vec<i32> = readings.iter().filter_map(|reading| reading.temperature).collect();
    let levels: Vec<i16> = readings.iter().map(|reading| reading.temperature.is_some().into()).collect();
    let energies: Vec<i64> = readings.iter().map(|reading| reading.energy).collect();
    let mut place = 0;
    while let Some(mut column) = group.next_column()? {
        match place {
            0 => column.typed::<ByteArrayType>().write_batch(&sites, None, None)?,
            1 => column.typed::<Int32Type>().write_batch(&sensors, None, None)?,
            2 => column.typed::<Int64Type>().write_batch(&times, None, None)?,
            3 => column.typed::<Int32Type>().write_batch(&temperatures, Some(&levels), None)?,
            _ => column.typed::<Int64Type>().write_batch(&energies, None, None)?,
        };
        column.close()?;
        place += 1;
    }
    Ok(())
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number from 0 on and less than `most`.
    fn below(&mut self, most: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(most)) >> 64) as u64
    }
}
