//! From an accepted event to its deliveries and to the records of those that were skipped: nothing is ever silent.
//!
//! Pure: it reads the index and the event, and says what is to be written. Whoever implements [`Out`] writes.

use pushrail_payload_keys::{self as payload_keys, PayloadKeys};
use pushrail_privacy::Shown;
use pushrail_schemas::Event;
use pushrail_schemas::attempt::{Attempt, Outcome};
use pushrail_schemas::headers::{Delivery, Origin};
use pushrail_schemas::identity;
use pushrail_shred::{Lookup, PayloadKey};
use rand::{RngCore as _, SeedableRng as _, rngs::SmallRng};
use uuid::Uuid;

use crate::accepted::Accepted;
use crate::document::Document;
use crate::index::Index;
use crate::json::Invalid;
use crate::route::{Kind, Refusal, Route, Verdict};

/// Largest event that a transform may write. A topic takes 2 MiB, headers included; what is larger would be refused by
/// Kafka however often it is tried.
const VALUE_LEN_MAX: usize = 2 * 1024 * 1024 - 64 * 1024;

/// Where deliveries and records of skips go.
pub(crate) trait Out {
    fn deliver(&mut self, kind: &Kind, delivery: &Delivery, value: &[u8]);
    /// `key` decides the partition: the destination, or the event where there is none.
    fn record(&mut self, key: Uuid, attempt: &Attempt<'_>);
}

/// What became of one event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) deliveries: u64,
    pub(crate) no_match: u64,
    pub(crate) filtered: u64,
    pub(crate) disabled: u64,
    pub(crate) erased: u64,
}

/// What a worker reuses from event to event.
pub(crate) struct Fanout {
    found: Vec<u32>,
    value: Vec<u8>,
    random: SmallRng,
    /// What sealed events are opened with, where a filter or a transform has to see into them.
    keys: Option<PayloadKeys>,
}

/// A sealed event, as far as routing it needs.
enum Unsealed {
    /// It is in clear, or nobody needs to see into it.
    AsItIs,
    Opened(Event, PayloadKey),
    /// Nobody can see into it.
    Closed(Skip),
}

/// Why a destination is skipped.
#[derive(Clone, Copy)]
struct Skip {
    class: &'static str,
    code: Option<&'static str>,
    error: Option<&'static str>,
}

/// An event being routed, and what its records share.
struct Routing<'a> {
    accepted: &'a Accepted<'a>,
    traceparent: Option<&'a str>,
    now_us: i64,
}

impl Fanout {
    /// Without keys nothing that is sealed is looked into.
    pub(crate) fn with_keys(keys: Option<PayloadKeys>) -> Self {
        Fanout {
            keys,
            found: Vec::new(),
            value: Vec::new(),
            random: SmallRng::from_os_rng(),
        }
    }

    /// Routes an event. `traceparent` is what its deliveries carry on; `now_us` is wall time.
    pub(crate) fn route(
        &mut self,
        index: &Index,
        accepted: &Accepted<'_>,
        traceparent: Option<&str>,
        now_us: i64,
        out: &mut impl Out,
    ) -> Tally {
        let routing = Routing {
            accepted,
            traceparent,
            now_us,
        };
        let event = &accepted.event;
        let mut tally = Tally::default();
        let mut found = std::mem::take(&mut self.found);
        index.find(
            accepted.tenant_id,
            accepted.customer_id,
            event.event_type(),
            &mut found,
        );
        if found.is_empty() {
            tally.no_match = 1;
            let skip = Skip {
                class: "no_match",
                code: None,
                error: None,
            };
            self.skip(&routing, None, &skip, out);
        } else {
            let unsealed = self.unseal(index, &found, accepted);
            let clear = match &unsealed {
                Unsealed::Opened(clear, _) => clear,
                Unsealed::AsItIs | Unsealed::Closed(_) => event,
            };
            let document = Document::new(clear.payload(), clear.metadata());
            let mut delivery = routing.delivery();
            for route in found.iter().filter_map(|slot| index.route(*slot)) {
                match self.judge(route, &routing, &unsealed, &document) {
                    Ok(transformed) => {
                        tally.deliveries += 1;
                        delivery.destination_id = route.destination_id;
                        delivery.delivery_id =
                            identity::delivery_id(event.event_id(), route.destination_id);
                        let value = if transformed {
                            &self.value
                        } else {
                            &event.value()[..]
                        };
                        out.deliver(&route.kind, &delivery, value);
                    }
                    Err(skip) => {
                        match skip.class {
                            "disabled" => tally.disabled += 1,
                            "erased" => tally.erased += 1,
                            _ => tally.filtered += 1,
                        }
                        self.skip(&routing, Some((route, &unsealed)), &skip, out);
                    }
                }
            }
        }
        self.found = found;
        tally
    }

