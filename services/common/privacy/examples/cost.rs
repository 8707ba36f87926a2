//! What a mode costs for each payload: `cargo run --release -p pushrail-privacy --example cost`.

use std::hint::black_box;

use age::x25519::Identity;
use pushrail_privacy::Privacy;
use pushrail_schemas::config::PayloadMode;
use tokio::time::Instant;

const ROUNDS: u32 = 5_000;

fn main() {
    let key = Identity::generate().to_public().to_string();
    let path = Box::from("payload.card.number");
    for (name, mode) in [
        ("redact", PayloadMode::Redact([path].into())),
        ("seal", PayloadMode::Seal(key.into())),
    ] {
        let privacy = Privacy::of(&mode, "").expect("a good mode");
        for len in [100, 1_000, 10_000, 100_000] {
            let text = "x".repeat(len);
            let payload = format!(r#"{{"card":{{"number":"4111"}},"text":"{text}"}}"#);
            let started = Instant::now();
            for _ in 0..ROUNDS {
                black_box(privacy.payload(black_box(payload.as_bytes())));
            }
            let each = started.elapsed() / ROUNDS;
            println!("{name:>6} {:>6} bytes: {each:?}", payload.len());
        }
    }
}
