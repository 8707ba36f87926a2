//! What serde says is wrong, without what it says it about.
//!
//! serde quotes the value that does not fit, and people put secrets into wrong fields. A name that is not known is kept: it
//! is what has to be mended.

/// The message of `error` without the value, and without the place in the text, which says nothing that the field does
/// not.
pub fn without_value(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let message = match message.rsplit_once(" at line ") {
        Some((message, place)) if is_place(place) => message,
        _ => &message,
    };
    for start in ["invalid type: ", "invalid value: ", "unknown variant"] {
        let Some(rest) = message.strip_prefix(start) else {
            continue;
        };
        // A value may say anything, so what is expected is behind the last of these; it is written by us.
        let (found, expected) = match rest.rsplit_once(", expected ") {
            Some((found, expected)) => (found, format!(", expected {expected}")),
            None => (rest, String::new()),
        };
        // "string \"a\"", "integer `1`", "map".
        let kind = found.split(['"', '`']).next().unwrap_or_default();
        return format!("{start}{}{expected}", kind.trim_end());
    }
    message.to_owned()
}

/// `1 column 12`.
fn is_place(text: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.split_once(" column ")
        .is_some_and(|(line, column)| is_number(line) && is_number(column))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case", deny_unknown_fields)]
    #[allow(dead_code, reason = "only read")]
    struct Shape {
        number: Option<u32>,
        state: Option<State>,
        text: Option<String>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum State {
        On,
        Off,
    }

    #[test]
    fn a_value_in_the_wrong_field_is_never_quoted() {
        let table = [
            (
                r#"{"number": "s3cret, expected \"x\" at line 1"}"#,
                "invalid type: string, expected u32",
            ),
            (r#"{"number": -77}"#, "invalid value: integer, expected u32"),
            (
                r#"{"state": "s3cret`"}"#,
                "unknown variant, expected `on` or `off`",
            ),
            (
                r#"{"text": {"s3cret": 1}}"#,
                "invalid type: map, expected a string",
            ),
            (
                r#"{"colour": 1}"#,
                "unknown field `colour`, expected one of `number`, `state`, `text`",
            ),
        ];
        for (text, message) in table {
            let error = serde_json::from_str::<Shape>(text).unwrap_err();
            assert_eq!(without_value(&error), message, "{text}");
            let value = serde_json::from_str::<serde_json::Value>(text).unwrap();
            let error = serde_json::from_value::<Shape>(value).unwrap_err();
            assert_eq!(without_value(&error), message, "{text}");
        }
    }
}
