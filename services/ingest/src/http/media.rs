//! What a request says about its body, and whether that is welcome.

use http::{HeaderMap, StatusCode, header};
use pushrail_http::Problem;

/// How a body is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    Json,
    /// One JSON value a line.
    Lines,
}

/// Bytes of all header names and values together. Beyond 64 KiB the connection itself refuses, without a body.
const HEADERS_LEN_MAX: usize = 16 * 1024;

/// Refuses heads that are larger than any client of ours needs.
pub(super) fn check_size(headers: &HeaderMap) -> Result<(), Problem> {
    let len: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if len <= HEADERS_LEN_MAX {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        "headers-too-large",
        "The headers are too large",
    )
    .field(
        "headers",
        format!("have {len} bytes: at most {HEADERS_LEN_MAX} are allowed"),
    ))
}

/// Reads `Content-Type`. Without one, a body is taken for JSON.
pub(super) fn of(headers: &HeaderMap, lines_allowed: bool) -> Result<Media, Problem> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Ok(Media::Json);
    };
    let text = value.to_str().unwrap_or_default();
    let essence = text.split(';').next().unwrap_or_default().trim();
    let is = |name: &str| essence.eq_ignore_ascii_case(name);
    let media = if is("application/json") || ends_with(essence, "+json") {
        Media::Json
    } else if is("application/x-ndjson") || is("application/ndjson") || is("application/jsonl") {
        Media::Lines
    } else {
        let shown = crate::json::shown(essence);
        return Err(unsupported(
            "Content-Type",
            match lines_allowed {
                true => format!(
                    "is `{shown}`: send `application/json`, or `application/x-ndjson` with one event a line"
                ),
                false => format!("is `{shown}`: send `application/json`"),
            },
        ));
    };
    if media == Media::Lines && !lines_allowed {
        return Err(unsupported(
            "Content-Type",
            "is NDJSON: send several events to /v1/events/batch, or one as `application/json`"
                .into(),
        ));
    }
    if !charset_is_utf8(text) {
        return Err(unsupported(
            "Content-Type",
            "names a charset other than UTF-8: JSON is UTF-8".into(),
        ));
    }
    Ok(media)
}

/// Whether the body is compressed with gzip, the only coding taken.
pub(super) fn is_gzip(headers: &HeaderMap) -> Result<bool, Problem> {
    let mut values = headers.get_all(header::CONTENT_ENCODING).iter();
    let Some(value) = values.next() else {
        return Ok(false);
    };
    let text = value.to_str().unwrap_or_default().trim();
    let is = |name: &str| text.eq_ignore_ascii_case(name);
    if values.next().is_none() {
        if is("gzip") || is("x-gzip") {
            return Ok(true);
        }
        if is("identity") || text.is_empty() {
            return Ok(false);
        }
    }
    let shown = crate::json::shown(text);
    Err(unsupported(
        "Content-Encoding",
        format!("is `{shown}`: send `gzip`, once, or nothing"),
    ))
}

fn ends_with(essence: &str, suffix: &str) -> bool {
    let bytes = essence.as_bytes();
    bytes.len() > suffix.len()
        && bytes[bytes.len() - suffix.len()..].eq_ignore_ascii_case(suffix.as_bytes())
        && essence.contains('/')
}

fn charset_is_utf8(text: &str) -> bool {
    text.split(';').skip(1).all(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let value = value.trim().trim_matches('"');
        !name.trim().eq_ignore_ascii_case("charset")
            || value.eq_ignore_ascii_case("utf-8")
            || value.eq_ignore_ascii_case("utf8")
            || value.eq_ignore_ascii_case("us-ascii")
    })
}

fn unsupported(field: &'static str, message: String) -> Problem {
    Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported-media-type",
        "The body's form is not taken here",
    )
    .field(field, message)
}
