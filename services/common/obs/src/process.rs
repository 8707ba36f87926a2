//! The process as the kernel sees it, under the names that Prometheus' own client libraries use.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Clock ticks a second in `/proc`: a constant of Linux' user interface on every architecture that we run on.
const TICKS_PER_SECOND: f64 = 100.0;

#[derive(Debug)]
pub(crate) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut show = |name: &str, help: &str, metric: &dyn EncodeMetric| {
            let encoder = encoder.encode_descriptor(name, help, None, metric.metric_type())?;
            metric.encode(encoder)
        };
        let mut gauge = |name: &str, help: &str, value: Option<i64>| match value {
            Some(value) => show(name, help, &ConstGauge::new(value)),
            None => Ok(()),
        };
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let kib = |field| status_field(&status, field).map(|value| value * 1024);
        gauge(
            "process_resident_memory_bytes",
            "Memory in RAM",
            kib("VmRSS:"),
        )?;
        gauge(
            "process_resident_memory_max_bytes",
            "Most memory in RAM so far",
            kib("VmHWM:"),
        )?;
        gauge(
            "process_threads",
            "Threads",
            status_field(&status, "Threads:"),
        )?;
        let open = std::fs::read_dir("/proc/self/fd").ok();
        gauge(
            "process_open_fds",
            "Open file descriptors",
            open.map(|open| open.count() as i64),
        )?;
        match cpu_seconds() {
            Some(seconds) => show(
                "process_cpu_seconds",
                "CPU time, user and system",
                &ConstCounter::new(seconds),
            ),
            None => Ok(()),
        }
    }
}

/// The number after `field` in `/proc/self/status`.
fn status_field(status: &str, field: &str) -> Option<i64> {
    let line = status.lines().find(|line| line.starts_with(field))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in parentheses and may contain anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}
