//! Reading a body: never more than its limit, never longer than its time, never beyond the budget.

use std::io::Read as _;
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use bytes::{Buf, Bytes};
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt as _;
use pushrail_http::Problem;

use crate::budget::{Budget, Reservation};

/// A body that was read, and its share of the budget.
pub(super) struct Taken {
    pub(super) bytes: Bytes,
    pub(super) reservation: Reservation,
}

/// What a body may be.
pub(super) struct Bounds<'a> {
    pub(super) len_max: usize,
    pub(super) timeout: Duration,
    pub(super) budget: &'a Budget,
}

/// Decompressed before others get their turn.
const INFLATE_STEP: usize = 64 * 1024;

/// Reserves what the head announces, before anything is read. `Err` is 413 or 429.
pub(super) fn reserve(headers: &HeaderMap, bounds: &Bounds<'_>) -> Result<Reservation, Problem> {
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok())
        .unwrap_or(0);
    if announced > bounds.len_max as u64 {
        return Err(too_large(bounds.len_max, Some(announced)));
    }
    bounds
        .budget
        .take(announced as usize, 0)
        .ok_or_else(too_busy)
}

/// Reads the body that `reservation` was made for.
pub(super) async fn read(
    body: &mut Body,
    reservation: Reservation,
    gzip: bool,
    bounds: &Bounds<'_>,
) -> Result<Taken, Problem> {
    let reading = tokio::time::timeout(bounds.timeout, collect(body, reservation, bounds));
    let taken = reading.await.unwrap_or_else(|_| Err(timed_out(bounds)))?;
    match gzip {
        true => inflate(taken, bounds).await,
        false => Ok(taken),
    }
}

async fn collect(
    body: &mut Body,
    mut reservation: Reservation,
    bounds: &Bounds<'_>,
) -> Result<Taken, Problem> {
    let mut whole: Option<Vec<u8>> = None;
    let mut first = Bytes::new();
    let announced = body.size_hint().exact().map(|len| len as usize);
    let mut len = 0usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| broken())?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        len += data.len();
        if len > bounds.len_max {
            return Err(too_large(bounds.len_max, None));
        }
        if announced.is_none() && !reservation.grow(data.len(), 0) {
            return Err(too_busy());
        }
        match &mut whole {
            // Most bodies come in one piece, which is kept as it is.
            None if first.is_empty() => first = data,
            None => {
                let mut all = Vec::with_capacity(announced.unwrap_or(2 * len).max(len));
                all.extend_from_slice(&first);
                all.extend_from_slice(&data);
                whole = Some(all);
            }
            Some(all) => all.extend_from_slice(&data),
        }
    }
    Ok(Taken {
        bytes: whole.map_or(first, Bytes::from),
        reservation,
    })
}

async fn inflate(taken: Taken, bounds: &Bounds<'_>) -> Result<Taken, Problem> {
    let mut reservation = taken.reservation;
    // All members of the file, as `cat a.gz b.gz` makes them.
    let mut decoder = flate2::bufread::MultiGzDecoder::new(taken.bytes.reader());
    let mut all = Vec::new();
    loop {
        let before = all.len();
        let step = decoder.by_ref().take(INFLATE_STEP as u64);
        let read = { step }.read_to_end(&mut all).map_err(|_| not_gzip())?;
        if all.len() > bounds.len_max {
            return Err(too_large(bounds.len_max, None));
        }
        if !reservation.grow(all.len() - before, 0) {
            return Err(too_busy());
        }
        if read == 0 {
            break;
        }
        tokio::task::yield_now().await;
    }
    Ok(Taken {
        bytes: all.into(),
        reservation,
    })
}

fn too_large(len_max: usize, announced: Option<u64>) -> Problem {
    let message = match announced {
        Some(len) => format!("has {len} bytes: at most {len_max} are allowed"),
        None => format!("has more than the {len_max} bytes that are allowed"),
    };
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "too-large",
        "The request is too large",
    )
    .field("body", message)
}

/// Nothing was accepted, and the same request may pass a moment later.
pub(super) fn too_busy() -> Problem {
    Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "too-busy",
        "Too much is under way",
    )
    .detail("nothing of this request was accepted; send it again after the time in Retry-After")
    .retry_after(1)
}

fn timed_out(bounds: &Bounds<'_>) -> Problem {
    let seconds = bounds.timeout.as_secs_f64();
    Problem::new(
        StatusCode::REQUEST_TIMEOUT,
        "body-timeout",
        "The body took too long",
    )
    .field(
        "body",
        format!("did not arrive within {seconds} s, the most that is allowed"),
    )
}

fn broken() -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "broken-body", "The body broke off").field(
        "body",
        "ended before it was complete, or its chunks are malformed",
    )
}

fn not_gzip() -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "malformed-gzip",
        "The body is not valid gzip",
    )
    .field(
        "body",
        "is announced as `Content-Encoding: gzip` and cannot be decompressed",
    )
}
