//! Changes for one subscriber, each named once however often it happened since it was last told.
//!
//! So a subscriber that is busy costs no more than one entry per thing that exists, and always finds the newest state.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use hashbrown::HashMap;
use tokio::sync::Notify;

use crate::table::Change;

/// The receiving end.
#[derive(Debug)]
pub struct Changes(Arc<Queue>);

#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// What has changed, in the order in which it first did.
    order: VecDeque<Change>,
    /// What happened last to each thing in `order`.
    latest: HashMap<Change, Change>,
    closed: bool,
}

impl Changes {
    pub(crate) fn new() -> (Self, Weak<Queue>) {
        let queue = Arc::new(Queue::default());
        let sender = Arc::downgrade(&queue);
        (Changes(queue), sender)
    }

    /// The next change; `None` when the directory has ended. Cancelling it loses nothing.
    pub async fn recv(&mut self) -> Option<Change> {
        loop {
            let woken = self.0.wake.notified();
            {
                let mut state = self.0.lock();
                if let Some(change) = state.take() {
                    return Some(change);
                }
                if state.closed {
                    return None;
                }
            }
            woken.await;
        }
    }

    /// The next change, if there is one now.
    pub fn try_recv(&mut self) -> Option<Change> {
        self.0.lock().take()
    }
}

impl Queue {
    pub(crate) fn push(&self, change: &Change) {
        let mut state = self.lock();
        let subject = subject(change);
        if state
            .latest
            .insert(subject.clone(), change.clone())
            .is_none()
        {
            state.order.push_back(subject);
        }
        drop(state);
        self.wake.notify_one();
    }

    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self) -> Option<Change> {
        let subject = self.order.pop_front()?;
        self.latest.remove(&subject)
    }
}

/// What a change is about, whatever happened to it.
fn subject(change: &Change) -> Change {
    match change {
        Change::Removed(id) => Change::Destination(*id),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn a_busy_subscriber_hears_of_each_thing_once_and_of_its_last_state() {
        let (mut changes, sender) = Changes::new();
        let sender = sender.upgrade().unwrap();
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        for _ in 0..1_000 {
            sender.push(&Change::Destination(a));
            sender.push(&Change::Destination(b));
        }
        sender.push(&Change::Removed(a));
        assert_eq!(changes.recv().await, Some(Change::Removed(a)));
        assert_eq!(changes.recv().await, Some(Change::Destination(b)));
        assert_eq!(changes.try_recv(), None);
        sender.push(&Change::Destination(a));
        assert_eq!(changes.try_recv(), Some(Change::Destination(a)));
        sender.close();
        assert_eq!(changes.recv().await, None);
    }
}
