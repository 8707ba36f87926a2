//! Publishes straight into Kafka: events on `events.direct.<tenant>`, as a vendor does, or ready deliveries on
//! `deliver.<kind>`, as the router does.

use std::time::Duration;

use pushrail_topology::topics;
use rdkafka::message::OwnedHeaders;
use uuid::Uuid;

use super::Pace;
use crate::kafka::{Filler, Record};
use crate::sample::{self, Order, TENANT};

/// Most that is sent between two looks at the clock.
const BURST: u64 = 1_000;

/// What to publish.
#[derive(Clone, Debug)]
pub struct Load {
    pub bootstrap: String,
    pub schema_id: u32,
    pub first: u64,
    pub events: u64,
    /// Events per second; `None` is flat out.
    pub per_second: Option<f64>,
}

/// Publishes deliveries round robin to `destinations`.
pub async fn deliveries(load: Load, destinations: Vec<Uuid>) -> anyhow::Result<()> {
    let topic = topics::deliver("webhook");
    let customers: Vec<String> = (0..destinations.len() as u32)
        .map(sample::customer)
        .collect();
    paced(&load, |filler, n, sent_us| {
        let number = (n % destinations.len() as u64) as usize;
        let (customer, destination) = (customers[number].as_str(), destinations[number]);
        let order = Order {
            sequence: load.first + n,
            customer,
            destination,
            sent_us,
        };
        let record = sample::deliver(load.schema_id, order, sample::VALUE_LEN);
        filler.send_delivery(&topic, &record)
    })
    .await
}

/// Publishes `EventInput` records, as the tenant would, round robin to `customers` customers.
pub async fn events(load: Load, customers: u32, payload_len: usize) -> anyhow::Result<()> {
    let topic = topics::direct(TENANT);
    paced(&load, |filler, n, sent_us| {
        let sequence = load.first + n;
        let customer = sample::customer((sequence % u64::from(customers)) as u32);
        let payload = sample::payload(sequence, sent_us, payload_len);
        let value = event_input(
            load.schema_id,
            sample::EVENT_TYPE,
            &customer,
            payload.as_bytes(),
        );
        filler.send(Record {
            topic: &topic,
            key: &customer,
            headers: OwnedHeaders::new(),
            value: &value,
        })
    })
    .await
}

async fn paced(
    load: &Load,
    mut send: impl FnMut(&Filler, u64, i64) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    // At a rate, latency is what is measured; flat out, it is throughput.
    let filler = Filler::with_linger(
        &load.bootstrap,
        if load.per_second.is_some() { 1 } else { 20 },
    )?;
    let pace = Pace::start(load.per_second);
    let mut n = 0;
    while n < load.events {
        let due = pace
            .due_now()
            .map_or(n + BURST, |due| due.min(n + BURST))
            .min(load.events);
        if due <= n {
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        }
        while n < due {
            send(&filler, n, pace.wall_us(n))?;
            n += 1;
        }
        filler.poll();
    }
    filler.finish()
}

/// An `EventInput` in Confluent wire format, fields as `EventInput.avsc` orders them.
pub fn event_input(schema_id: u32, event_type: &str, customer: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 96);
    pushrail_schemas::wire::start(schema_id, &mut out);
    bytes(event_type.as_bytes(), &mut out);
    bytes(customer.as_bytes(), &mut out);
    bytes(payload, &mut out);
    // occurred_at, idempotency_key and source are null.
    out.extend_from_slice(&[0, 0, 0]);
    bytes(b"{}", &mut out);
    // subject is null.
    out.push(0);
    out
}

/// Avro bytes or string: length as a zigzag varint, then the bytes.
fn bytes(value: &[u8], out: &mut Vec<u8>) {
    let mut zigzag = (value.len() as u64) << 1;
    while zigzag >= 0x80 {
        out.push(zigzag as u8 | 0x80);
        zigzag >>= 7;
    }
    out.push(zigzag as u8);
    out.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_direct_event_is_what_the_schema_says() {
        let value = event_input(7, sample::EVENT_TYPE, "customer-1", b"{\"a\":1}");
        assert_eq!(&value[..5], &[0, 0, 0, 0, 7]);
        let expected = [
            &[30u8][..],
            b"order.completed",
            &[20],
            b"customer-1",
            &[14],
            b"{\"a\":1}",
            &[0, 0, 0, 4],
            b"{}",
            &[0],
        ];
        assert_eq!(&value[5..], expected.concat());
    }
}
