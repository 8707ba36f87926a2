//! Deliveries as they happen, as server-sent events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http::{Method, StatusCode};
use pushrail_http::Problem;
use pushrail_schemas::attempt::{self, Attempt, Outcome};
use pushrail_store::log::search::Wanted;
use pushrail_store::log::{Micros, search, write};
use pushrail_store::{Scope, Store, erasures};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, Interval};
use uuid::Uuid;

use super::view::{AttemptView, Names, names};
use super::{CUSTOMER, DESTINATION, EVENT_TYPE, READERS, STATE, TAG, wanted};
use crate::api::Api;
use crate::call::Call;
use crate::caller::Caller;
use crate::hub::Value;
use crate::operation::{Operation, handler};
use crate::reply::Reply;

/// How often it is asked whether the caller may still watch; and a quiet connection is kept open.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long one connection lasts; clients come back by themselves.
const LASTS: Duration = Duration::from_secs(3_600);

pub(crate) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            Method::GET,
            "/v1/deliveries/tail",
            "tailDeliveries",
            TAG,
            "Watch attempts as they are made",
            handler!(tail),
        )
        .detail("Server-sent events: `attempt`, with what a search shows of it as JSON, and `missed` with a number where the reader was too slow. Ends when the credential is revoked.")
        .who(READERS)
        .query(&[CUSTOMER, DESTINATION, EVENT_TYPE, STATE])
        .media(&["text/event-stream"])
        .problems(&[406]),
    ]
}

async fn tail(api: &Api, call: &mut Call) -> Result<Reply, Problem> {
    if !call.wants_events {
        // Whoever tries out what there is would wait for an end that does not come.
        return Err(Problem::new(
            StatusCode::NOT_ACCEPTABLE,
            "not-acceptable",
            "This is a stream of server-sent events",
        )
        .detail(
            "it does not end by itself: ask for it with the header `Accept: text/event-stream`",
        ));
    }
    let watch = Watch {
        wanted: wanted(call, false)?,
        caller: call.caller.clone(),
        store: api.store.clone(),
        values: api.hub.watch(),
        names: Names::new(),
        erases: true,
        look: tokio::time::interval(LOOK_EVERY),
        ends: Instant::now() + LASTS,
        ready: VecDeque::from([Bytes::from_static(b": watching\n\n")]),
    };
    let events = stream::unfold(watch, |mut watch| async {
        let event = watch.next().await?;
        Some((Ok::<_, Infallible>(event), watch))
    });
    Ok(Reply::stream("text/event-stream", events))
}

struct Watch {
    wanted: Wanted,
    caller: Caller,
    store: Store,
    values: Receiver<Value>,
    names: Names,
    /// Its tenant has erased something.
    erases: bool,
    look: Interval,
    ends: Instant,
    ready: VecDeque<Bytes>,
}

impl Watch {
    /// The next piece of the stream; `None` when the caller may watch no longer.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(bytes) = self.ready.pop_front() {
            return Some(bytes);
        }
        loop {
            tokio::select! {
                value = self.values.recv() => match value {
                    Ok(value) => {
                        if let Some(event) = self.event(&value).await {
                            return Some(event);
                        }
                    }
                    Err(RecvError::Lagged(missed)) => {
                        return Some(format!("event: missed\ndata: {missed}\n\n").into());
                    }
                    Err(RecvError::Closed) => return None,
                },
                _ = self.look.tick() => {
                    if Instant::now() >= self.ends || !self.caller.is_still_welcome(&self.store).await {
                        return None;
                    }
                    self.look_for_erasures().await;
                    return Some(Bytes::from_static(b": \n\n"));
                }
            }
        }
    }

    async fn event(&mut self, value: &[u8]) -> Option<Bytes> {
        if attempt::tenant_id(value).ok()? != self.wanted.tenant_id {
            return None;
        }
        let attempt = Attempt::parse(value).ok()?;
        if !shown(&self.wanted, &attempt) {
            return None;
        }
        self.learn(attempt.customer_id).await;
        let mut row = row(&attempt);
        if self.erases && self.is_erased(&attempt).await {
            (row.erased, row.error) = (true, None);
        }
        let view = AttemptView::of(row, &self.names);
        let json = serde_json::to_string(&view).ok()?;
        Some(format!("event: attempt\ndata: {json}\n\n").into())
    }

    /// Whether an erasure is about it. Where that can't be found out now, it is not shown what went wrong either.
    async fn is_erased(&self, attempt: &Attempt<'_>) -> bool {
        let of = erasures::Of {
            tenant_id: attempt.tenant_id,
            customer_id: attempt.customer_id,
            event_id: attempt.event_id,
            subject_id: attempt.subject_id,
            received_at: write::accepted_at(attempt),
        };
        let covered = async {
            // Erasures by event are not a customer's to see, and count all the same.
            let mut tx = self.store.begin(Scope::System).await?;
            erasures::covered(&mut tx, &[of]).await
        };
        covered.await.map_or(true, |covered| covered[0])
    }

    /// Whether its tenant has erased anything: most never do, and nothing is asked for each attempt then.
    async fn look_for_erasures(&mut self) {
        let any = async {
            let mut tx = self.store.begin(Scope::System).await?;
            erasures::any(&mut tx, &self.wanted.tenant_id).await
        };
        self.erases = any.await.unwrap_or(true);
    }

    /// What the vendor calls the customer; nothing where that can't be found out now.
    async fn learn(&mut self, customer_id: Uuid) {
        if self.names.contains_key(&customer_id) {
            return;
        }
        let Ok(mut tx) = self.store.begin(self.caller.scope()).await else {
            return;
        };
        if let Ok(found) = names(&mut tx, [customer_id].into_iter()).await {
            self.names.extend(found);
        }
    }
}

fn shown(wanted: &Wanted, attempt: &Attempt<'_>) -> bool {
    let Wanted {
        customer_id,
        destination_id,
        outcome,
        event_type,
        ..
    } = wanted;
    let of_type = |pattern: &String| match pattern.strip_suffix('*') {
        Some(start) => attempt.event_type.starts_with(start),
        None => attempt.event_type == pattern,
    };
    customer_id.is_none_or(|id| id == attempt.customer_id)
        && (destination_id.is_none() || *destination_id == attempt.destination_id)
        && outcome.is_none_or(|outcome: Outcome| outcome == attempt.outcome)
        && event_type.as_ref().is_none_or(of_type)
}

/// As the index would have it.
fn row(attempt: &Attempt<'_>) -> search::Attempt {
    search::Attempt {
        received_at: write::accepted_at(attempt),
        started_at: Micros(attempt.started_at_us),
        next_attempt_at: attempt.next_attempt_at_us.map(Micros),
        customer_id: attempt.customer_id,
        event_id: attempt.event_id,
        delivery_id: write::delivery_id(attempt),
        destination_id: attempt.destination_id,
        attempt_id: attempt.attempt_id,
        replay_id: attempt.replay_id,
        latency_us: i32::try_from(attempt.latency_us).unwrap_or(i32::MAX),
        attempt: i16::try_from(attempt.attempt).unwrap_or(i16::MAX),
        status_code: attempt.status_code.and_then(|code| code.try_into().ok()),
        latest: true,
        tenant_id: attempt.tenant_id.to_owned(),
        event_type: attempt.event_type.to_owned(),
        kind: attempt.kind.map(str::to_owned),
        outcome: attempt.outcome.as_str().to_owned(),
        class: attempt.class.to_owned(),
        code: attempt.code.map(str::to_owned),
        origin: attempt.origin.to_owned(),
        error: attempt.error.map(str::to_owned),
        erased: false,
    }
}
