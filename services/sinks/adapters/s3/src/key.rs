//! Where an object is: `<prefix>/event_type=T/dt=YYYY-MM-DD/hour=HH/part-<sha256>.<ending>`.
//!
//! Query engines read `name=value` folders as columns. Day and hour are those in which the event was **accepted**
//! (`receivedAt`, UTC), not those in which it happened: an hour that is over is complete as soon as what was under way is
//! delivered, whatever clocks and late uploads say, and an event replayed a month later goes to the folder where it was. When it
//! happened is in every line.

use std::fmt::Write as _;

use pushrail_sink_core::rfc3339;

use crate::config::{Compression, Format};

/// The hour in which something was accepted, counted from 1970.
pub(crate) fn hour(received_at_us: i64) -> i64 {
    received_at_us.div_euclid(3_600_000_000)
}

pub(crate) fn of(
    prefix: &str,
    event_type: &str,
    hour: i64,
    sha256: &[u8; 32],
    format: Format,
) -> String {
    let mut time = Vec::with_capacity(27);
    rfc3339::write(hour.saturating_mul(3_600_000_000), &mut time);
    let time = std::str::from_utf8(&time).unwrap_or("0000-00-00T00");
    let mut key = format!("{prefix}event_type=");
    escape(event_type, &mut key);
    let (day, hour) = (&time[..10], &time[11..13]);
    let (hash, ending) = (hex::encode(sha256), ending(format));
    // Writing to a String cannot fail.
    let _ = write!(key, "/dt={day}/hour={hour}/part-{hash}.{ending}");
    key
}

fn ending(format: Format) -> &'static str {
    match format {
        Format::Ndjson { compression } => match compression {
            Compression::None => "ndjson",
            Compression::Gzip => "ndjson.gz",
            Compression::Zstd => "ndjson.zst",
        },
        Format::Parquet {} => "parquet",
    }
}

/// An event type has nothing to escape; what came onto the topic otherwise must not make folders.
fn escape(text: &str, key: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.' => key.push(byte.into()),
            _ => {
                let _ = write!(key, "%{byte:02X}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_what_customers_queries_were_written_for() {
        let at = hour(1_767_323_046_000_000);
        let of = |prefix, event_type, format| of(prefix, event_type, at, &[0xab; 32], format);
        let hash = "ab".repeat(32);
        assert_eq!(
            of("raw/", "order.completed", Format::default()),
            format!("raw/event_type=order.completed/dt=2026-01-02/hour=03/part-{hash}.ndjson")
        );
        let gzip = Format::Ndjson {
            compression: Compression::Gzip,
        };
        let zstd = Format::Ndjson {
            compression: Compression::Zstd,
        };
        assert!(of("", "a", gzip).ends_with(".ndjson.gz"));
        assert!(of("", "a", zstd).ends_with(".ndjson.zst"));
        assert!(of("", "a", Format::Parquet {}).ends_with(".parquet"));
        let odd = of("", "../a/b c", Format::default());
        assert!(odd.starts_with("event_type=..%2Fa%2Fb%20c/dt="), "{odd}");
    }

    #[test]
    fn no_time_breaks_a_key() {
        for us in [i64::MIN, -1, 0, i64::MAX] {
            let key = of("", "a", hour(us), &[0; 32], Format::default());
            assert_eq!(key.matches('/').count(), 3, "{key}");
        }
    }
}
