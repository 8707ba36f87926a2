//! What a path asks for.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use pushrail_settings::parse_duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behaviour {
    Answer(StatusCode),
    /// Fails this often for each message, then succeeds.
    Flaky(u32),
    Slow(Duration),
    Hang,
}

impl Behaviour {
    /// A path that starts like one of ours and goes on wrongly is an error, so that a typing mistake is not a success.
    pub(super) fn of(path: &str) -> Result<Behaviour, String> {
        let (first, rest) = path
            .trim_start_matches('/')
            .split_once('/')
            .unwrap_or((path.trim_start_matches('/'), ""));
        match first {
            "fail" => {
                let status = rest.parse().ok().filter(|code| (200..600).contains(code));
                let status = status.and_then(|code: u16| StatusCode::from_u16(code).ok());
                Ok(Behaviour::Answer(status.ok_or(
                    "use /fail/STATUS with a status from 200 to 599, such as /fail/503",
                )?))
            }
            "flaky" => {
                let failures = rest
                    .parse()
                    .map_err(|_| "use /flaky/COUNT, such as /flaky/2")?;
                Ok(Behaviour::Flaky(failures))
            }
            "slow" => {
                let time = parse_duration(rest)
                    .map_err(|_| "use /slow/TIME, such as /slow/500ms or /slow/2s")?;
                Ok(Behaviour::Slow(time))
            }
            "hang" => Ok(Behaviour::Hang),
            _ => Ok(Behaviour::Answer(StatusCode::OK)),
        }
    }
}

/// Messages whose failures are counted; the oldest is forgotten.
const MESSAGES_MAX: usize = 10_000;

/// How often each message has failed.
#[derive(Debug, Default)]
pub(super) struct Flaky {
    counts: Mutex<(HashMap<String, u32>, VecDeque<String>)>,
}

impl Flaky {
    /// The answer to one more attempt at `message`.
    pub(super) fn next(&self, message: &str, failures: u32) -> StatusCode {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let (counts, order) = &mut *counts;
        if !counts.contains_key(message) {
            if order.len() == MESSAGES_MAX
                && let Some(oldest) = order.pop_front()
            {
                counts.remove(&oldest);
            }
            order.push_back(message.to_owned());
        }
        let count = counts.entry(message.to_owned()).or_default();
        *count += 1;
        if *count <= failures {
            StatusCode::SERVICE_UNAVAILABLE
        } else {
            StatusCode::OK
        }
    }
}
