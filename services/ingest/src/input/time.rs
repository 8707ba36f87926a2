//! RFC 3339, read strictly.

/// Microseconds of a day.
const DAY_US: i64 = 86_400_000_000;

/// Reads `2026-07-01T12:00:00.123456Z` or with an offset such as `+02:00`, as microseconds since the Unix epoch.
/// Finer fractions are cut off; a leap second is the last microsecond of its minute. `None` when it is anything else.
pub fn parse(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let number = |from: usize, len: usize| {
        let digits = bytes.get(from..from + len)?;
        digits.iter().try_fold(0i64, |sum, digit| {
            digit
                .is_ascii_digit()
                .then(|| sum * 10 + i64::from(digit - b'0'))
        })
    };
    let mark = |at: usize, any: &[u8]| bytes.get(at).filter(|byte| any.contains(byte)).map(drop);
    let (year, month, day) = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
    let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
    for (at, any) in [
        (4, &b"-"[..]),
        (7, b"-"),
        (10, b"Tt"),
        (13, b":"),
        (16, b":"),
    ] {
        mark(at, any)?;
    }
    let in_day = (1..=12).contains(&month) && (1..=days_of(year, month)).contains(&day);
    if !in_day || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (fraction_us, at) = fraction(bytes, 19)?;
    let offset_minutes = offset(bytes, at)?;
    let second_us = match second {
        60 => 59_999_999,
        _ => second * 1_000_000 + fraction_us,
    };
    let minutes = hour * 60 + minute - offset_minutes;
    Some(days_since_epoch(year, month, day) * DAY_US + minutes * 60_000_000 + second_us)
}

/// The fraction of a second at `at`, in microseconds, and where it ends.
fn fraction(bytes: &[u8], at: usize) -> Option<(i64, usize)> {
    if bytes.get(at) != Some(&b'.') {
        return Some((0, at));
    }
    let digits = bytes[at + 1..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit());
    let count = digits.clone().count();
    let micros = digits
        .chain(std::iter::repeat(&b'0'))
        .take(6)
        .fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
    (1..=9).contains(&count).then_some((micros, at + 1 + count))
}

/// The offset at `at`, which must be all that is left, in minutes.
fn offset(bytes: &[u8], at: usize) -> Option<i64> {
    match bytes.get(at..)? {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2]
            if [h1, h2, m1, m2].iter().all(|digit| digit.is_ascii_digit()) =>
        {
            let two = |tens: &u8, ones: &u8| i64::from(tens - b'0') * 10 + i64::from(ones - b'0');
            let (hours, minutes) = (two(h1, h2), two(m1, m2));
            let total = hours * 60 + minutes;
            (hours <= 23 && minutes <= 59).then_some(match sign {
                b'-' => -total,
                _ => total,
            })
        }
        _ => None,
    }
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01, proleptic Gregorian: counts in eras of 400 years that begin on 1 March, so that the leap day is
/// the last of a year (Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_rfc_3339_is_read() {
        for (text, us) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-07-01T12:00:00.5+02:00", 1_782_900_000_500_000),
            ("2024-02-29t23:59:60z", 1_709_251_199_999_999),
            ("2000-01-01T00:00:00.123456789Z", 946_684_800_123_456),
        ] {
            assert_eq!(parse(text), Some(us), "{text}");
        }
        for bad in [
            "",
            "2026",
            "2026-07-01",
            "2026-07-01T12:00:00",
            "2026-07-01 12:00:00Z",
            "2026-07-01T12:00Z",
            "2026-7-1T12:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-07-01T24:00:00Z",
            "2026-07-01T12:00:61Z",
            "2026-07-01T12:00:00.Z",
            "2026-07-01T12:00:00+0200",
            "2026-07-01T12:00:00+24:00",
            "2026-07-01T12:00:00Z[UTC]",
            "2026-07-01T12:00:00Z ",
            "1782900000",
            "２026-07-01T12:00:00Z",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(us in 0i64..253_402_300_799_000_000) {
            let text = pushrail_clock::rfc3339(us).unwrap();
            prop_assert_eq!(parse(&text), Some(us));
            let theirs: jiff::Timestamp = text.parse().unwrap();
            prop_assert_eq!(theirs.as_microsecond(), us);
        }

        #[test]
        fn noise_never_panics(text in "[0-9T:.Z+é-]{0,32}") {
            let _ = parse(&text);
        }
    }
}
