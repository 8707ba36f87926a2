use proptest::prelude::*;
use pushrail_schemas::config::{BatchPolicy, RateLimit};
use serde_json::json;

use super::*;

fn same(a: &Destination, b: &Destination) -> bool {
    serde_json::to_value(a).unwrap() == serde_json::to_value(b).unwrap()
}

fn destinations() -> impl Strategy<Value = Destination> {
    let text = "[a-zA-Zé\u{1F600} ]{0,20}";
    let whom = (
        any::<u128>(),
        "[a-z]{1,5}",
        any::<u128>(),
        text,
        "[a-z]{1,3}",
        text,
    );
    let what = (
        any::<u64>(),
        prop::collection::vec("[a-z.*]{1,12}", 0..4),
        prop::option::of((text, "[A-Za-z0-9+/=]{0,40}")),
    );
    let how = (
        0..3u8,
        any::<bool>(),
        any::<bool>(),
        prop::option::of(any::<u32>()),
        prop::option::of(1u32..9),
        (0..4u8, any::<bool>()),
    );
    (whom, what, how).prop_map(|(whom, what, how)| Destination {
        destination_id: Uuid::from_u128(whom.0),
        tenant_id: whom.1.into(),
        customer_id: Uuid::from_u128(whom.2),
        customer_external_id: whom.3.into(),
        kind: whom.4.into(),
        name: whom.5.clone().into(),
        state: [State::Active, State::Paused, State::Disabled][how.0 as usize],
        version: what.0,
        config: serde_json::value::to_raw_value(&json!({"url": whom.5})).unwrap(),
        secrets: what.2.map(|(key_id, ciphertext)| Sealed {
            key_id: key_id.into(),
            ciphertext: ciphertext.into(),
        }),
        event_types: what.1.into_iter().map(Box::from).collect(),
        filter: how.1.then(|| {
            serde_json::from_value(json!({"path": "payload.a", "op": "eq", "value": 1})).unwrap()
        }),
        transform: if how.1 {
            serde_json::from_value(json!([{"drop": ["payload.b"]}])).unwrap()
        } else {
            Vec::new()
        },
        retry: if how.2 {
            RetryPolicy {
                max_attempts: 3,
                ..RetryPolicy::default()
            }
        } else {
            RetryPolicy::default()
        },
        rate_limit: how.4.map(|rate| RateLimit {
            per_second: rate.into(),
            burst: None,
        }),
        batch: how.4.map(|records| BatchPolicy {
            records: Some(records),
            ..BatchPolicy::default()
        }),
        payload_mode: match how.5.0 {
            0 => PayloadMode::Full,
            1 => PayloadMode::Off,
            2 => PayloadMode::Redact(["payload.a".into(), "payload.b".into()].into()),
            _ => PayloadMode::Seal("age1".into()),
        },
        payload_mode_inherited: how.5.1,
        timeout_ms: how.3,
    })
}

proptest! {
    #[test]
    fn packing_loses_nothing(all in prop::collection::vec(destinations(), 1..8)) {
        let mut texts = Texts::default();
        let packed: Vec<_> = all.iter().map(|destination| pack(destination, &mut texts)).collect();
        for (destination, packed) in all.iter().zip(&packed) {
            let back = unpack(destination.destination_id, packed, &texts).unwrap();
            prop_assert!(same(destination, &back), "{destination:?} became {back:?}");
        }
    }
}
