//! Comparing JSON numbers exactly, as the decimal texts that they are.
//!
//! An amount beyond 2^53 is not the same as its neighbour, and 0.1 is one tenth: a filter on money must not depend on
//! what a double can hold. So a number is never converted; its digits are compared where they stand.

use std::cmp::Ordering;

/// A JSON number's text, taken apart without copying.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decimal<'a> {
    negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
    exponent: i64,
}

impl<'a> Decimal<'a> {
    /// Reads the text of a number that a JSON parser has accepted; anything else gives some number, never a panic.
    pub(crate) fn new(text: &'a str) -> Self {
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        Decimal {
            negative,
            whole: whole.as_bytes(),
            fraction: fraction.as_bytes(),
            exponent: read_exponent(exponent),
        }
    }

    /// Digits that count: without leading and trailing zeros.
    pub(crate) fn significant_digits(&self) -> usize {
        let leading = self.leading_zeros();
        let trailing = self.digits().rev().take_while(|d| *d == b'0').count();
        (self.len() - leading).saturating_sub(trailing)
    }

    fn len(&self) -> usize {
        self.whole.len() + self.fraction.len()
    }

    fn digits(&self) -> impl DoubleEndedIterator<Item = u8> + use<'a> {
        self.whole.iter().chain(self.fraction).copied()
    }

    fn leading_zeros(&self) -> usize {
        self.digits().take_while(|d| *d == b'0').count()
    }

    /// Power of ten of the first digit that counts; `None` for zero.
    fn magnitude(&self) -> Option<i64> {
        let zeros = self.leading_zeros();
        let first = self.whole.len() as i64 - zeros as i64;
        (zeros < self.len()).then(|| self.exponent.saturating_add(first))
    }

    /// Compares what two numbers stand for. `1.0`, `1` and `10e-1` are equal, and so are `0` and `-0`.
    pub(crate) fn compare(&self, other: &Decimal<'_>) -> Ordering {
        match (self.magnitude(), other.magnitude()) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) => sign(!other.negative),
            (Some(_), None) => sign(self.negative),
            (Some(_), Some(_)) if self.negative != other.negative => sign(self.negative),
            (Some(a), Some(b)) => {
                let sizes = a.cmp(&b).then_with(|| self.compare_digits(other));
                if self.negative {
                    sizes.reverse()
                } else {
                    sizes
                }
            }
        }
    }

    fn compare_digits(&self, other: &Decimal<'_>) -> Ordering {
        let (mut a, mut b) = (
            self.digits().skip(self.leading_zeros()),
            other.digits().skip(other.leading_zeros()),
        );
        loop {
            match (a.next(), b.next()) {
                (None, None) => return Ordering::Equal,
                (x, y) => match x.unwrap_or(b'0').cmp(&y.unwrap_or(b'0')) {
                    Ordering::Equal => {}
                    unequal => return unequal,
                },
            }
        }
    }
}

fn sign(less: bool) -> Ordering {
    if less {
        Ordering::Less
    } else {
        Ordering::Greater
    }
}

/// An exponent beyond what fits is held at a limit that no other number's digits can make up for.
fn read_exponent(text: &str) -> i64 {
    const LIMIT: i64 = i64::MAX / 4;
    let digits = text.trim_start_matches(['+', '-']);
    let size = digits.bytes().fold(0i64, |value, digit| {
        value
            .saturating_mul(10)
            .saturating_add(i64::from(digit.wrapping_sub(b'0') % 10))
            .min(LIMIT)
    });
    if text.starts_with('-') { -size } else { size }
}

/// The number as its owner wrote it. A configuration's numbers have passed through a double unless they are integers of
/// 64 bits, and fifteen digits are what a double gives back unchanged: a longer one may not be what was written.
pub(crate) fn exact(number: &serde_json::Number) -> Result<Box<str>, String> {
    let text = number.to_string();
    let is_integer = number.is_i64() || number.is_u64();
    if !is_integer && Decimal::new(&text).significant_digits() > 15 {
        return Err(format!(
            "is a number of more digits than can be compared exactly ({text}); write an integer of at most 64 bits or at most 15 digits"
        ));
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn compare(a: &str, b: &str) -> Ordering {
        Decimal::new(a).compare(&Decimal::new(b))
    }

    #[test]
    fn neighbours_beyond_what_a_double_holds_are_not_the_same() {
        for (less, more) in [
            ("9007199254740992", "9007199254740993"),
            (
                "123456789012345678901234567890",
                "123456789012345678901234567891",
            ),
            ("-9007199254740993", "-9007199254740992"),
            ("0.1", "0.10000000000000000001"),
            ("-1", "0"),
            ("-0", "1e-400"),
            ("-1e400", "-1e399"),
            ("9.99e5", "1e6"),
            ("0.0009", "0.001"),
            ("1e-99999999999999999999", "1e99999999999999999999"),
        ] {
            assert_eq!(compare(less, more), Ordering::Less, "{less} < {more}");
            assert_eq!(compare(more, less), Ordering::Greater, "{more} > {less}");
        }
    }

    #[test]
    fn the_same_number_is_equal_however_it_is_written() {
        for (a, b) in [
            ("1", "1.0"),
            ("1", "10e-1"),
            ("100", "1E+2"),
            ("0", "-0.00e7"),
            ("0.50", "5e-1"),
            ("-12.5", "-125e-1"),
        ] {
            assert_eq!(compare(a, b), Ordering::Equal, "{a} = {b}");
        }
    }

    #[test]
    fn zeros_around_a_number_do_not_count() {
        for (text, digits) in [
            ("0", 0),
            ("-0.0", 0),
            ("100", 1),
            ("0.0010", 1),
            ("10.01", 4),
            ("1e9", 1),
        ] {
            assert_eq!(Decimal::new(text).significant_digits(), digits, "{text}");
        }
    }

    proptest! {
        #[test]
        fn integers_compare_as_integers(a: i128, b: i128) {
            prop_assert_eq!(compare(&a.to_string(), &b.to_string()), a.cmp(&b));
        }

        #[test]
        fn shifting_the_point_changes_nothing(n in -1_000_000i64..1_000_000, shift in 0usize..30) {
            let shifted = format!("{n}{}e-{shift}", "0".repeat(shift));
            prop_assert_eq!(compare(&n.to_string(), &shifted), Ordering::Equal);
            prop_assert_eq!(compare(&(n + 1).to_string(), &shifted), Ordering::Greater);
        }

        #[test]
        fn no_text_panics(a in ".{0,40}", b in ".{0,40}") {
            let _ = compare(&a, &b);
        }
    }
}
