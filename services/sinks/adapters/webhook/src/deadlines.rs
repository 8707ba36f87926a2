//! Deadlines of calls, used again.
//!
//! Nearly every call ends long before its deadline, so nearly every timer would be entered into the runtime's wheel and
//! taken out again for nothing. One that is kept and merely set to a later deadline never leaves the wheel, takes no lock
//! and no memory.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use tokio::time::{Instant, Sleep, sleep_until};

/// Most timers that are kept: what a destination in its usual state has under way.
const KEPT_MAX: usize = 16;

/// The deadlines of one client. They belong to the runtime of its first call, as its connections do.
#[derive(Default)]
pub(crate) struct Deadlines(Mutex<Vec<Pin<Box<Sleep>>>>);

impl Deadlines {
    /// What `call` comes to; `None` when it has not ended by `deadline`.
    pub(crate) async fn timeout_at<T>(
        &self,
        deadline: Instant,
        call: impl Future<Output = T>,
    ) -> Option<T> {
        let mut timer = self.take(deadline);
        let mut call = pin!(call);
        let ended = poll_fn(|cx| {
            if let Poll::Ready(value) = call.as_mut().poll(cx) {
                return Poll::Ready(Some(value));
            }
            timer.as_mut().poll(cx).map(|()| None)
        })
        .await;
        self.keep(timer);
        ended
    }

    fn take(&self, deadline: Instant) -> Pin<Box<Sleep>> {
        let kept = self.lock().pop();
        match kept {
            Some(mut timer) => {
                timer.as_mut().reset(deadline);
                timer
            }
            None => Box::pin(sleep_until(deadline)),
        }
    }

    fn keep(&self, timer: Pin<Box<Sleep>>) {
        let mut kept = self.lock();
        if kept.len() < KEPT_MAX {
            kept.push(timer);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Pin<Box<Sleep>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_timer_that_is_used_again_knows_only_its_new_deadline() {
        let deadlines = Deadlines::default();
        let start = Instant::now();
        let quick = async { 7 };
        assert_eq!(deadlines.timeout_at(start + SECOND, quick).await, Some(7));
        // The old deadline passes while the timer is kept, or while it waits for a later one.
        for seconds in [2, 5, 3] {
            let began = Instant::now();
            let deadline = began + seconds * SECOND;
            let ended = deadlines
                .timeout_at(deadline, std::future::pending::<()>())
                .await;
            assert_eq!(ended, None);
            let late = Instant::now() - deadline;
            assert!(
                late <= Duration::from_millis(1),
                "{seconds} s: {late:?} late"
            );
        }
        assert_eq!(deadlines.lock().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_earlier_deadline_than_the_last_is_kept_to() {
        let deadlines = Deadlines::default();
        let start = Instant::now();
        deadlines.timeout_at(start + 60 * SECOND, async {}).await;
        let ended = deadlines.timeout_at(start + SECOND, std::future::pending::<()>());
        assert_eq!(ended.await, None);
        assert!(start.elapsed() < 2 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_are_kept_than_are_needed() {
        let deadlines = Deadlines::default();
        let deadline = Instant::now() + SECOND;
        let calls = (0..100).map(|_| deadlines.timeout_at(deadline, tokio::task::yield_now()));
        futures::future::join_all(calls).await;
        assert_eq!(deadlines.lock().len(), KEPT_MAX);
    }
}
