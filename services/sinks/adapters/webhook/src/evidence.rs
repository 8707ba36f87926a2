//! What is kept of a response, and what its headers ask of us.

use std::fmt::Write as _;
use std::time::Duration;

use httparse::Header;
use jiff::fmt::rfc2822;

use crate::pool;

/// Most bytes of response headers that are kept.
const HEADERS_LEN_MAX: usize = 2048;
/// Longest wait that a receiver can ask for. The retry policy may cut it further.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

/// Response headers as lines of `name: value`, without those that carry credentials.
pub(crate) fn headers(headers: &[Header<'_>]) -> Box<str> {
    let mut out = String::with_capacity(256);
    for Header { name, value } in headers {
        let before = out.len();
        if before > 0 {
            out.push('\n');
        }
        let start = out.len();
        out.extend(name.chars().map(|c| c.to_ascii_lowercase()));
        if out.len() + value.len() + 2 > HEADERS_LEN_MAX || is_credential(&out[start..]) {
            out.truncate(before);
            continue;
        }
        out.push_str(": ");
        match std::str::from_utf8(value) {
            Ok(text) => out.push_str(text),
            Err(_) => {
                let _ = write!(out, "{}", value.escape_ascii());
            }
        }
    }
    out.into_boxed_str()
}

/// `name` is in lower case.
fn is_credential(name: &str) -> bool {
    /// Those that nearly every response has, so that they cost one comparison.
    const USUAL: [&str; 6] = [
        "content-length",
        "content-type",
        "date",
        "server",
        "connection",
        "transfer-encoding",
    ];
    const PARTS: [&str; 7] = [
        "cookie",
        "auth",
        "token",
        "secret",
        "key",
        "credential",
        "session",
    ];
    !USUAL.contains(&name) && PARTS.iter().any(|part| name.contains(part))
}

/// The values of all headers of a name.
pub(crate) fn all<'a>(
    headers: &'a [Header<'a>],
    name: &'static str,
) -> impl Iterator<Item = &'a [u8]> {
    let named = headers
        .iter()
        .filter(move |h| h.name.eq_ignore_ascii_case(name));
    named.map(|header| header.value)
}

fn text<'a>(headers: &'a [Header<'a>], name: &'static str) -> Option<&'a str> {
    std::str::from_utf8(all(headers, name).next()?).ok()
}

/// How long the receiver asks us to wait: seconds, or a date (RFC 9110, 10.2.3). A date is compared with the
/// response's own `Date` where it has one, so that a wrong clock on either side does not matter.
pub(crate) fn retry_after(headers: &[Header<'_>], now_ms: i64) -> Option<Duration> {
    let text = text(headers, "retry-after")?.trim();
    let wait = if text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() {
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        let from_ms = self::text(headers, "date").and_then(date_ms);
        let wait_ms = date_ms(text)? - from_ms.unwrap_or(now_ms);
        Duration::from_millis(wait_ms.max(0).unsigned_abs())
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

fn date_ms(text: &str) -> Option<i64> {
    Some(rfc2822::parse(text).ok()?.timestamp().as_millisecond())
}

/// How long the connection may stay idle: a little less than the server announces, so that it is not used just when the
/// server closes it.
pub(crate) fn idle(headers: &[Header<'_>]) -> Duration {
    let Some(text) = text(headers, "keep-alive") else {
        return pool::IDLE;
    };
    let seconds = text.split(',').find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("timeout")
            .then(|| value.trim().parse::<u32>().ok())?
    });
    match seconds {
        None => pool::IDLE,
        Some(0 | 1) => Duration::ZERO,
        Some(seconds) => Duration::from_secs(u64::from(seconds) - 1).min(pool::IDLE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map<'a>(pairs: &[(&'a str, &'a str)]) -> Vec<Header<'a>> {
        let header = |(name, value): &(&'a str, &'a str)| Header {
            name,
            value: value.as_bytes(),
        };
        pairs.iter().map(header).collect()
    }

    #[test]
    fn a_credential_in_a_response_is_not_kept() {
        let kept = headers(&map(&[
            ("content-type", "text/plain"),
            ("Set-Cookie", "session=s3cret"),
            ("authorization", "s3cret"),
            ("X-Auth-Token", "s3cret"),
            ("x-api-key", "s3cret"),
            ("x-request-id", "r-1"),
        ]));
        assert_eq!(&*kept, "content-type: text/plain\nx-request-id: r-1");
    }

    #[test]
    fn a_flood_of_headers_is_bounded_and_odd_bytes_are_escaped() {
        let long = "x".repeat(HEADERS_LEN_MAX);
        let kept = headers(&map(&[("x-long", &long), ("x-short", "1")]));
        assert_eq!(&*kept, "x-short: 1");
        let odd = [Header {
            name: "X-Odd",
            value: b"caf\xe9",
        }];
        assert_eq!(&*headers(&odd), "x-odd: caf\\xe9");
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_date_and_bounded() {
        const NOW_MS: i64 = 784_111_777_000; // Sun, 06 Nov 1994 08:49:37 GMT
        fn wait(pairs: &[(&'static str, &str)]) -> Option<Duration> {
            retry_after(&map(pairs), NOW_MS)
        }
        let seconds = |n| Some(Duration::from_secs(n));
        assert_eq!(wait(&[]), None);
        assert_eq!(wait(&[("retry-after", "120")]), seconds(120));
        assert_eq!(wait(&[("retry-after", " 0 ")]), seconds(0));
        assert_eq!(
            wait(&[("retry-after", "99999999999999999999999")]),
            Some(RETRY_AFTER_MAX)
        );
        assert_eq!(wait(&[("retry-after", "-5")]), None);
        assert_eq!(wait(&[("retry-after", "soon")]), None);
        assert_eq!(wait(&[("retry-after", "")]), None);
        let date = "Sun, 06 Nov 1994 08:50:37 GMT";
        assert_eq!(wait(&[("retry-after", date)]), seconds(60));
        let skewed = [
            ("retry-after", date),
            ("date", "Sun, 06 Nov 1994 08:50:07 GMT"),
        ];
        assert_eq!(wait(&skewed), seconds(30));
        assert_eq!(
            wait(&[("retry-after", "Sun, 06 Nov 1994 08:00:00 GMT")]),
            seconds(0)
        );
        assert_eq!(
            wait(&[("retry-after", "Fri, 31 Dec 1999 23:59:59 GMT")]),
            Some(RETRY_AFTER_MAX)
        );
    }

    #[test]
    fn an_announced_keep_alive_is_undercut() {
        assert_eq!(idle(&map(&[])), pool::IDLE);
        assert_eq!(
            idle(&map(&[("keep-alive", "timeout=5, max=100")])),
            Duration::from_secs(4)
        );
        assert_eq!(
            idle(&map(&[("keep-alive", "max=1, Timeout = 3")])),
            Duration::from_secs(2)
        );
        assert_eq!(idle(&map(&[("keep-alive", "timeout=600")])), pool::IDLE);
        assert_eq!(idle(&map(&[("keep-alive", "timeout=0")])), Duration::ZERO);
        assert_eq!(idle(&map(&[("keep-alive", "timeout=x")])), pool::IDLE);
    }
}
