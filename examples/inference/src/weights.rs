//! A file of weights in the format `safetensors`: a length, a directory as JSON, and the numbers.

use std::io;

use safetensors::Dtype;
use safetensors::tensor::Metadata;

use crate::Blob;

/// The longest directory that is read. That of a model of 6 layers takes 11 KB.
const DIRECTORY_BYTES_MAX: u64 = 1 << 20;
/// The length before it.
const LENGTH_BYTES: u64 = 8;
/// Bytes of an `f32`.
const VALUE_BYTES: u64 = 4;

/// Named tensors, which are read when they are asked for.
#[derive(Debug)]
pub(crate) struct Weights<B> {
    blob: B,
    directory: Metadata,
    /// Where the numbers begin.
    begin: u64,
}

/// Why weights cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// The bytes are not there, or cannot be read.
    #[error("the weights cannot be read: {0}")]
    Read(#[from] io::Error),
    /// The directory is longer than those of models, so that this is most likely another kind of file.
    #[error("the weights' directory has {bytes} bytes, over the limit of {DIRECTORY_BYTES_MAX}; is this a safetensors file?")]
    DirectoryTooLong {
        /// Its length, as the file has it.
        bytes: u64,
    },
    /// The directory is not one of safetensors.
    #[error("the weights' directory is not that of a safetensors file: {0}")]
    Directory(#[from] serde_json::Error),
    /// The model needs a tensor that is not there.
    #[error("the weights have no tensor {name}")]
    NoTensor {
        /// Its name.
        name: String,
    },
    /// A tensor has other numbers than the model's configuration says.
    #[error("the tensor {name} is {found}, not F32 {wanted:?}")]
    OtherTensor {
        /// Its name.
        name: String,
        /// Type and shape that it has.
        found: String,
        /// The shape that it should have.
        wanted: Vec<usize>,
    },
    /// A table ends before the row that is wanted.
    #[error("there is no row {row} in a table of {rows}")]
    NoRow {
        /// The row's number, from 0.
        row: u32,
        /// How many there are.
        rows: usize,
    },
}

impl<B: Blob> Weights<B> {
    pub(crate) fn open(blob: B) -> Result<Self, WeightsError> {
        let mut length = [0; LENGTH_BYTES as usize];
        blob.read_at(0, &mut length)?;
        let bytes = u64::from_le_bytes(length);
        if bytes > DIRECTORY_BYTES_MAX {
            return Err(WeightsError::DirectoryTooLong { bytes });
        }
        let mut directory = vec![0; bytes as usize];
        blob.read_at(LENGTH_BYTES, &mut directory)?;
        Ok(Self { blob, directory: serde_json::from_slice(&directory)?, begin: LENGTH_BYTES + bytes })
    }

    /// All numbers of a tensor.
    pub(crate) fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, WeightsError> {
        let offset = self.find(name, shape)?;
        let mut values = vec![0.0; shape.iter().product()];
        self.read_values(offset, &mut values)?;
        Ok(values)
    }

    /// A tensor of rows that are read one by one.
    pub(crate) fn table(&self, name: &str, rows: usize, width: usize) -> Result<Table, WeightsError> {
        Ok(Table { offset: self.find(name, &[rows, width])?, rows, width })
    }

    /// Row `row` of a table.
    pub(crate) fn read_row(&self, table: Table, row: u32, values: &mut [f32]) -> Result<(), WeightsError> {
        // What follows a table is another tensor, which is read as well as a row.
        if row as usize >= table.rows {
            return Err(WeightsError::NoRow { row, rows: table.rows });
        }
        self.read_values(table.offset + u64::from(row) * table.width as u64 * VALUE_BYTES, values)
    }

    /// Where a tensor begins that must be of this shape. That as many bytes belong to it is checked with the directory.
    fn find(&self, name: &str, shape: &[usize]) -> Result<u64, WeightsError> {
        let info = self.directory.info(name).ok_or_else(|| WeightsError::NoTensor { name: name.to_owned() })?;
        if info.dtype != Dtype::F32 || info.shape != shape {
            let found = format!("{:?} {:?}", info.dtype, info.shape);
            return Err(WeightsError::OtherTensor { name: name.to_owned(), found, wanted: shape.to_vec() });
        }
        Ok(self.begin + info.data_offsets.0 as u64)
    }

    fn read_values(&self, offset: u64, values: &mut [f32]) -> Result<(), WeightsError> {
        // The file's numbers are little-endian, as are all machines that this is built for.
        const { assert!(cfg!(target_endian = "little")) };
        Ok(self.blob.read_at(offset, bytemuck::cast_slice_mut(values))?)
    }
}

/// Where a tensor's rows are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Table {
    offset: u64,
    rows: usize,
    width: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(directory: &str, values: &[f32]) -> Vec<u8> {
        let length = (directory.len() as u64).to_le_bytes();
        [&length[..], directory.as_bytes(), bytemuck::cast_slice(values)].concat()
    }

    const DIRECTORY: &str = r#"{"a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}, "b": {"dtype": "I32", "shape": [1], "data_offsets": [16, 20]}}"#;

    #[test]
    fn tensors_are_read_whole_and_by_rows() {
        let file = file(DIRECTORY, &[1.0, 2.0, 3.0, 4.0, 0.0]);
        let weights = Weights::open(&file[..]).unwrap();
        assert_eq!(weights.read("a", &[2, 2]).unwrap(), [1.0, 2.0, 3.0, 4.0]);
        let mut row = [0.0; 2];
        let table = weights.table("a", 2, 2).unwrap();
        weights.read_row(table, 1, &mut row).unwrap();
        assert_eq!(row, [3.0, 4.0]);
        // There are bytes behind the table, and they are not its own.
        let error = weights.read_row(table, 2, &mut row[..1]).unwrap_err();
        assert!(matches!(error, WeightsError::NoRow { row: 2, rows: 2 }), "{error}");
    }

    #[test]
    fn what_the_model_does_not_expect_is_told_by_its_name() {
        let file = file(DIRECTORY, &[0.0; 5]);
        let weights = Weights::open(&file[..]).unwrap();
        let error = |name, shape: &[usize]| weights.read(name, shape).unwrap_err().to_string();
        assert_eq!(error("c", &[1]), "the weights have no tensor c");
        assert_eq!(error("a", &[4]), "the tensor a is F32 [2, 2], not F32 [4]");
        assert_eq!(error("b", &[1]), "the tensor b is I32 [1], not F32 [1]");
    }

    #[test]
    fn other_files_are_refused() {
        let error = |bytes: &[u8]| Weights::open(bytes).unwrap_err();
        assert!(matches!(error(b"short"), WeightsError::Read(_)));
        assert!(matches!(error(b"%PDF-1.7 and more"), WeightsError::DirectoryTooLong { .. }));
        assert!(matches!(error(&file("[]", &[])), WeightsError::Directory(_)));
        let gap = r#"{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}"#;
        assert!(matches!(error(&file(gap, &[0.0; 2])), WeightsError::Directory(_)));
        let cut = file(DIRECTORY, &[0.0; 3]);
        assert!(matches!(Weights::open(&cut[..]).unwrap().read("a", &[2, 2]).unwrap_err(), WeightsError::Read(_)));
    }
}
