//! One call: a producer that is there or is made, its records in order, and what became of each.
//!
//! A producer costs threads and connections, so it is made when there is something to send, and ends with its client, which the
//! engine lets go when a destination has been idle for a minute; or when it is old. Making and ending one waits for others, so
//! neither happens on a worker's thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pushrail_egress::Rules;
use pushrail_sink_core::{Outcome, Record};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use crate::check::{Plan, Proof};
use crate::classify::{self, Reply, classify, is_of_batch, is_too_large};
use crate::failure::Failure;
use crate::message;
use crate::native::{Message, Producer};
use crate::oauth::{Grant, Token};
use crate::session::{Fate, Session};
use crate::settings::properties;

/// How long a producer is used: names lead elsewhere by then, and brokers that left the cluster are forgotten.
const AGE_MAX: Duration = Duration::from_secs(1_800);
/// Bytes of a batch as brokers take it, unless a topic wants less.
const BATCH_SIZE: usize = 1_000_000;
const BATCH_SIZE_MIN: usize = 1_000;

/// A topic.
pub struct Client {
    plan: Plan,
    rules: Arc<Rules>,
    grant: Option<Box<Grant>>,
    names: Arc<classify::Names>,
    /// Held while a call hands over its records, so that calls do it one after the other, in their order.
    current: Mutex<Option<Current>>,
    /// Halved when the topic refuses a batch that it would take in parts.
    batch_size: AtomicUsize,
}

/// The producer that new calls use.
struct Current {
    session: Arc<Session>,
    token: Option<Token>,
}

impl Client {
    pub(crate) fn new(plan: Plan, grant: Option<Grant>, rules: Arc<Rules>) -> Self {
        let user = match &plan.proof {
            Proof::Password { username, .. } => Some(username.clone()),
            Proof::None | Proof::Token { .. } => None,
        };
        let names = classify::Names {
            topic: plan.topic.to_string_lossy().into(),
            user,
        };
        Client {
            plan,
            rules,
            grant: grant.map(Box::new),
            names: Arc::new(names),
            current: Mutex::default(),
            batch_size: AtomicUsize::new(BATCH_SIZE),
        }
    }

    /// Hands `records` over and waits for what becomes of them.
    async fn produce(
        &self,
        records: &[&Record],
        deadline: Instant,
    ) -> (Vec<Option<Fate>>, Option<Failure>) {
        let handed_over = timeout_at(deadline, self.hand_over(records)).await;
        match handed_over.unwrap_or(Err(Failure::Timeout)) {
            Ok(call) => call.end(deadline).await,
            Err(failure) => (vec![None; records.len()], Some(failure)),
        }
    }

    async fn hand_over(&self, records: &[&Record]) -> Result<crate::session::Call, Failure> {
        let mut current = self.current.lock().await;
        let session = self.session(&mut current).await?;
        let call = session.call(records.len());
        for (index, record) in records.iter().enumerate() {
            let parts = message::of(record, &self.plan.key);
            let message = Message {
                topic: &self.plan.topic,
                key: parts.key.as_deref(),
                value: &parts.value,
                headers: &parts.headers,
            };
            call.send(index, &message);
        }
        Ok(call)
    }

    /// The producer to use, with a token that is good.
    async fn session(&self, current: &mut Option<Current>) -> Result<Arc<Session>, Failure> {
        let outdated = |known: &Current| {
            !known.session.is_good()
                || known.session.born.elapsed() > AGE_MAX && known.session.is_idle()
        };
        if current.as_ref().is_some_and(outdated) {
            *current = None;
        }
        let held = current.as_ref().and_then(|known| known.token.as_ref());
        let fresh = match &self.grant {
            Some(grant) if held.is_none_or(Token::is_stale) => Some(grant.token().await?),
            _ => None,
        };
        let known = match current.take() {
            Some(known) => current.insert(known),
            None => {
                let session = Arc::new(Session::new(self.producer().await?));
                current.insert(Current {
                    session,
                    token: None,
                })
            }
        };
        if let Some(token) = fresh {
            let extensions = self
                .grant
                .as_ref()
                .map_or(&[][..], |grant| grant.extensions());
            let taken = token.give_to(known.session.producer(), extensions);
            taken.map_err(|()| Failure::TokenInvalid("the token cannot be sent to a broker"))?;
            known.token = Some(token);
        }
        Ok(Arc::clone(&known.session))
    }

    async fn producer(&self) -> Result<Producer, Failure> {
        let properties = properties(&self.plan, self.batch_size.load(Ordering::Relaxed));
        let rules = Arc::clone(&self.rules);
        let made = tokio::task::spawn_blocking(move || Producer::new(&properties, rules)).await;
        let made = made.unwrap_or(Err("the Kafka client could not be made"));
        made.map_err(Failure::Local)
    }

    /// A topic that takes less at once than we send: the next producer sends less.
    async fn send_less(&self) {
        let size = self.batch_size.load(Ordering::Relaxed);
        let less = (size / 2).max(BATCH_SIZE_MIN);
        self.batch_size.store(less, Ordering::Relaxed);
        if let Some(current) = self.current.lock().await.take() {
            current.session.retire();
        }
    }

    /// Brokers judge a batch as a whole, so what was refused together is tried record by record: each is refused for itself, or
    /// not at all. In order, and as far as time goes.
    async fn singly(&self, batch: &[Arc<Record>], fates: &mut [Fate], deadline: Instant) {
        let doubtful =
            |fate: &Fate| matches!(fate, Err(Failure::Record(code)) if is_of_batch(*code));
        let at: Vec<usize> = (0..batch.len())
            .filter(|at| doubtful(&fates[*at]))
            .collect();
        if at.is_empty() || batch.len() == 1 {
            return;
        }
        let too_large =
            |at: &usize| matches!(fates[*at], Err(Failure::Record(code)) if is_too_large(code));
        let too_large = at.iter().any(too_large);
        for at in &at {
            fates[*at] = Err(Failure::Undecided);
        }
        let mut passed = false;
        for at in at {
            let (alone, why) = self.produce(&[&*batch[at]], deadline).await;
            if let Some(Some(fate)) = alone.into_iter().next() {
                passed |= fate.is_ok();
                fates[at] = fate;
            } else if why.is_some() {
                break;
            }
        }
        if passed && too_large {
            self.send_less().await;
        }
    }
}

impl pushrail_sink_core::Client for Client {
    type Reply = Reply;

    async fn send(&self, batch: &[Arc<Record>], deadline: Instant) -> Reply {
        let records: Vec<&Record> = batch.iter().map(|record| &**record).collect();
        let (fates, why) = self.produce(&records, deadline).await;
        let why = why.unwrap_or(Failure::Undecided);
        let mut fates: Vec<Fate> = fates
            .into_iter()
            .map(|fate| fate.unwrap_or_else(|| Err(why.clone())))
            .collect();
        self.singly(batch, &mut fates, deadline).await;
        Reply {
            fates,
            of: Arc::clone(&self.names),
        }
    }

    fn classify(reply: Reply, sent: usize) -> Outcome {
        classify(&reply, sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_thousand_idle_destinations_fit_in_memory() {
        assert!(size_of::<Client>() <= 640, "{}", size_of::<Client>());
    }
}
