//! CSV as RFC 4180 has it; but a spreadsheet must not take what somebody named a thing for a formula.

use std::borrow::Cow;

use super::{Cell, Kind};

pub(super) fn head(columns: &[(&str, Kind)], out: &mut Vec<u8>) {
    let names: Vec<_> = columns.iter().map(|(name, _)| *name).collect();
    out.extend_from_slice(names.join(",").as_bytes());
    out.extend_from_slice(b"\r\n");
}

pub(super) fn line(cells: &[Cell], out: &mut Vec<u8>) {
    for (at, cell) in cells.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        match cell {
            Cell::Nothing => {}
            Cell::Text(text) => out.extend_from_slice(escaped(text).as_bytes()),
            Cell::Number(number) => out.extend_from_slice(number.to_string().as_bytes()),
            Cell::Time(us) => {
                let at = jiff::Timestamp::from_microsecond(*us).unwrap_or_default();
                out.extend_from_slice(format!("{at:.6}").as_bytes());
            }
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn escaped(text: &str) -> Cow<'_, str> {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = match formula {
        true => Cow::Owned(format!("'{text}")),
        false => Cow::Borrowed(text),
    };
    match text.contains(['"', ',', '\n', '\r']) {
        true => Cow::Owned(format!("\"{}\"", text.replace('"', "\"\""))),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_neither_two_nor_a_formula() {
        let table = [
            ("plain", "plain"),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("=1+1", "'=1+1"),
            ("@x,y", "\"'@x,y\""),
        ];
        for (text, cell) in table {
            assert_eq!(escaped(text), cell);
        }
    }

    #[test]
    fn a_line_has_a_cell_for_each_column() {
        let mut out = Vec::new();
        head(
            &[("a", Kind::Text), ("b", Kind::Number), ("c", Kind::Time)],
            &mut out,
        );
        line(
            &[
                Cell::Nothing,
                Cell::Number(-7),
                Cell::Time(1_700_000_000_000_001),
            ],
            &mut out,
        );
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "a,b,c\r\n,-7,2023-11-14T22:13:20.000001Z\r\n");
    }
}
