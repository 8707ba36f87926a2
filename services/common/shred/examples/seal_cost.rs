//! What sealing and opening an event of 1 KB costs a thread, with whole trees and with trees that much was erased from:
//! `cargo run --release -p pushrail-shred --example seal_cost`.

use std::sync::Arc;
use std::time::Duration;

use pushrail_shred::{Erased, Keyset, Lookup, Owner, SHARDS, Tree, part};
use uuid::Uuid;

const ROUNDS: u32 = 20_000;

fn main() {
    let mut keyset = Keyset::default();
    for shard in 0..SHARDS {
        let tree = Tree::generate().expect("randomness");
        keyset.put(shard, Arc::new(tree));
    }
    show("whole", &keyset);
    for n in 0..4_000u128 {
        keyset.erase(Erased::Event(Uuid::from_u128(n << 64)));
    }
    show("after 4,000 erasures", &keyset);
}

fn show(what: &str, keyset: &Keyset) {
    let payload = vec![b'x'; 1_024];
    for subject_id in [None, Some(Uuid::from_u128(3))] {
        let owner = |n: u32| Owner {
            customer_id: Uuid::from_u128(1),
            event_id: Uuid::from_u128(u128::from(n)),
            subject_id,
        };
        let mut sealed = Vec::with_capacity(ROUNDS as usize);
        let seal = took(|n| {
            let (generations, key) = keyset.fresh(&owner(n)).expect("a whole keyset");
            let bytes = key.sealed(part::PAYLOAD, &payload).expect("sealed");
            sealed.push((generations, bytes));
        });
        let open = took(|n| {
            let (generations, bytes) = &sealed[n as usize];
            let Lookup::Key(key) = keyset.key(&owner(n), *generations) else {
                panic!("the key is there");
            };
            key.open(part::PAYLOAD, bytes).expect("opened");
        });
        let about = if subject_id.is_some() {
            "with"
        } else {
            "without"
        };
        println!("{what}, {about} a subject: seal {seal:?}, open {open:?}");
    }
}

#[allow(clippy::disallowed_types, reason = "it measures real time")]
fn took(mut one: impl FnMut(u32)) -> Duration {
    let started = std::time::Instant::now();
    (0..ROUNDS).for_each(&mut one);
    started.elapsed() / ROUNDS
}
