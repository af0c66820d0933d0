//! The data: pictures of 8x8 pixels, each with the digit that it shows.

/// Pixels of a picture's side.
pub const SIDE: usize = 8;
const PIXELS: usize = SIDE * SIDE;
/// The brightest pixel.
const BRIGHTEST: u8 = 16;
/// Bytes of a picture and its digit, as jobs get them.
const RECORD_BYTES: usize = PIXELS + 1;

/// A picture, and what it shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Picture {
    /// Row by row, from 0 to 16.
    pub pixels: [u8; PIXELS],
    /// From 0 to 9.
    pub digit: u8,
}

/// All pictures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digits {
    pictures: Vec<Picture>,
}

/// Why something is no set of digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DigitsError {
    /// A line is no picture.
    #[error("line {line} is not 64 pixels from 0 to 16 and a digit, with commas between them")]
    Line {
        /// Its number, from 1.
        line: usize,
    },
    /// A record is no picture.
    #[error("record {record} is not 64 pixels from 0 to 16 and a digit, a byte each")]
    Record {
        /// Its number, from 0.
        record: usize,
    },
}

impl Digits {
    /// Reads scikit-learn's `digits.csv`: a picture a line, 64 pixels and the digit.
    ///
    /// # Errors
    /// The first line that is something else.
    pub fn from_csv(text: &str) -> Result<Self, DigitsError> {
        let read = |(line, text): (usize, &str)| picture_of_line(text).ok_or(DigitsError::Line { line: line + 1 });
        Ok(Self { pictures: text.lines().enumerate().map(read).collect::<Result<_, _>>()? })
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// # Errors
    /// The first record that is something else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DigitsError> {
        let read = |(record, bytes): (usize, &[u8])| picture_of_record(bytes).ok_or(DigitsError::Record { record });
        Ok(Self { pictures: bytes.chunks(RECORD_BYTES).enumerate().map(read).collect::<Result<_, _>>()? })
    }

    /// All pictures as jobs get them: 65 bytes each, the pixels and the digit.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.pictures.iter().flat_map(|picture| picture.pixels.into_iter().chain([picture.digit])).collect()
    }

    /// The pictures, in the order of the file.
    pub fn pictures(&self) -> &[Picture] {
        &self.pictures
    }
}

fn picture_of_line(line: &str) -> Option<Picture> {
    let values: Option<Vec<u8>> = line.split(',').map(|value| value.trim().parse().ok()).collect();
    picture_of_record(&values?)
}

fn picture_of_record(bytes: &[u8]) -> Option<Picture> {
    let (digit, pixels) = bytes.split_last()?;
    let picture = Picture { pixels: pixels.try_into().ok()?, digit: *digit };
    (picture.digit <= 9 && picture.pixels.iter().all(|pixel| *pixel <= BRIGHTEST)).then_some(picture)
}

impl Picture {
    /// The pixels from 0 to 1.
    pub(crate) fn lights(&self) -> [[f32; 1]; PIXELS] {
        self.pixels.map(|pixel| [f32::from(pixel) / f32::from(BRIGHTEST)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_survive_the_way_to_a_job() {
        let lines: String = (0..3).map(|n| format!("{}{n}\n", format!("{},", n * 5).repeat(64))).collect();
        let digits = Digits::from_csv(&lines).unwrap();
        assert_eq!(digits.pictures()[2], Picture { pixels: [10; 64], digit: 2 });
        let bytes = digits.to_bytes();
        assert_eq!((bytes.len(), Digits::from_bytes(&bytes).unwrap()), (3 * 65, digits));
    }

    #[test]
    fn what_is_no_picture_is_told_by_its_place() {
        let line = |pixel: &str, digit: &str| format!("{}{digit}\n", format!("{pixel},").repeat(64));
        let good = line("16", "9");
        for bad in [line("17", "1"), line("1", "10"), line("-1", "1"), line("x", "1"), "1,2,3\n".into(), "\n".into()] {
            assert_eq!(Digits::from_csv(&format!("{good}{bad}")), Err(DigitsError::Line { line: 2 }), "{bad:?}");
        }
        let mut bytes = Digits::from_csv(&good).unwrap().to_bytes();
        assert_eq!(Digits::from_bytes(&[&bytes[..], &bytes[..64]].concat()), Err(DigitsError::Record { record: 1 }));
        bytes[64] = 10;
        assert_eq!(Digits::from_bytes(&bytes), Err(DigitsError::Record { record: 0 }));
    }
}
