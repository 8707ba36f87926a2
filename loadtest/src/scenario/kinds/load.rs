//! Deliveries at a rate.

use uuid::Uuid;

use crate::generator::Pace;
use crate::kafka::Filler;
use crate::sample;

/// Deliveries, as the router would write them.
#[derive(Clone)]
pub(super) struct Load {
    pub(super) bootstrap: String,
    pub(super) schema_id: u32,
    pub(super) topic: String,
    pub(super) ids: Vec<Uuid>,
}

impl Load {
    /// `count` events in turn to all destinations, each when it is due.
    pub(super) async fn send(self, count: u64, pace: Pace) -> anyhow::Result<()> {
        let filler = Filler::new(&self.bootstrap)?;
        let mut sent = 0;
        while sent < count {
            pace.due(sent).await;
            let due = pace.due_now().unwrap_or(count).clamp(sent + 1, count);
            for sequence in sent..due {
                self.write(&filler, (sequence % self.ids.len() as u64) as u32, sequence)?;
            }
            filler.poll();
            sent = due;
        }
        tokio::task::spawn_blocking(move || filler.finish()).await?
    }

    /// `count` events to one of them, at once.
    pub(super) async fn to_one(&self, number: u32, first: u64, count: u64) -> anyhow::Result<()> {
        let filler = Filler::new(&self.bootstrap)?;
        for sequence in first..first + count {
            self.write(&filler, number, sequence)?;
        }
        tokio::task::spawn_blocking(move || filler.finish()).await?
    }

    fn write(&self, filler: &Filler, number: u32, sequence: u64) -> anyhow::Result<()> {
        let order = sample::Order {
            sequence,
            customer: &sample::customer(number),
            destination: self.ids[number as usize],
            sent_us: pushrail_clock::now_us(),
        };
        let record = sample::deliver(self.schema_id, order, sample::VALUE_LEN);
        filler.send_delivery(&self.topic, &record)
    }
}
