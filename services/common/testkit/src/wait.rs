//! Waiting for a condition.

use std::time::Duration;

use tokio::time::Instant;

/// Long enough for a busy machine with two cores; a test that passes never waits for it.
pub const WITHIN: Duration = Duration::from_secs(60);

/// Asks until the answer is there, and panics with `what` when it is not after [`WITHIN`].
pub async fn wait_for<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let until = Instant::now() + WITHIN;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(
            Instant::now() < until,
            "waited {} s in vain for {what}",
            WITHIN.as_secs()
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Like [`wait_for`], for a plain condition.
pub async fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    wait_for(what, async || holds().then_some(())).await;
}
