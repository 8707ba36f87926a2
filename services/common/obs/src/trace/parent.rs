//! The `traceparent` header, version 00 of <https://www.w3.org/TR/trace-context/>.

use std::fmt;

/// Which trace and span something belongs to, and whether it is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traceparent {
    pub(super) trace_id: u128,
    pub(super) span_id: u64,
    pub(super) flags: u8,
}

impl Traceparent {
    /// Length of the text form, in bytes.
    pub const LEN: usize = 55;
    const SAMPLED: u8 = 1;

    /// Both ids must not be zero; that is what makes them valid.
    pub fn new(trace_id: u128, span_id: u64, sampled: bool) -> Option<Self> {
        let flags = u8::from(sampled) * Self::SAMPLED;
        let valid = trace_id != 0 && span_id != 0;
        valid.then_some(Traceparent {
            trace_id,
            span_id,
            flags,
        })
    }

    /// Reads the header's value; `None` for anything that the specification calls invalid. A later version is read as
    /// far as version 00 goes, which is what it asks of us.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (head, rest) = value.split_at_checked(Self::LEN)?;
        let [v1, v2, b'-', trace @ .., b'-', f1, f2] = head else {
            return None;
        };
        let version = hex(&[*v1, *v2])?;
        let follows = if version == 0 {
            rest.is_empty()
        } else {
            rest.first().is_none_or(|byte| *byte == b'-')
        };
        if version == 0xff || !follows || trace[32] != b'-' {
            return None;
        }
        let parent = Traceparent {
            trace_id: hex(&trace[..32])?,
            span_id: hex(&trace[33..])? as u64,
            flags: hex(&[*f1, *f2])? as u8,
        };
        (parent.trace_id != 0 && parent.span_id != 0).then_some(parent)
    }

    /// Whether whoever sent it records this trace.
    pub fn is_sampled(&self) -> bool {
        self.flags & Self::SAMPLED != 0
    }

    pub fn trace_id(&self) -> u128 {
        self.trace_id
    }

    pub fn span_id(&self) -> u64 {
        self.span_id
    }
}

impl fmt::Display for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = self.flags & Self::SAMPLED;
        write!(
            f,
            "00-{:032x}-{:016x}-{flags:02x}",
            self.trace_id, self.span_id
        )
    }
}

/// Lower-case hexadecimal, as the specification demands; 32 digits at most.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |value, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u128::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn what_is_written_reads_back() {
        let parent = Traceparent::parse(GOOD.as_bytes()).unwrap();
        assert_eq!(parent.trace_id(), 0x0af7651916cd43dd8448eb211c80319c);
        assert_eq!(parent.span_id(), 0xb7ad6b7169203331);
        assert!(parent.is_sampled());
        assert_eq!(parent.to_string(), GOOD);
        assert_eq!(parent.to_string().len(), Traceparent::LEN);
    }

    #[test]
    fn a_later_version_is_read_as_far_as_we_know_it() {
        let later = GOOD.replacen("00", "01", 1) + "-more";
        assert!(Traceparent::parse(later.as_bytes()).is_some());
        let joined = GOOD.replacen("00", "01", 1) + "more";
        assert!(Traceparent::parse(joined.as_bytes()).is_none());
    }

    #[test]
    fn garbage_from_a_publisher_is_no_trace() {
        for bad in [
            "",
            "00",
            &GOOD[..54],
            &format!("{GOOD}-x"),
            &GOOD.to_uppercase(),
            &GOOD.replacen("00", "ff", 1),
            &GOOD.replace('-', "_"),
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319cb7ad6b7169203331--01",
            "00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01",
        ] {
            assert_eq!(Traceparent::parse(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(Traceparent::new(0, 1, true), None);
    }
}
