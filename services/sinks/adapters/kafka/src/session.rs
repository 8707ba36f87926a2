//! A producer in use: which calls wait for what, and when waiting is of no use any more.
//!
//! librdkafka tries for as long as a record lives, and says of most troubles only that they occurred. A call is given up early
//! when no broker can be reached for [`GRACE`], when an address that it needs must not be called, or when something will not
//! pass by itself; otherwise at its deadline. A session that a call was given up in is retired: what librdkafka still holds of
//! that call goes with the producer, which ends with the last of its calls.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::classify::Place;
use crate::failure::{Failure, Trouble, of_certificate};
use crate::native::{Event, Message, Producer, Tag};

/// How long no broker may be reachable: a name's next address, or a broker that restarts, gets its chance.
const GRACE: Duration = Duration::from_secs(1);

pub(crate) type Fate = Result<Place, Failure>;

pub(crate) struct Session {
    producer: Producer,
    pub(crate) born: Instant,
    retired: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    calls_made: u32,
    calls: HashMap<u32, Waiting>,
    /// It will not pass by itself.
    finally: Option<Failure>,
    /// What may explain why nothing comes back, and when it was said.
    perhaps: Option<(Instant, Failure)>,
    /// Since when nobody is reachable, or somebody must not be reached; ended by any acknowledgement.
    stuck: Option<Instant>,
}

/// Records of one call whose fate is to come.
struct Waiting {
    left: usize,
    fates: Vec<Option<Fate>>,
}

/// How a call stands.
enum Stand {
    Done(Vec<Option<Fate>>),
    GivenUp(Failure),
    /// Until something comes, or at this time at the latest.
    Waits(Option<Instant>),
}

impl Session {
    pub(crate) fn new(producer: Producer) -> Self {
        Session {
            producer,
            born: Instant::now(),
            retired: AtomicBool::new(false),
            state: Mutex::default(),
        }
    }

    pub(crate) fn producer(&self) -> &Producer {
        &self.producer
    }

    /// No call is to begin here any more.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    /// Whether another call may begin here. What went wrong while nobody waited is a reason to begin anew: librdkafka does not
    /// say the same thing twice.
    pub(crate) fn is_good(&self) -> bool {
        self.absorb();
        let state = self.state();
        let idle_and_in_trouble =
            state.calls.is_empty() && (state.stuck.is_some() || state.perhaps.is_some());
        !(self.retired.load(Ordering::Relaxed) || state.finally.is_some() || idle_and_in_trouble)
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.state().calls.is_empty()
    }

    /// Begins a call of so many records.
    pub(crate) fn call(self: &Arc<Self>, records: usize) -> Call {
        let mut state = self.state();
        let id = state.calls_made;
        state.calls_made = state.calls_made.wrapping_add(1);
        let waiting = Waiting {
            left: 0,
            fates: vec![None; records],
        };
        state.calls.insert(id, waiting);
        Call {
            session: Arc::clone(self),
            id,
            began: Instant::now(),
            is_over: false,
        }
    }

    /// Takes what librdkafka has to say. Whoever calls does it for everybody.
    fn absorb(&self) {
        let events = self.producer.poll();
        if events.is_empty() {
            return;
        }
        let now = Instant::now();
        let mut state = self.state();
        for event in events {
            state.take(event, now);
        }
        drop(state);
        self.producer.wake().notify_waiters();
    }

    fn stand(&self, id: u32, now: Instant) -> Stand {
        let mut state = self.state();
        if state.calls.get(&id).is_none_or(|call| call.left == 0) {
            let call = state.calls.remove(&id);
            return Stand::Done(call.map_or_else(Vec::new, |call| call.fates));
        }
        if let Some(failure) = &state.finally {
            return Stand::GivenUp(failure.clone());
        }
        match state.stuck.map(|since| since + GRACE) {
            Some(until) if until <= now => Stand::GivenUp(match &state.perhaps {
                Some((_, failure)) => failure.clone(),
                // It says why a connection did not open, and not always that one was closed.
                None => Failure::Closed,
            }),
            until => Stand::Waits(until),
        }
    }

    /// What a call came to that is given up.
    fn abandon(&self, id: u32) -> Vec<Option<Fate>> {
        self.retire();
        let call = self.state().calls.remove(&id);
        call.map_or_else(Vec::new, |call| call.fates)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self, event: Event, now: Instant) {
        match event {
            Event::Report {
                tag,
                code,
                partition,
                offset,
            } => {
                if code == 0 {
                    (self.stuck, self.perhaps) = (None, None);
                }
                let Some(call) = self.calls.get_mut(&tag.call) else {
                    return;
                };
                let Some(fate @ None) = call.fates.get_mut(tag.index as usize) else {
                    return;
                };
                *fate = Some(match code {
                    0 => Ok(Place { partition, offset }),
                    code => Err(Failure::Record(code)),
                });
                call.left -= 1;
            }
            Event::Blocked => {
                let blocked = pushrail_egress::Failure::AddressBlocked;
                self.perhaps = Some((now, Failure::Network(blocked)));
                self.stuck.get_or_insert(now);
            }
            Event::Certificate(code) => self.perhaps = Some((now, of_certificate(code))),
            Event::Trouble { code, text } => match Trouble::of(code, &text) {
                Trouble::AllDown => _ = self.stuck.get_or_insert(now),
                Trouble::Final(failure) => _ = self.finally.get_or_insert(failure),
                Trouble::Perhaps(failure) => self.explain(failure, now),
            },
        }
    }

