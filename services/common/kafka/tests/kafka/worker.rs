//! Threads that start their workers again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pushrail_kafka::{Error, worker};
use pushrail_testkit::wait_until;
use tokio_util::sync::CancellationToken;

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_panics_or_fails_is_started_again() {
    let starts = Arc::new(AtomicUsize::new(0));
    let shutdown = CancellationToken::new();
    let counted = Arc::clone(&starts);
    let running = tokio::spawn(worker::run(
        "test",
        1,
        shutdown.clone(),
        move |_, shutdown| {
            let counted = Arc::clone(&counted);
            async move {
                match counted.fetch_add(1, Ordering::Relaxed) {
                    0 => panic!("on purpose"),
                    1 => Err(Error::Fatal("on purpose".into())),
                    _ => {
                        shutdown.cancelled().await;
                        Ok(())
                    }
                }
            }
        },
    ));
    wait_until("the third start", || starts.load(Ordering::Relaxed) == 3).await;
    shutdown.cancel();
    running.await.expect("it ends");
}
