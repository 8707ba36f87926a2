//! Reads the few fields of an audit record that the oracle needs, by hand: half a million of them lie on the topic.

use uuid::Uuid;

/// What the oracle wants of an audit record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attempt<'a> {
    pub(super) delivery_id: Option<Uuid>,
    pub(super) outcome: &'a str,
    /// The adapter's failure code.
    pub(super) code: Option<&'a str>,
}

/// Reads a value in Confluent wire format, fields as `Attempt.avsc` orders them; `None` when it is none.
pub(super) fn read(value: &[u8]) -> Option<Attempt<'_>> {
    let (_, body) = pushrail_schemas::wire::split(value).ok()?;
    let mut reader = Reader(body);
    // attempt_id, tenant_id, customer_id, event_id, event_type
    for _ in 0..5 {
        reader.text()?;
    }
    let delivery_id = reader
        .optional_text()?
        .and_then(|text| Uuid::try_parse(text).ok());
    reader.optional_text()?; // destination_id
    reader.optional_text()?; // kind
    reader.long()?; // attempt
    let outcome = reader.text()?;
    reader.text()?; // class
    let code = reader.optional_text()?;
    Some(Attempt {
        delivery_id,
        outcome,
        code,
    })
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn long(&mut self) -> Option<i64> {
        let len = self.0.iter().position(|byte| *byte < 0x80)? + 1;
        let (varint, rest) = self.0.split_at(len);
        self.0 = rest;
        let zigzag = varint
            .iter()
            .rev()
            .fold(0u64, |n, byte| n << 7 | u64::from(byte & 0x7f));
        Some((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
    }

    fn text(&mut self) -> Option<&'a str> {
        let len = usize::try_from(self.long()?).ok()?;
        let (text, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }

    fn optional_text(&mut self) -> Option<Option<&'a str>> {
        match self.long()? {
            0 => Some(None),
            _ => self.text().map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pushrail_schemas::attempt::{Attempt as Written, Outcome};

    #[test]
    fn what_pushrail_writes_is_what_the_oracle_reads() {
        let id = Uuid::from_u128(77);
        let written = Written {
            attempt_id: id,
            tenant_id: "dev",
            customer_id: id,
            event_id: id,
            event_type: "order.completed",
            delivery_id: Some(id),
            destination_id: Some(id),
            kind: Some("webhook"),
            attempt: 300,
            outcome: Outcome::Retrying,
            class: "transient",
            code: Some("timeout"),
            status_code: None,
            started_at_us: 1,
            latency_us: 2,
            error: Some("it did not answer"),
            response_headers: None,
            response_excerpt: None,
            payload: Some(b"{}"),
            payload_form: "json",
            next_attempt_at_us: None,
            first_attempt_at_us: None,
            origin: "live",
            replay_id: None,
            traceparent: None,
        };
        let mut value = Vec::new();
        written.encode(3, &mut value);
        let expected = Attempt {
            delivery_id: Some(id),
            outcome: "retrying",
            code: Some("timeout"),
        };
        assert_eq!(read(&value), Some(expected));
        assert_eq!(read(&value[..40]), None);
    }
}
