//! What 100,000 destinations cost, counted by an allocator that knows this thread.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use base64::Engine as _;
use pushrail_schemas::identity;
use serde_json::json;
use uuid::Uuid;

use crate::table::{Interest, Table};

struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
}

// SAFETY: hands everything to the system's allocator, and counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as our caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as our caller promises.
        unsafe { System.dealloc(at, layout) }
    }
}

fn count(by: isize) {
    // A thread that ends has no counter any more.
    let _ = HELD.try_with(|held| held.set(held.get() + by));
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn record(number: u64) -> (String, String) {
    let (id, customer) = (
        Uuid::from_u128(u128::from(number) << 64 | 7),
        format!("customer-{number}"),
    );
    let value = json!({
        "destinationId": id,
        "tenantId": "acme",
        "customerId": identity::customer_id("acme", &customer),
        "customerExternalId": customer,
        "kind": "webhook",
        "name": format!("Orders of {number}"),
        "state": "active",
        "version": 3,
        "config": {"url": format!("https://hooks-{number}.example.com/pushrail/events"), "headers": {"x-team": "orders"}},
        "secrets": {"keyId": "k1", "ciphertext": base64::engine::general_purpose::STANDARD.encode([7; 12 + 80 + 16])},
        "eventTypes": ["order.*", "invoice.paid"],
        "retry": {"maxAttempts": 16, "initialDelayMs": 2000, "maxDelayMs": 21600000, "maxAgeMs": 86400000},
        "payloadMode": "full",
    });
    (format!("destination/{id}"), value.to_string())
}

#[test]
fn a_hundred_thousand_destinations_fit_into_memory() {
    const COUNT: u64 = 100_000;
    let before = HELD.get();
    let mut table = Table::new(Interest::kind("webhook"));
    let mut json_bytes = 0;
    for number in 0..COUNT {
        let (key, value) = record(number);
        json_bytes += value.len();
        table
            .apply(Some(key.as_bytes()), Some(value.as_bytes()))
            .unwrap();
    }
    let packed = (HELD.get() - before) as u64 / COUNT;
    let before = HELD.get();
    let held: Vec<_> = table
        .destination_ids()
        .into_iter()
        .map(|id| table.destination(id).unwrap())
        .collect();
    let unpacked = (HELD.get() - before) as u64 / COUNT;
    drop(held);
    println!(
        "a destination: {} bytes as JSON, {unpacked} unpacked, {packed} packed",
        json_bytes as u64 / COUNT
    );
    assert!(packed < 500, "{packed} bytes a destination");
}
