//! Rows as the Storage Write API takes them: protocol buffers of a message that the table's own columns define.
//!
//! The message is described anew for each stream, from what BigQuery says that the table has: types that hold the same value
//! (a STRING where a JSON is meant) are served, anything else is told before a row is sent.

use bytes::{BufMut, Bytes, BytesMut};
use googleapis_tonic_google_cloud_bigquery_storage_v1::google::cloud::bigquery::storage::v1 as storage;
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto};
use pushrail_schemas::Event;
use storage::table_field_schema::{Mode, Type as Stored};
use uuid::fmt::Hyphenated;

use crate::table::{COLUMNS, Column, Kind};

/// What one row has beside its payload, metadata and texts.
const FRAME_LEN: usize = 160;

/// How rows are written for one table: which of our columns it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shape([bool; COLUMNS.len()]);

/// Why a table cannot take rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unfit(pub(crate) String);

impl Shape {
    /// What `schema` has of our columns. A table whose columns BigQuery does not tell is taken to have them all.
    pub(crate) fn of(schema: Option<&storage::TableSchema>) -> Result<Self, Unfit> {
        let mut shape = Shape([true; COLUMNS.len()]);
        let Some(schema) = schema else {
            return Ok(shape);
        };
        for (column, is_there) in COLUMNS.iter().zip(&mut shape.0) {
            let same =
                |field: &&storage::TableFieldSchema| field.name.eq_ignore_ascii_case(column.name);
            let Some(field) = schema.fields.iter().find(same) else {
                *is_there = false;
                continue;
            };
            let fits = match column.kind {
                Kind::String => field.r#type() == Stored::String,
                Kind::Timestamp => field.r#type() == Stored::Timestamp,
                Kind::Json => matches!(field.r#type(), Stored::Json | Stored::String),
            };
            if !fits || field.mode() == Mode::Repeated {
                let (name, wanted) = (column.name, column.kind.name());
                let found = field.r#type().as_str_name();
                return Err(Unfit(format!(
                    "the column {name} is {found}, and {wanted} is written"
                )));
            }
        }
        Ok(shape)
    }

    pub(crate) fn missing(&self) -> Vec<Column> {
        let pairs = COLUMNS.iter().zip(self.0);
        let missing = pairs.filter_map(|(column, is_there)| (!is_there).then_some(*column));
        missing.collect()
    }

    /// The message that [`Shape::encode`] writes.
    pub(crate) fn descriptor(&self) -> DescriptorProto {
        let fields = COLUMNS.iter().enumerate().filter(|(at, _)| self.0[*at]);
        let field = |(at, column): (usize, &Column)| FieldDescriptorProto {
            name: Some(column.name.to_owned()),
            number: Some(at as i32 + 1),
            label: Some(Label::Optional.into()),
            r#type: Some(match column.kind {
                Kind::String | Kind::Json => Type::String.into(),
                Kind::Timestamp => Type::Int64.into(),
            }),
            ..FieldDescriptorProto::default()
        };
        DescriptorProto {
            name: Some("Event".to_owned()),
            field: fields.map(field).collect(),
            ..DescriptorProto::default()
        }
    }

    /// One row; `None` when its payload or metadata is no text.
    pub(crate) fn encode(&self, event: &Event) -> Option<Bytes> {
        let (payload, metadata) = (json(event.payload())?, json(event.metadata())?);
        let mut row = BytesMut::with_capacity(FRAME_LEN + event.value().len());
        let mut id = [0; Hyphenated::LENGTH];
        let id = event.event_id().hyphenated().encode_lower(&mut id);
        self.text(0, Some(id), &mut row);
        self.text(1, Some(event.event_type()), &mut row);
        self.time(2, event.occurred_at_us(), &mut row);
        self.text(3, Some(event.customer_external_id()), &mut row);
        self.text(4, event.source(), &mut row);
        self.text(5, Some(payload), &mut row);
        self.text(6, Some(metadata), &mut row);
        self.time(7, event.received_at_us(), &mut row);
        Some(row.freeze())
    }

    fn text(&self, at: usize, value: Option<&str>, row: &mut BytesMut) {
        if let Some(value) = value.filter(|_| self.0[at]) {
            encode_key(at as u32 + 1, WireType::LengthDelimited, row);
            encode_varint(value.len() as u64, row);
            row.put_slice(value.as_bytes());
        }
    }

    fn time(&self, at: usize, unix_us: i64, row: &mut BytesMut) {
        if self.0[at] {
            encode_key(at as u32 + 1, WireType::Varint, row);
            encode_varint(unix_us as u64, row);
        }
    }
}