    /// Opens an event that is sealed, once, where one of its routes has to see into it.
    fn unseal(&self, index: &Index, found: &[u32], accepted: &Accepted<'_>) -> Unsealed {
        let event = &accepted.event;
        let Some(sealing) = event.sealing() else {
            return Unsealed::AsItIs;
        };
        let mut routes = found.iter().filter_map(|slot| index.route(*slot));
        if !routes.any(|route| matches!(route.verdict, Verdict::Examine(_))) {
            return Unsealed::AsItIs;
        }
        let owner = payload_keys::owner(event, accepted.customer_id);
        let looked = self.keys.as_ref().map_or(Lookup::Unknown, |keys| {
            keys.key(accepted.tenant_id, &owner, sealing)
        });
        let key = match looked {
            Lookup::Key(key) => key,
            Lookup::Erased => return Unsealed::Closed(Skip::erased(None)),
            Lookup::Unknown => return Unsealed::Closed(Skip::erased(Some("key_unknown"))),
        };
        match payload_keys::opened(event, &key) {
            Some(clear) => Unsealed::Opened(clear, key),
            None => Unsealed::Closed(Skip::erased(Some("key_unknown"))),
        }
    }

    /// Records a repeat of an event that was routed before.
    pub(crate) fn duplicate(
        &mut self,
        accepted: &Accepted<'_>,
        traceparent: Option<&str>,
        now_us: i64,
        out: &mut impl Out,
    ) {
        let routing = Routing {
            accepted,
            traceparent,
            now_us,
        };
        let skip = Skip {
            class: "duplicate",
            code: None,
            error: None,
        };
        self.skip(&routing, None, &skip, out);
    }

    /// Whether a route takes the event, and whether `self.value` is what it takes.
    fn judge(
        &mut self,
        route: &Route,
        routing: &Routing<'_>,
        unsealed: &Unsealed,
        document: &Document<'_>,
    ) -> Result<bool, Skip> {
        let (filter, transform) = match &route.verdict {
            Verdict::Deliver => return Ok(false),
            Verdict::Refuse(refusal) => return Err(Skip::refused(*refusal)),
            Verdict::Examine(parts) => (&parts.0, &parts.1),
        };
        if let Unsealed::Closed(skip) = unsealed {
            return Err(*skip);
        }
        if let Some(filter) = filter
            && !filter.passes(document).map_err(Skip::invalid)?
        {
            return Err(Skip {
                class: "filtered",
                code: None,
                error: None,
            });
        }
        let Some(transform) = transform else {
            return Ok(false);
        };
        let event = &routing.accepted.event;
        let clear = match unsealed {
            Unsealed::Opened(clear, _) => clear,
            Unsealed::AsItIs | Unsealed::Closed(_) => event,
        };
        self.value.clear();
        let transformed = transform
            .apply(clear, event.schema_id(), document, &mut self.value)
            .map_err(Skip::invalid)?;
        if let Unsealed::Opened(_, key) = unsealed
            && transformed
        {
            let made = Event::parse(std::mem::take(&mut self.value).into()).ok();
            let sealed = made.and_then(|made| payload_keys::resealed(event, &made, key));
            self.value = sealed.ok_or(Skip::erased(Some("not_sealed")))?;
        }
        if self.value.len() > VALUE_LEN_MAX {
            return Err(Skip {
                class: "filtered",
                code: Some("too_large"),
                error: Some("the transformed event is larger than Kafka takes"),
            });
        }
        Ok(transformed)
    }

