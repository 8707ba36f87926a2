//! How often each credential may call.

use std::num::NonZeroU32;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use http::StatusCode;
use pushrail_http::Problem;

use crate::caller::Caller;

pub(crate) struct Limits {
    limiter: DefaultKeyedRateLimiter<String>,
    clock: DefaultClock,
    per_second: NonZeroU32,
}

impl Limits {
    /// `per_second` on average, ten times as many at once.
    pub(crate) fn new(per_second: NonZeroU32) -> Self {
        let burst = per_second.saturating_mul(NonZeroU32::MIN.saturating_add(9));
        Limits {
            limiter: RateLimiter::keyed(Quota::per_second(per_second).allow_burst(burst)),
            clock: DefaultClock::default(),
            per_second,
        }
    }

    pub(crate) fn check(&self, caller: &Caller) -> Result<(), Problem> {
        self.limiter.check_key(&caller.rate_key()).map_err(|until| {
            let wait = until.wait_time_from(self.clock.now());
            Problem::new(
                StatusCode::TOO_MANY_REQUESTS,
                "rate-limited",
                "Too many requests",
            )
            .detail(format!(
                "this credential may make {} requests a second on average",
                self.per_second
            ))
            .retry_after(wait.as_secs() as u32 + 1)
        })
    }

    /// Forgets who has not called for a while.
    pub(crate) fn forget_idle(&self) {
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
    }
}
