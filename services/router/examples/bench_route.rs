//! What routing an event costs, without Kafka: `cargo run --release -p pushrail-router --example bench_route`.
//!
//! Prints nanoseconds an event for the pure part (read the record, look at the window, find, filter, transform, build
//! headers and records) on one thread, for 100 and for 100,000 destinations, and what an index of 100,000 takes in memory.

use pushrail_router::bench::{Bench, Case};

fn main() {
    // First, while no earlier index has left memory behind for this one.
    let before = resident_kib();
    let index = Bench::new(Case::OneMatch, 100_000);
    let bytes = (resident_kib().saturating_sub(before)) * 1024 / index.destinations();
    println!("index of 100,000 destinations with two patterns: {bytes} bytes each\n");
    println!("1 KB events, one thread; ns an event");
    let head = ["100 dest.", "100,000 dest.", "of that, to find"];
    println!(
        "{:<44} {:>12} {:>14} {:>17}",
        "case", head[0], head[1], head[2]
    );
    for case in Case::ALL {
        let [few, many] = [100, 100_000].map(|count| Bench::new(case, count));
        let (run, find) = (many.run(), many.find());
        println!(
            "{:<44} {:>12.0} {run:>14.0} {find:>17.0}",
            case.name(),
            few.run()
        );
    }
}

/// Resident memory of this process, in KiB.
fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.and_then(|kib| kib.parse().ok()).unwrap_or(0)
}