    /// The handshake's failure says less than the certificate's, and a failed connection less than a forbidden address.
    fn explain(&mut self, failure: Failure, now: Instant) {
        use pushrail_egress::Failure::{AddressBlocked, Certificate};
        let says_less = !matches!(failure, Failure::Network(AddressBlocked));
        match &self.perhaps {
            Some((_, Failure::Network(AddressBlocked | Certificate(_)))) if says_less => {}
            _ => self.perhaps = Some((now, failure)),
        }
    }
}

/// A call that has begun. Dropped before its end, it is given up.
pub(crate) struct Call {
    session: Arc<Session>,
    id: u32,
    began: Instant,
    is_over: bool,
}

impl Call {
    /// Hands over the record at `index`.
    pub(crate) fn send(&self, index: usize, message: &Message<'_>) {
        let tag = Tag {
            call: self.id,
            index: index as u32,
        };
        // Its report may come before this returns, but is read with the lock, and so after the count.
        let mut state = self.session.state();
        let sent = self.session.producer.send(message, tag);
        let Some(call) = state.calls.get_mut(&self.id) else {
            return;
        };
        match sent {
            Ok(()) => call.left += 1,
            Err(code) => {
                if let Some(fate) = call.fates.get_mut(index) {
                    *fate = Some(Err(Failure::Record(code)));
                }
            }
        }
    }

    /// The fates of what was handed over, at `deadline` at the latest; and why the rest has none.
    pub(crate) async fn end(mut self, deadline: Instant) -> (Vec<Option<Fate>>, Option<Failure>) {
        let session = Arc::clone(&self.session);
        loop {
            let mut woken = std::pin::pin!(session.producer.wake().notified());
            // From here on nothing is missed.
            woken.as_mut().enable();
            session.absorb();
            let now = Instant::now();
            let until = match session.stand(self.id, now) {
                Stand::Done(fates) => {
                    self.is_over = true;
                    return (fates, None);
                }
                Stand::GivenUp(failure) => return (self.abandon(), Some(failure)),
                Stand::Waits(_) if deadline <= now => {
                    let why = self.why_late();
                    return (self.abandon(), Some(why));
                }
                Stand::Waits(until) => until.map_or(deadline, |until| until.min(deadline)),
            };
            let _ = timeout_at(until, woken).await;
        }
    }

    /// What was said during the call may be why nothing came back.
    fn why_late(&self) -> Failure {
        let state = self.session.state();
        let during = state.perhaps.as_ref().filter(|(at, _)| *at >= self.began);
        during.map_or(Failure::Timeout, |(_, failure)| failure.clone())
    }

    fn abandon(&mut self) -> Vec<Option<Fate>> {
        self.is_over = true;
        self.session.abandon(self.id)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.is_over {
            self.session.abandon(self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(records: usize) -> State {
        let call = Waiting {
            left: records,
            fates: vec![None; records],
        };
        State {
            calls: HashMap::from([(7, call)]),
            ..State::default()
        }
    }

    fn report(call: u32, index: u32, code: i32) -> Event {
        Event::Report {
            tag: Tag { call, index },
            code,
            partition: 1,
            offset: 5,
        }
    }

    #[tokio::test]
    async fn a_fate_is_kept_once_and_strangers_are_ignored() {
        let (mut state, now) = (waiting(2), Instant::now());
        state.take(report(7, 1, 0), now);
        state.take(report(7, 1, 10), now);
        state.take(report(7, 9, 0), now);
        state.take(report(8, 0, 0), now);
        let call = &state.calls[&7];
        assert_eq!(call.left, 1);
        assert!(call.fates[0].is_none() && call.fates[1].as_ref().unwrap().is_ok());
    }

    #[tokio::test]
    async fn an_acknowledgement_ends_what_looked_stuck_and_a_refusal_does_not() {
        let (mut state, now) = (waiting(2), Instant::now());
        let down = Event::Trouble {
            code: -187,
            text: "".into(),
        };
        state.take(down, now);
        state.take(report(7, 0, 29), now);
        assert!(state.stuck.is_some());
        state.take(report(7, 1, 0), now);
        assert!(state.stuck.is_none() && state.perhaps.is_none());
    }

    #[tokio::test]
    async fn what_says_most_is_what_is_said() {
        let (mut state, now) = (waiting(1), Instant::now());
        let handshake = || Event::Trouble {
            code: -181,
            text: "SSL handshake failed".into(),
        };
        let said = |state: &State| {
            let (_, failure) = state.perhaps.clone().unwrap();
            crate::classify::said(&failure).0
        };
        state.take(handshake(), now);
        assert_eq!(said(&state), "tls_failed");
        state.take(Event::Certificate(10), now);
        state.take(handshake(), now);
        assert_eq!(said(&state), "tls_certificate");
        state.take(Event::Blocked, now);
        state.take(handshake(), now);
        assert_eq!(said(&state), "address_blocked");
        assert!(state.stuck.is_some());
    }
}