    fn skip(
        &mut self,
        routing: &Routing<'_>,
        route: Option<(&Route, &Unsealed)>,
        skip: &Skip,
        out: &mut impl Out,
    ) {
        let event = &routing.accepted.event;
        let shown = route.map_or(Shown::OMITTED, |(route, unsealed)| {
            match (event.sealing(), unsealed) {
                (None, _) => route.privacy.payload(event.payload()),
                (Some(_), Unsealed::Opened(_, key)) => {
                    route.privacy.sealed(event.payload(), Some(key))
                }
                (Some(_), _) => route.privacy.sealed(event.payload(), None),
            }
        });
        let route = route.map(|(route, _)| route);
        let destination_id = route.map(|route| route.destination_id);
        let mut random = [0; 10];
        self.random.fill_bytes(&mut random);
        let millis = routing.now_us.div_euclid(1_000).max(0) as u64;
        let attempt = Attempt {
            attempt_id: uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid(),
            tenant_id: routing.accepted.tenant_id,
            customer_id: routing.accepted.customer_id,
            event_id: event.event_id(),
            event_type: event.event_type(),
            delivery_id: destination_id.map(|id| identity::delivery_id(event.event_id(), id)),
            destination_id,
            kind: route.map(|route| &*route.kind.name),
            attempt: 0,
            outcome: match skip.class {
                "duplicate" => Outcome::Duplicate,
                _ => Outcome::Skipped,
            },
            class: skip.class,
            code: skip.code,
            status_code: None,
            started_at_us: routing.now_us,
            latency_us: 0,
            error: skip.error,
            response_headers: None,
            response_excerpt: None,
            payload: shown.payload.as_deref(),
            payload_form: shown.form,
            next_attempt_at_us: None,
            first_attempt_at_us: None,
            origin: Origin::Live.as_str(),
            replay_id: None,
            traceparent: routing.traceparent,
            received_at_us: Some(event.received_at_us()),
            subject_id: event.subject_id(),
            sealing: event.sealing(),
        };
        out.record(destination_id.unwrap_or(event.event_id()), &attempt);
    }
}

impl Skip {
    /// Its key is gone: whether it passes a filter, or what a transform would make of it, nobody can say.
    fn erased(code: Option<&'static str>) -> Self {
        Skip {
            class: "erased",
            code,
            error: Some(
                "the event can't be opened, and this destination has a filter or a transform",
            ),
        }
    }

    fn invalid(_: Invalid) -> Self {
        Skip {
            class: "filtered",
            code: Some("invalid_json"),
            error: Some(
                "the payload or the metadata cannot be read as JSON, and this destination has a filter or a transform",
            ),
        }
    }

    fn refused(refusal: Refusal) -> Self {
        let (code, error) = match refusal {
            Refusal::Disabled => (None, None),
            Refusal::UnknownKind => (
                Some("unknown_kind"),
                Some("no sink serves destinations of this kind"),
            ),
            Refusal::Unusable => (
                Some("invalid_config"),
                Some("the destination's filter or transform cannot be applied as it was written"),
            ),
        };
        Skip {
            class: "disabled",
            code,
            error,
        }
    }
}

impl Routing<'_> {
    /// What all deliveries of the event share.
    fn delivery(&self) -> Delivery {
        Delivery {
            delivery_id: Uuid::nil(),
            event_id: self.accepted.event.event_id(),
            tenant_id: self.accepted.tenant_id.into(),
            customer_id: self.accepted.customer_id,
            destination_id: Uuid::nil(),
            attempt: 0,
            deferrals: 0,
            first_attempt_at_ms: None,
            not_before_ms: None,
            origin: Origin::Live,
            replay_id: None,
            traceparent: self.traceparent.map(Box::from),
        }
    }
}

#[cfg(test)]
#[path = "fanout_tests.rs"]
mod tests;
