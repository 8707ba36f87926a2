//! Unix microseconds as `2026-01-02T03:04:05.123456Z`, by hand: it is written twice an event.

/// 0000-01-01T00:00:00 and 9999-12-31T23:59:59.999999: RFC 3339 has four digits for the year.
const MIN_US: i64 = -62_167_219_200_000_000;
const MAX_US: i64 = 253_402_300_799_999_999;

/// Appends 27 bytes. What RFC 3339 cannot say becomes the nearest time that it can.
pub fn write(unix_us: i64, out: &mut Vec<u8>) {
    let us = unix_us.clamp(MIN_US, MAX_US);
    let days = us.div_euclid(86_400_000_000);
    let of_day = us.rem_euclid(86_400_000_000);
    let (year, month, day) = civil(days);
    let (second, micros) = (of_day / 1_000_000, of_day % 1_000_000);
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    digits(&mut text[0..4], year);
    digits(&mut text[5..7], month);
    digits(&mut text[8..10], day);
    digits(&mut text[11..13], second / 3600);
    digits(&mut text[14..16], second / 60 % 60);
    digits(&mut text[17..19], second % 60);
    digits(&mut text[20..26], micros);
    out.extend_from_slice(&text);
}

fn digits(place: &mut [u8], mut value: i64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// Days since 1970-01-01 as year, month and day. Counts from the first of March, so that the leap day comes last
/// (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(us: i64) -> String {
        let mut out = Vec::new();
        write(us, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_edges_of_time_stay_in_four_digits() {
        assert_eq!(text(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(text(-1), "1969-12-31T23:59:59.999999Z");
        assert_eq!(text(951_782_400_000_000), "2000-02-29T00:00:00.000000Z");
        assert_eq!(text(i64::MIN), "0000-01-01T00:00:00.000000Z");
        assert_eq!(text(i64::MAX), "9999-12-31T23:59:59.999999Z");
    }

    proptest::proptest! {
        #[test]
        fn it_agrees_with_a_library(us in -62_135_596_800_000_000i64..253_402_200_000_000_000) {
            let expected = jiff::Timestamp::from_microsecond(us).unwrap();
            proptest::prop_assert_eq!(text(us).parse::<jiff::Timestamp>().unwrap(), expected);
        }
    }
}
