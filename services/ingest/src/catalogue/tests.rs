use std::sync::Mutex;

use pushrail_obs::Metrics as Registry;
use serde_json::json;

use super::*;

/// One type, which may be asked for only by tenants that validate.
#[derive(Default)]
struct OneType(Mutex<Option<Arc<EventType>>>);

impl OneType {
    fn set(&self, schema: &str) {
        let schema = Some(schema.into());
        *self.0.lock().unwrap() = Some(Arc::new(EventType { schema }));
    }
}

impl Types for OneType {
    fn event_type(&self, tenant: &str, name: &str) -> Option<Arc<EventType>> {
        assert_ne!(tenant, "off");
        (name == "order.completed").then(|| self.0.lock().unwrap().clone())?
    }
}

struct Bed {
    types: Arc<OneType>,
    catalogue: Catalogue,
    registry: Registry,
}

fn bed() -> Bed {
    let (types, registry) = (Arc::<OneType>::default(), Registry::new());
    let catalogue = Catalogue::new(types.clone(), Metrics::new(&registry));
    Bed {
        types,
        catalogue,
        registry,
    }
}

impl Bed {
    fn judge(
        &self,
        validation: EventValidation,
        name: &str,
        payload: &str,
    ) -> Result<(), Rejection> {
        let tenant = Tenant {
            tenant_id: validation.as_str().into(),
            name: "Acme".into(),
            audit_feed: false,
            event_validation: validation,
            encryption: Default::default(),
        };
        let draft = Draft {
            event_type: name.into(),
            customer_external_id: "c-1".into(),
            occurred_at_us: None,
            idempotency_key: None,
            source: None,
            payload: payload.as_bytes(),
            metadata: b"{}",
            subject: None,
        };
        self.catalogue.judge(&tenant, draft).map(|draft| {
            assert_eq!(draft.payload, payload.as_bytes());
        })
    }

    fn kept(&self) -> usize {
        self.catalogue.compiled.read().unwrap().schemas.len()
    }
}

const NAME: &str = "order.completed";

#[test]
fn what_a_tenant_did_not_ask_for_is_not_done() {
    let bed = bed();
    bed.types.set(r#"{"required": ["total"]}"#);
    // Not even read: this is no JSON.
    assert_eq!(bed.judge(EventValidation::Off, NAME, "{"), Ok(()));
    assert_eq!(bed.judge(EventValidation::Schema, "other", "{"), Ok(()));
    let refused = bed
        .judge(EventValidation::Catalogue, "other", "{}")
        .unwrap_err();
    assert_eq!(refused.cause, Cause::Uncatalogued);
    assert_eq!(refused.errors[0].field, "eventType");
    for validation in [EventValidation::Schema, EventValidation::Catalogue] {
        let refused = bed.judge(validation, NAME, "{}").unwrap_err();
        assert_eq!(refused.cause, Cause::Schema);
        assert_eq!(refused.errors[0].field, "payload/total");
        assert_eq!(bed.judge(validation, NAME, r#"{"total": 1}"#), Ok(()));
    }
}

#[test]
fn a_schema_is_compiled_once_and_forgotten_when_it_is_replaced() {
    let bed = bed();
    for number in 0..100 {
        bed.types
            .set(&json!({"required": [number.to_string()]}).to_string());
        for _ in 0..3 {
            let refused = bed.judge(EventValidation::Schema, NAME, "{}").unwrap_err();
            assert_eq!(refused.errors[0].field, format!("payload/{number}"));
        }
        assert_eq!(bed.kept(), 1, "a schema that was replaced stays in memory");
    }
}

#[test]
fn schemas_of_any_number_of_types_take_bounded_memory() {
    let bed = bed();
    let types: Vec<_> = (0..600)
        .map(|_| {
            let schema = json!({"description": "x".repeat(60_000)}).to_string();
            let known = Arc::new(EventType {
                schema: Some(schema.into()),
            });
            *bed.types.0.lock().unwrap() = Some(known.clone());
            bed.judge(EventValidation::Schema, NAME, "{}").unwrap();
            known
        })
        .collect();
    assert!(bed.catalogue.compiled.read().unwrap().len <= KEPT_LEN_MAX);
    assert!(bed.kept() < types.len());
}

#[test]
fn a_schema_that_is_garbage_lets_events_pass_and_is_counted_once() {
    let bed = bed();
    for (times, garbage) in [
        r#""text""#,
        r#"{"type": 7}"#,
        r#"{"$ref": "https://example.com/a.json"}"#,
    ]
    .into_iter()
    .enumerate()
    {
        bed.types.set(garbage);
        for _ in 0..3 {
            assert_eq!(bed.judge(EventValidation::Catalogue, NAME, "{}"), Ok(()));
        }
        let counted = format!("pushrail_ingest_schemas_unusable_total {}", times + 1);
        assert!(bed.registry.encode().contains(&counted), "{garbage}");
    }
}
