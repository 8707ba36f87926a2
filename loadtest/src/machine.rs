//! What processes and the machine have used, read from `/proc`.

use std::fs;

/// Microseconds in one clock tick of `/proc/<pid>/stat`: Linux reports 100 ticks a second on every architecture that
/// Pushrail runs on.
const TICK_US: u64 = 10_000;

/// User and system CPU time of a process, in microseconds; 0 when it is gone.
pub fn cpu_us(pid: u32) -> u64 {
    // Nanoseconds on the CPU by the scheduler's own account, summed over threads; ticks where that is not compiled in.
    schedstat_us(pid).unwrap_or_else(|| stat_us(pid))
}

fn schedstat_us(pid: u32) -> Option<u64> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let mut total = 0;
    for task in tasks.flatten() {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        total += text.split_whitespace().next()?.parse::<u64>().ok()?;
    }
    // Threads that have ended are only in the ticks; whichever is larger is nearer the truth.
    Some((total / 1_000).max(stat_us(pid)))
}

fn stat_us(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The command name may contain spaces; what follows its closing parenthesis does not.
    let fields = text.rsplit(')').next().unwrap_or("").split_whitespace();
    fields
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum::<u64>()
        * TICK_US
}

/// CPU time that the whole machine has spent working (not idle, not waiting for disks), in microseconds.
pub fn busy_us() -> u64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields = text.lines().next().unwrap_or("").split_whitespace().skip(1);
    let ticks: Vec<u64> = fields.filter_map(|field| field.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; guest time is inside user.
    let busy = ticks
        .iter()
        .take(8)
        .enumerate()
        .filter(|(i, _)| !matches!(i, 3 | 4))
        .map(|(_, t)| t);
    busy.sum::<u64>() * TICK_US
}

/// Memory of a process in KiB: resident now, and the most it has ever been.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct Memory {
    pub rss_kib: u64,
    pub peak_kib: u64,
}

pub fn memory(pid: u32) -> Memory {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
            .unwrap_or(0)
    };
    Memory {
        rss_kib: field("VmRSS:"),
        peak_kib: field("VmHWM:"),
    }
}

/// A line about the machine for the head of a report.
pub fn describe() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or("");
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!(
        "{cores} cores ({}), Linux {}",
        model.trim_start_matches(['\t', ':', ' ']),
        kernel.trim()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_use_is_seen() {
        let before = cpu_us(std::process::id());
        let mut sum = 0u64;
        while cpu_us(std::process::id()) < before + 30_000 {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        let memory = memory(std::process::id());
        assert!(memory.rss_kib > 0 && memory.peak_kib >= memory.rss_kib && busy_us() > 0);
    }

    #[test]
    fn a_process_that_is_gone_has_used_nothing() {
        assert_eq!((cpu_us(u32::MAX), memory(u32::MAX).rss_kib), (0, 0));
    }
}
