//! A Parquet file, written from its start to its end: what is finished of it can be sent while the rest is read.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::errors::Result;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;

use super::{Cell, Kind};

/// Lines and bytes of a row group: as much as is kept in memory.
const GROUP_LINES: usize = 20_000;
const GROUP_BYTES: usize = 8 << 20;

pub(super) struct File {
    columns: &'static [(&'static str, Kind)],
    sent: Shared,
    /// `None` before it begins and after it has ended.
    writer: Option<SerializedFileWriter<Shared>>,
    /// By column.
    pending: Vec<Vec<Cell>>,
    bytes: usize,
}

/// What the writer has written and nobody has taken yet.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn take(&self, out: &mut Vec<u8>) {
        out.append(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut sent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sent.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl File {
    pub(super) fn new(columns: &'static [(&'static str, Kind)]) -> Self {
        File {
            columns,
            sent: Shared::default(),
            writer: None,
            pending: columns.iter().map(|_| Vec::new()).collect(),
            bytes: 0,
        }
    }

    pub(super) fn begin(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let fields = self.columns.iter().map(field).collect::<Result<_>>()?;
        let schema = Type::group_type_builder("line")
            .with_fields(fields)
            .build()?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .build();
        let writer =
            SerializedFileWriter::new(self.sent.clone(), Arc::new(schema), Arc::new(properties))?;
        self.writer = Some(writer);
        self.sent.take(out);
        Ok(())
    }

    pub(super) fn line(&mut self, cells: Vec<Cell>, out: &mut Vec<u8>) -> Result<()> {
        for (column, cell) in self.pending.iter_mut().zip(cells) {
            self.bytes += match &cell {
                Cell::Text(text) => text.len(),
                _ => 8,
            };
            column.push(cell);
        }
        let lines = self.pending.first().map_or(0, Vec::len);
        if lines >= GROUP_LINES || self.bytes >= GROUP_BYTES {
            self.group()?;
            self.sent.take(out);
        }
        Ok(())
    }

    pub(super) fn end(&mut self, out: &mut Vec<u8>) -> Result<()> {
        self.group()?;
        if let Some(writer) = self.writer.take() {
            writer.close()?;
        }
        self.sent.take(out);
        Ok(())
    }

    fn group(&mut self) -> Result<()> {
        self.bytes = 0;
        let Some(writer) = self.writer.as_mut() else {
            return Ok(());
        };
        if self.pending.first().is_none_or(Vec::is_empty) {
            return Ok(());
        }
        let mut group = writer.next_row_group()?;
        for ((_, kind), cells) in self.columns.iter().zip(&mut self.pending) {
            let Some(mut column) = group.next_column()? else {
                break;
            };
            let cells = std::mem::take(cells);
            // 1 where there is a value, 0 where there is none.
            let levels: Vec<i16> = cells
                .iter()
                .map(|cell| i16::from(*cell != Cell::Nothing))
                .collect();
            match kind {
                Kind::Text => {
                    let values: Vec<ByteArray> = cells.into_iter().filter_map(text).collect();
                    column
                        .typed::<ByteArrayType>()
                        .write_batch(&values, Some(&levels), None)?;
                }
                Kind::Number | Kind::Time => {
                    let values: Vec<i64> = cells.into_iter().filter_map(number).collect();
                    column
                        .typed::<Int64Type>()
                        .write_batch(&values, Some(&levels), None)?;
                }
            }
            column.close()?;
        }
        group.close()?;
        Ok(())
    }
}

fn text(cell: Cell) -> Option<ByteArray> {
    match cell {
        Cell::Text(text) => Some(text.into_bytes().into()),
        _ => None,
    }
}

fn number(cell: Cell) -> Option<i64> {
    match cell {
        Cell::Number(number) | Cell::Time(number) => Some(number),
        _ => None,
    }
}

fn field((name, kind): &(&'static str, Kind)) -> Result<Arc<Type>> {
    let (physical, logical) = match kind {
        Kind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        Kind::Number => (Physical::INT64, None),
        Kind::Time => {
            let logical = LogicalType::timestamp(true, TimeUnit::MICROS);
            (Physical::INT64, Some(logical))
        }
    };
    let field = Type::primitive_type_builder(name, physical)
        .with_repetition(Repetition::OPTIONAL)
        .with_logical_type(logical)
        .build()?;
    Ok(Arc::new(field))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use parquet::file::reader::{FileReader as _, SerializedFileReader};

    use super::*;

    #[test]
    fn what_is_written_is_what_a_reader_reads() {
        const COLUMNS: &[(&str, Kind)] = &[
            ("name", Kind::Text),
            ("count", Kind::Number),
            ("at", Kind::Time),
        ];
        let mut file = File::new(COLUMNS);
        let mut out = Vec::new();
        file.begin(&mut out).unwrap();
        let lines = 50_000;
        for n in 0..lines {
            let name = match n % 3 {
                0 => Cell::Nothing,
                _ => Cell::Text(format!("line {n}")),
            };
            let cells = vec![name, Cell::Number(n), Cell::Time(n * 1_000_000)];
            file.line(cells, &mut out).unwrap();
        }
        let before_the_end = out.len();
        assert!(before_the_end > 100_000, "it is sent as it is made");
        file.end(&mut out).unwrap();
        let reader = SerializedFileReader::new(Bytes::from(out)).unwrap();
        assert_eq!(reader.metadata().num_row_groups(), 3);
        let rows: Vec<String> = reader
            .get_row_iter(None)
            .unwrap()
            .map(|row| row.unwrap().to_string())
            .collect();
        assert_eq!(rows.len() as i64, lines);
        assert!(rows[0].contains("name: null"), "{}", rows[0]);
        assert!(rows[49_999].contains("line 49999"), "{}", rows[49_999]);
    }

    #[test]
    fn an_export_without_lines_is_a_file_too() {
        let mut file = File::new(&[("name", Kind::Text)]);
        let mut out = Vec::new();
        file.begin(&mut out).unwrap();
        file.end(&mut out).unwrap();
        let reader = SerializedFileReader::new(Bytes::from(out)).unwrap();
        assert_eq!(reader.metadata().file_metadata().num_rows(), 0);
    }
}
