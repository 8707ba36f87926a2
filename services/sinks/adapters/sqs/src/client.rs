//! One `SendMessageBatch`, or several where the batch does not fit into one.
//!
//! The deadline covers everything: a role's session, name, connection, TLS, request and answer. Parts go one after the other,
//! because a FIFO queue keeps the order in which it gets them; when one fails as a whole, those behind it are not sent.

use std::sync::Arc;

use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::config::{BehaviorVersion, IdentityCache, Region, StalledStreamProtectionConfig};
use aws_sdk_sqs::operation::send_message_batch::SendMessageBatchOutput;
use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use pushrail_aws::{Failure, Local, Place, Source};
use pushrail_sink_core::{Outcome, Record};
use tokio::time::{Instant, timeout_at};

use crate::check::Plan;
use crate::classify::{Reply, Result, classify};
use crate::config::Deduplication;
use crate::{BYTES_MAX, MESSAGES_MAX, message};

/// A queue. Connections are opened when they are needed, and shared with the other queues of the worker. The SDK's client is
/// made for each call: it takes some 15 KiB, which ten thousand queues with a message now and then would each keep.
pub struct Client {
    local: Arc<Local>,
    source: Source,
    place: Place,
    queue_url: Box<str>,
    fifo: Option<Deduplication>,
    needs: Arc<str>,
}

impl Client {
    pub(crate) fn new(plan: Plan, local: Arc<Local>) -> Self {
        let needs = format!(
            r#"the policy needs {{"Effect":"Allow","Action":"sqs:SendMessage","Resource":"{}"}}"#,
            plan.arn
        );
        Client {
            source: Source::new(plan.access, &local),
            local,
            place: plan.place,
            queue_url: plan.queue_url,
            fifo: plan.fifo,
            needs: needs.into(),
        }
    }

    fn sdk(&self) -> aws_sdk_sqs::Client {
        let mut config = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .http_client(self.local.http.clone())
            .region(Region::new(self.place.region.to_string()))
            .credentials_provider(self.source.clone())
            // The source keeps them.
            .identity_cache(IdentityCache::no_cache())
            // The engine retries, and the deadline is a call's own.
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        if let Some(endpoint) = &self.place.endpoint {
            config = config.endpoint_url(endpoint.as_ref());
        }
        aws_sdk_sqs::Client::from_conf(config.build())
    }

    async fn call(
        &self,
        first: &Record,
        entries: Vec<SendMessageBatchRequestEntry>,
    ) -> std::result::Result<SendMessageBatchOutput, Failure> {
        self.source.ready(&first.delivery).await?;
        let call = self
            .sdk()
            .send_message_batch()
            .queue_url(self.queue_url.as_ref())
            .set_entries(Some(entries));
        call.send().await.map_err(|error| {
            let failure = Failure::of(&error, &self.source);
            if failure.spoils_credentials() {
                self.source.forget();
            }
            failure
        })
    }

    /// Sends one part of a batch and writes down what became of each of its messages; the error is that of the whole part.
    async fn part(
        &self,
        first: &Record,
        part: Part,
        deadline: Instant,
        results: &mut [Result],
    ) -> std::result::Result<(), Failure> {
        // Nothing is sent that nobody would wait for.
        if deadline <= Instant::now() {
            return Err(Failure::Timeout);
        }
        let call = timeout_at(deadline, self.call(first, part.entries)).await;
        let answer = call.unwrap_or(Err(Failure::Timeout))?;
        let place = |id: &str| {
            id.parse::<usize>()
                .ok()
                .filter(|at| part.places.contains(at))
        };
        for sent in &answer.successful {
            if let Some(at) = place(&sent.id) {
                results[at] = Result::Sent {
                    message_id: sent.message_id.as_str().into(),
                };
            }
        }
        for refused in &answer.failed {
            if let Some(at) = place(&refused.id) {
                results[at] = Result::Refused {
                    code: refused.code.as_str().into(),
                    message: self
                        .source
                        .blotted(refused.message().unwrap_or_default())
                        .into(),
                    ours: refused.sender_fault,
                };
            }
        }
        Ok(())
    }
}

/// Messages of one call, and their places in the batch.
#[derive(Default)]
struct Part {
    places: Vec<usize>,
    entries: Vec<SendMessageBatchRequestEntry>,
    len: usize,
}

/// Cuts a batch into calls that SQS takes. What it would never take is said at once.
fn parts(batch: &[Arc<Record>], fifo: Option<Deduplication>, results: &mut [Result]) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::with_capacity(1);
    for (at, record) in batch.iter().enumerate() {
        let message = message::of(record, fifo);
        let len = message.len;
        if len > BYTES_MAX {
            results[at] = Result::TooLarge { len };
            continue;
        }
        let Some(entry) = message.entry(at) else {
            continue;
        };
        let fits =
            |part: &&mut Part| part.entries.len() < MESSAGES_MAX && part.len + len <= BYTES_MAX;
        if parts.last_mut().filter(fits).is_none() {
            parts.push(Part::default());
        }
        if let Some(part) = parts.last_mut() {
            part.places.push(at);
            part.entries.push(entry);
            part.len += len;
        }
    }
    parts
}

impl pushrail_sink_core::Client for Client {
    type Reply = Reply;

    async fn send(&self, batch: &[Arc<Record>], deadline: Instant) -> Reply {
        let mut results = vec![Result::Unanswered; batch.len()];
        let parts = parts(batch, self.fifo, &mut results);
        let mut failed = None;
        for part in parts {
            let places = part.places.clone();
            let outcome = match (&failed, batch.first()) {
                (None, Some(first)) => self.part(first, part, deadline, &mut results).await,
                _ => Err(Failure::Internal("nothing was sent")),
            };
            if let Err(failure) = outcome {
                failed.get_or_insert(failure);
                for at in places {
                    results[at] = Result::NotSent;
                }
            }
        }
        Reply {
            results,
            failed,
            temporary: self.source.is_temporary(),
            needs: Arc::clone(&self.needs),
        }
    }

    fn classify(reply: Reply, sent: usize) -> Outcome {
        classify(&reply, sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::tests::record;

    #[test]
    fn no_call_is_larger_than_sqs_takes() {
        let sizes = [1_000; 25]
            .into_iter()
            .chain([200_000, 100_000, 262_000, 300_000, 10]);
        let batch: Vec<_> = sizes.map(|len| Arc::new(record("c", None, len))).collect();
        let mut results = vec![Result::Unanswered; batch.len()];
        let parts = parts(&batch, None, &mut results);
        let places: Vec<_> = parts.iter().flat_map(|part| part.places.clone()).collect();
        let expected: Vec<_> = (0..30).filter(|at| ![27, 28].contains(at)).collect();
        assert_eq!(places, expected, "in order, without what is too large");
        for part in &parts {
            assert!(part.entries.len() <= MESSAGES_MAX && part.len <= BYTES_MAX);
        }
        assert_eq!(
            parts
                .iter()
                .map(|part| part.entries.len())
                .collect::<Vec<_>>(),
            [10, 10, 6, 2]
        );
        assert!(matches!(results[28], Result::TooLarge { .. }));
    }
}
