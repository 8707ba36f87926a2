//! A batch as a Parquet file: a column a field, in the order of every warehouse; the idempotency key comes last.

use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::errors::Result;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;
use pushrail_schemas::Event;
use pushrail_sink_core::Record;

/// A column and what an event has in it.
enum Column {
    Text(fn(&Event) -> ByteArray),
    Time(fn(&Event) -> i64),
    Optional(for<'a> fn(&'a Event) -> Option<&'a str>),
}

const COLUMNS: [(&str, Column); 9] = [
    (
        "event_id",
        Column::Text(|event| event.event_id().to_string().into_bytes().into()),
    ),
    (
        "event_type",
        Column::Text(|event| event.event_type().into()),
    ),
    ("occurred_at", Column::Time(Event::occurred_at_us)),
    (
        "customer_external_id",
        Column::Text(|event| event.customer_external_id().into()),
    ),
    ("source", Column::Optional(Event::source)),
    ("payload", Column::Text(|event| json(event.payload()))),
    ("metadata", Column::Text(|event| json(event.metadata()))),
    ("received_at", Column::Time(Event::received_at_us)),
    ("idempotency_key", Column::Optional(Event::idempotency_key)),
];

fn json(bytes: &[u8]) -> ByteArray {
    match bytes {
        [] => b"{}".to_vec().into(),
        _ => bytes.to_vec().into(),
    }
}

pub(crate) fn write(records: &[Arc<Record>]) -> Result<Vec<u8>> {
    let fields = COLUMNS.iter().map(field).collect::<Result<_>>()?;
    let schema = Type::group_type_builder("event")
        .with_fields(fields)
        .build()?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .build();
    let mut file = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut file, Arc::new(schema), Arc::new(properties))?;
    let mut group = writer.next_row_group()?;
    for (_, column) in &COLUMNS {
        let Some(mut out) = group.next_column()? else {
            break;
        };
        let events = || records.iter().map(|record| &record.event);
        match column {
            Column::Text(of) => {
                let values: Vec<_> = events().map(of).collect();
                out.typed::<ByteArrayType>()
                    .write_batch(&values, None, None)?;
            }
            Column::Time(of) => {
                let values: Vec<_> = events().map(of).collect();
                out.typed::<Int64Type>().write_batch(&values, None, None)?;
            }
            Column::Optional(of) => {
                let values: Vec<ByteArray> = events().filter_map(of).map(Into::into).collect();
                // 1 where there is a value, 0 where there is none.
                let levels: Vec<i16> = events().map(|e| i16::from(of(e).is_some())).collect();
                let typed = out.typed::<ByteArrayType>();
                typed.write_batch(&values, Some(&levels), None)?;
            }
        }
        out.close()?;
    }
    group.close()?;
    writer.close()?;
    Ok(file)
}

fn field((name, column): &(&'static str, Column)) -> Result<Arc<Type>> {
    let (physical, logical) = match column {
        Column::Text(_) | Column::Optional(_) => (Physical::BYTE_ARRAY, LogicalType::String),
        Column::Time(_) => {
            let logical = LogicalType::timestamp(true, TimeUnit::MICROS);
            (Physical::INT64, logical)
        }
    };
    let repetition = match column {
        Column::Optional(_) => Repetition::OPTIONAL,
        _ => Repetition::REQUIRED,
    };
    let field = Type::primitive_type_builder(name, physical)
        .with_repetition(repetition)
        .with_logical_type(Some(logical))
        .build()?;
    Ok(Arc::new(field))
}
