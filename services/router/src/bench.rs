//! The pure part of the router, driven for `examples/bench_route.rs` and the load test. Not for services.

use std::hint::black_box;

use pushrail_kafka::relay::Outbox;
use pushrail_schemas::config::Destination;
use pushrail_schemas::event::Parts;
use pushrail_schemas::{headers, identity};
use serde_json::json;
use tokio::time::Instant;
use uuid::Uuid;

use crate::accepted::Accepted;
use crate::dedup::{Sight, Window};
use crate::fanout::Fanout;
use crate::index::Index;
use crate::write::Writer;

/// What an event meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    NoMatch,
    OneMatch,
    OneMatchDeduplicated,
    OneMatchOfOneCustomer,
    OneMatchOfManyTenants,
    FilterPasses,
    Filtered,
    Transform,
    TenMatches,
}

impl Case {
    pub const ALL: [Case; 9] = [
        Case::NoMatch,
        Case::OneMatch,
        Case::OneMatchDeduplicated,
        Case::OneMatchOfOneCustomer,
        Case::OneMatchOfManyTenants,
        Case::FilterPasses,
        Case::Filtered,
        Case::Transform,
        Case::TenMatches,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Case::NoMatch => "no match, recorded",
            Case::OneMatch => "one match",
            Case::OneMatchDeduplicated => "one match, idempotency key",
            Case::OneMatchOfOneCustomer => "one match, all destinations one customer's",
            Case::OneMatchOfManyTenants => "one match, the others of many tenants",
            Case::FilterPasses => "one match with a filter of 3, passes",
            Case::Filtered => "one match with a filter of 3, recorded",
            Case::Transform => "one match with a transform of 3 steps",
            Case::TenMatches => "ten matches",
        }
    }
}

/// An index and an event for one case.
pub struct Bench {
    case: Case,
    index: Index,
    value: Vec<u8>,
    customer: String,
}

const TENANT: &str = "acme";
/// Destinations of each other tenant, where there are some.
const OF_A_TENANT: usize = 200;

impl Bench {
    pub fn new(case: Case, destinations: usize) -> Self {
        let mut index = Index::default();
        for number in 0..destinations {
            index.put(&destination(case, number));
        }
        let customer = identity::customer_id(TENANT, "c-0").to_string();
        Bench {
            case,
            index,
            value: event(),
            customer,
        }
    }

    pub fn destinations(&self) -> usize {
        self.index.len()
    }

    /// Nanoseconds of finding who wants an event, and nothing else.
    pub fn find(&self) -> f64 {
        const EVENTS: u32 = 1_000_000;
        let customer = identity::customer_id(TENANT, "c-0");
        let mut found = Vec::new();
        let started = Instant::now();
        for _ in 0..EVENTS {
            let wanted = black_box((TENANT, customer, "order.completed"));
            self.index.find(wanted.0, wanted.1, wanted.2, &mut found);
            black_box(&found);
        }
        started.elapsed().as_nanos() as f64 / f64::from(EVENTS)
    }

    /// Nanoseconds an event.
    pub fn run(&self) -> f64 {
        const EVENTS: i64 = 200_000;
        let (mut outbox, mut fanout, mut writer) =
            (Outbox::default(), Fanout::with_keys(None), Writer::new(7));
        let mut window = Window::new(24 * 3_600_000, 10_000_000);
        let now_us = 1_800_000_000_000_000;
        let started = Instant::now();
        for offset in 0..EVENTS {
            outbox.clear();
            let pairs = [
                (
                    headers::EVENT_ID,
                    b"0191d0a0-0000-7000-8000-000000000000".as_slice(),
                ),
                (headers::EVENT_TYPE, b"order.completed"),
                (headers::TENANT_ID, TENANT.as_bytes()),
                (headers::CUSTOMER_ID, self.customer.as_bytes()),
                (headers::ORIGIN, b"http"),
            ];
            let Ok(accepted) = Accepted::read(Some(&self.value), pairs.into_iter()) else {
                return f64::NAN;
            };
            let mut writing = writer.to(&mut outbox);
            if self.case == Case::OneMatchDeduplicated {
                let id = Uuid::from_u64_pair(offset as u64, 1);
                if let Sight::Original { accepted_ms } =
                    window.see(id, offset, now_us / 1_000, now_us / 1_000)
                {
                    writing.dedup_entry(0, id, offset, accepted_ms);
                }
            }
            black_box(fanout.route(&self.index, &accepted, None, now_us, &mut writing));
            black_box(outbox.len());
        }
        started.elapsed().as_nanos() as f64 / EVENTS as f64
    }
}