/// Nothing at all stands for an empty object, as in the canonical event.
fn json(bytes: &[u8]) -> Option<&str> {
    match std::str::from_utf8(bytes) {
        Ok("") => Some("{}"),
        text => text.ok(),
    }
}

#[cfg(test)]
mod tests {
    use pushrail_schemas::event::Parts;
    use uuid::Uuid;

    use super::*;

    fn event(payload: &[u8], source: Option<&str>) -> Event {
        let mut value = Vec::new();
        Parts {
            event_id: Uuid::from_u128(1),
            event_type: "order.completed",
            occurred_at_us: 1_767_323_045_123_456,
            customer_external_id: "cust-1",
            idempotency_key: None,
            source,
            payload,
            metadata: b"",
            received_at_us: -1,
            subject_id: None,
            sealing: None,
        }
        .encode(1, &mut value);
        Event::parse(Bytes::from(value)).unwrap()
    }

    /// What a reader that knows the message makes of a row.
    #[derive(Clone, PartialEq, prost::Message)]
    struct Read {
        #[prost(string, optional, tag = "1")]
        event_id: Option<String>,
        #[prost(int64, optional, tag = "3")]
        occurred_at: Option<i64>,
        #[prost(string, optional, tag = "5")]
        source: Option<String>,
        #[prost(string, optional, tag = "6")]
        payload: Option<String>,
        #[prost(string, optional, tag = "7")]
        metadata: Option<String>,
        #[prost(int64, optional, tag = "8")]
        received_at: Option<i64>,
    }

    fn schema(columns: &[(&str, Stored)]) -> storage::TableSchema {
        let field = |(name, kind): &(&str, Stored)| storage::TableFieldSchema {
            name: (*name).to_owned(),
            r#type: (*kind).into(),
            mode: Mode::Nullable.into(),
            ..Default::default()
        };
        storage::TableSchema {
            fields: columns.iter().map(field).collect(),
        }
    }

    #[test]
    fn a_row_is_a_message_of_its_descriptor() {
        let shape = Shape::of(None).unwrap();
        let row = shape.encode(&event(br#"{ "b":1.10 }"#, None)).unwrap();
        let read = <Read as prost::Message>::decode(row).unwrap();
        assert_eq!(read.event_id.unwrap(), Uuid::from_u128(1).to_string());
        assert_eq!(read.payload.as_deref(), Some(r#"{ "b":1.10 }"#));
        assert_eq!(read.metadata.as_deref(), Some("{}"));
        assert_eq!(
            (read.occurred_at, read.received_at),
            (Some(1_767_323_045_123_456), Some(-1))
        );
        assert_eq!(read.source, None);
        let numbers: Vec<_> = shape
            .descriptor()
            .field
            .iter()
            .map(|f| f.number())
            .collect();
        assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8]);
        assert!(shape.encode(&event(b"\xff", None)).is_none());
    }

    #[test]
    fn what_a_table_lacks_is_told_and_not_written() {
        let shape = Shape::of(Some(&schema(&[
            ("EVENT_ID", Stored::String),
            ("payload", Stored::String),
            ("their_own", Stored::Int64),
        ])));
        let shape = shape.unwrap();
        let missing: Vec<_> = shape.missing().iter().map(|column| column.name).collect();
        let expected = [
            "event_type",
            "occurred_at",
            "customer_external_id",
            "source",
            "metadata",
            "received_at",
        ];
        assert_eq!(missing, expected);
        let names: Vec<_> = shape
            .descriptor()
            .field
            .into_iter()
            .map(|f| f.name.unwrap())
            .collect();
        assert_eq!(names, ["event_id", "payload"]);
        let row = shape.encode(&event(b"{}", Some("shop"))).unwrap();
        let read = <Read as prost::Message>::decode(row).unwrap();
        assert_eq!((read.source, read.received_at), (None, None));
        let Unfit(why) = Shape::of(Some(&schema(&[("occurred_at", Stored::String)]))).unwrap_err();
        assert!(
            why.contains("occurred_at is STRING, and TIMESTAMP"),
            "{why}"
        );
    }
}
