//! What a receiver remembers of a request: 50 bytes, enough for the oracle and for exact percentiles.

/// One request, as it arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// `webhook-id` as a UUID; 0 when it was none.
    pub event_id: u128,
    pub destination: u32,
    /// Status that was answered; 0 when there was no complete answer.
    pub status: u16,
    /// Whether the body was read whole and named the event of the `webhook-id` header.
    pub consistent: bool,
    /// Unix microseconds at which the request had been read.
    pub at_us: i64,
    /// `sentAtUs` of the payload; 0 when there was none.
    pub sent_us: i64,
    /// `receivedAt` of the event: when it was accepted; 0 when there was none.
    pub accepted_us: i64,
}

pub(super) const ENCODED_LEN: usize = 16 + 4 + 2 + 1 + 3 * 8;

impl Arrival {
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.event_id.to_le_bytes());
        out.extend_from_slice(&self.destination.to_le_bytes());
        out.extend_from_slice(&self.status.to_le_bytes());
        out.push(self.consistent.into());
        out.extend_from_slice(&self.at_us.to_le_bytes());
        out.extend_from_slice(&self.sent_us.to_le_bytes());
        out.extend_from_slice(&self.accepted_us.to_le_bytes());
    }

    /// Reads what [`Arrival::encode`] wrote.
    pub fn decode(bytes: &[u8; ENCODED_LEN]) -> Self {
        let long = |at: usize| i64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        Arrival {
            event_id: u128::from_le_bytes(std::array::from_fn(|i| bytes[i])),
            destination: u32::from_le_bytes(std::array::from_fn(|i| bytes[16 + i])),
            status: u16::from_le_bytes(std::array::from_fn(|i| bytes[20 + i])),
            consistent: bytes[22] != 0,
            at_us: long(23),
            sent_us: long(31),
            accepted_us: long(39),
        }
    }

    /// Whether the sender was told that it has been delivered.
    pub fn delivered(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// The number behind `"sentAtUs":` in a body, and the time behind `"receivedAt":"`, both in Unix microseconds; 0 for none.
pub(super) fn times(body: &[u8]) -> (i64, i64) {
    let sent = after(body, b"\"sentAtUs\":").map_or(0, leading_number);
    let accepted = after(body, b"\"receivedAt\":\"")
        .and_then(timestamp)
        .unwrap_or(0);
    (sent, accepted)
}

fn after<'a>(body: &'a [u8], needle: &[u8]) -> Option<&'a [u8]> {
    memchr::memmem::find(body, needle).map(|at| &body[at + needle.len()..])
}

fn leading_number(text: &[u8]) -> i64 {
    text.iter()
        .take_while(|b| b.is_ascii_digit())
        .fold(0, |n, b| n * 10 + i64::from(b - b'0'))
}

fn timestamp(text: &[u8]) -> Option<i64> {
    let end = memchr::memchr(b'"', &text[..text.len().min(40)])?;
    let text = std::str::from_utf8(&text[..end]).ok()?;
    text.parse::<jiff::Timestamp>()
        .ok()
        .map(|t| t.as_microsecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrival_reads_back() {
        let arrival = Arrival {
            event_id: 7,
            destination: 9,
            status: 204,
            consistent: true,
            at_us: 3,
            sent_us: 2,
            accepted_us: -1,
        };
        let mut bytes = Vec::new();
        arrival.encode(&mut bytes);
        assert_eq!(
            Arrival::decode(bytes.as_slice().try_into().unwrap()),
            arrival
        );
    }

    #[test]
    fn times_come_out_of_a_body_wherever_they_stand() {
        let body = br#"{"payload":{"sentAtUs":1700000000000001,"x":1},"receivedAt":"2023-11-14T22:13:20.000002Z"}"#;
        assert_eq!(times(body), (1_700_000_000_000_001, 1_700_000_000_000_002));
        assert_eq!(times(b"{}"), (0, 0));
    }
}
