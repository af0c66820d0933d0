//! Tables in Apache Parquet, read column by column without a data frame between: whole numbers and decimals that fit 64 bits, and text.

use bytes::Bytes;
use parquet::basic::{ConvertedType, LogicalType, Type};
use parquet::column::reader::get_typed_column_reader;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};
use parquet::schema::types::{ColumnDescriptor, SchemaDescriptor};

use crate::query::{Query, Value};
use crate::table::{Names, Rows, TableError};

/// Reads the columns that the query is about and hands on the rows, a row group at a time.
pub(crate) fn read(table: Vec<u8>, query: &Query, rows: &mut dyn FnMut(&Rows, &Names)) -> Result<Names, TableError> {
    let reader = SerializedFileReader::new(Bytes::from(table))?;
    let schema = reader.metadata().file_metadata().schema_descr();
    let keys = query.group_by.iter().map(|name| find(schema, name)).collect::<Result<Vec<_>, _>>()?;
    let numbers = |value: &Value| {
        let place = find(schema, &value.column)?;
        check_scale(&schema.column(place), value)?;
        Ok(place)
    };
    let values = query.values.iter().map(numbers).collect::<Result<Vec<_>, TableError>>()?;
    let filter = query.filter.as_ref().map(|filter| numbers(&filter.value)).transpose()?;

    let mut names = Names::default();
    for number in 0..reader.num_row_groups() {
        let group = reader.get_row_group(number)?;
        let group = RowGroup { len: usize::try_from(group.metadata().num_rows()).unwrap_or(0), schema, reader: &*group };
        let batch = Rows {
            len: group.len,
            keys: keys.iter().map(|place| group.names(*place, &mut names)).collect::<Result<_, _>>()?,
            values: values.iter().map(|place| group.numbers(*place)).collect::<Result<_, _>>()?,
            filter: filter.map(|place| group.numbers(place)).transpose()?,
        };
        rows(&batch, &names);
    }
    Ok(names)
}

fn find(schema: &SchemaDescriptor, name: &str) -> Result<usize, TableError> {
    let place = schema.columns().iter().position(|column| column.path().parts() == [name]);
    let place = place.ok_or_else(|| TableError::NoColumn(name.to_owned()))?;
    let column = schema.column(place);
    // A list in a cell is not a value.
    if column.max_rep_level() > 0 || column.max_def_level() > 1 {
        return Err(wrong_type(&column, "one value a row"));
    }
    Ok(place)
}

/// That the column's numbers have as many digits after the point as the query says.
fn check_scale(column: &ColumnDescriptor, value: &Value) -> Result<(), TableError> {
    let is_number = matches!(column.physical_type(), Type::INT32 | Type::INT64);
    let is_unsigned = matches!(column.converted_type(), ConvertedType::UINT_32 | ConvertedType::UINT_64);
    let is_decimal = matches!(column.logical_type_ref(), Some(LogicalType::Decimal { .. }))
        || column.converted_type() == ConvertedType::DECIMAL;
    let scale = if is_decimal { u32::try_from(column.type_scale()).ok() } else { Some(0) };
    if is_number && !is_unsigned && scale == Some(value.scale) {
        return Ok(());
    }
    Err(wrong_type(column, &format!("a signed number of at most 64 bits with {} digits after the point", value.scale)))
}

fn wrong_type(column: &ColumnDescriptor, wanted: &str) -> TableError {
    let logical = column.logical_type_ref().map(|logical| format!(" for {logical:?}")).unwrap_or_default();
    let found = format!("{}{logical}", column.physical_type());
    TableError::Type { column: column.name().to_owned(), found, wanted: wanted.to_owned() }
}

struct RowGroup<'a> {
    len: usize,
    schema: &'a SchemaDescriptor,
    reader: &'a dyn RowGroupReader,
}

impl RowGroup<'_> {
    fn numbers(&self, place: usize) -> Result<Vec<Option<i64>>, TableError> {
        match self.schema.column(place).physical_type() {
            Type::INT32 => self.column::<Int32Type, _>(place, |value| i64::from(*value)),
            _ => self.column::<Int64Type, _>(place, |value| *value),
        }
    }

    fn names(&self, place: usize, names: &mut Names) -> Result<Vec<u32>, TableError> {
        let column = self.schema.column(place);
        let none = |cells: Vec<Option<u32>>| cells.into_iter().map(Option::unwrap_or_default).collect();
        match column.physical_type() {
            Type::INT32 => Ok(none(self.column::<Int32Type, _>(place, |value| names.number(&value.to_string()))?)),
            Type::INT64 => Ok(none(self.column::<Int64Type, _>(place, |value| names.number(&value.to_string()))?)),
            Type::BYTE_ARRAY => {
                let mut is_text = true;
                let cells =
                    self.column::<ByteArrayType, _>(place, |value: &ByteArray| match std::str::from_utf8(value.data()) {
                        Ok(text) => names.number(text),
                        Err(_) => {
                            is_text = false;
                            0
                        }
                    })?;
                if is_text { Ok(none(cells)) } else { Err(TableError::Text(column.name().to_owned())) }
            }
            _ => Err(wrong_type(&column, "text or a whole number")),
        }
    }

    /// A column's cells, of which some may be empty.
    fn column<T: DataType, U>(&self, place: usize, mut to: impl FnMut(&T::T) -> U) -> Result<Vec<Option<U>>, TableError> {
        let optional = self.schema.column(place).max_def_level() > 0;
        let mut reader = get_typed_column_reader::<T>(self.reader.get_column_reader(place)?);
        let (mut values, mut levels) = (Vec::new(), Vec::new());
        let mut read = 0;
        while read < self.len {
            let (rows, _, _) = reader.read_records(self.len - read, optional.then_some(&mut levels), None, &mut values)?;
            if rows == 0 {
                return Err(parquet::errors::ParquetError::EOF(format!("column {place} has {read} of {} rows", self.len)).into());
            }
            read += rows;
        }
        let mut values = values.iter();
        if optional {
            Ok(levels.iter().map(|level| if *level > 0 { values.next().map(&mut to) } else { None }).collect())
        } else {
            Ok(values.map(|value| Some(to(value))).collect())
        }
    }
}