fn destination(case: Case, number: usize) -> Destination {
    let ours = match case {
        Case::NoMatch => 0,
        Case::TenMatches => 10,
        _ => 1,
    };
    let (customer, event_types) = match case {
        Case::OneMatchOfOneCustomer if number < ours => {
            ("c-0".to_owned(), json!(["order.completed"]))
        }
        Case::OneMatchOfOneCustomer => {
            ("c-0".to_owned(), json!([format!("type{number}.happened")]))
        }
        _ if number < ours => ("c-0".to_owned(), json!(["order.*", "user.created"])),
        _ => (
            format!("c-{}", 1 + number / 4),
            json!(["order.*", "user.created"]),
        ),
    };
    let tenant = match case {
        Case::OneMatchOfManyTenants if number >= ours => format!("tenant-{}", number / OF_A_TENANT),
        _ => TENANT.to_owned(),
    };
    let mut value = json!({
        "destinationId": Uuid::from_u64_pair(2, number as u64),
        "tenantId": tenant,
        "customerId": identity::customer_id(&tenant, &customer),
        "customerExternalId": customer,
        "kind": "webhook",
        "name": "bench",
        "version": 1,
        "config": {"url": "https://example.com/hook"},
        "eventTypes": event_types,
    });
    let amount = |least: i64| {
        json!({"all": [
            {"path": "payload.amount", "op": "gte", "value": least},
            {"path": "payload.customer.country", "op": "in", "value": ["DE", "PL"]},
            {"path": "metadata.region", "op": "prefix", "value": "eu"},
        ]})
    };
    match case {
        Case::FilterPasses => value["filter"] = amount(100),
        Case::Filtered => value["filter"] = amount(1_000_000),
        Case::Transform => {
            value["transform"] = json!([
                {"drop": ["payload.items"]},
                {"mask": {"path": "payload.customer.email", "keep_last": 4}},
                {"set": {"path": "payload.source", "value": "acme"}},
            ]);
        }
        _ => {}
    }
    serde_json::from_str(&value.to_string()).expect("a destination")
}

/// An event with a payload of about 1 KB.
fn event() -> Vec<u8> {
    let items: Vec<_> = (0..12)
        .map(|n| json!({"sku": format!("sku-{n:04}"), "quantity": n, "price": 9.95, "note": "gift wrap"}))
        .collect();
    let payload = json!({
        "orderId": "o-1234567",
        "amount": 4_200,
        "currency": "EUR",
        "customer": {"id": "c-0", "email": "someone@example.com", "country": "DE"},
        "items": items,
    });
    let mut value = Vec::new();
    Parts {
        event_id: Uuid::from_u128(0x0191_d0a0_0000_7000_8000_0000_0000_0000),
        event_type: "order.completed",
        occurred_at_us: 1_800_000_000_000_000,
        customer_external_id: "c-0",
        idempotency_key: None,
        source: None,
        payload: payload.to_string().as_bytes(),
        metadata: br#"{"region":"eu-west-1"}"#,
        received_at_us: 1_800_000_000_000_000,
        subject_id: None,
        sealing: None,
    }
    .encode(42, &mut value);
    value
}
