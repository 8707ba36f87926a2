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

/// What the processors of the machine have done, in ticks.
#[derive(Clone, Copy, Debug)]
pub struct Processors {
    busy: u64,
    idle: u64,
    /// Taken away by a hypervisor while there was something to do.
    stolen: u64,
}

impl Processors {
    /// Until now.
    pub fn now() -> Self {
        Self::parse(&fs::read_to_string("/proc/stat").unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let fields = text.lines().next().unwrap_or("").split_whitespace().skip(1);
        let ticks: Vec<u64> = fields.filter_map(|field| field.parse().ok()).collect();
        // user nice system idle iowait irq softirq steal; guest time is inside user.
        let sum = |fields: &[usize]| fields.iter().filter_map(|n| ticks.get(*n)).sum();
        Processors {
            busy: sum(&[0, 1, 2, 5, 6]),
            idle: sum(&[3, 4]),
            stolen: sum(&[7]),
        }
    }

    /// Time spent working, in microseconds: not idle, not waiting for disks, not away.
    pub fn busy_us(self) -> u64 {
        self.busy * TICK_US
    }

    /// The share of the time since `before` that was taken away.
    pub fn stolen_since(self, before: Processors) -> f64 {
        let stolen = self.stolen.saturating_sub(before.stolen);
        let all = |of: Processors| of.busy + of.idle + of.stolen;
        stolen as f64 / all(self).saturating_sub(all(before)).max(1) as f64
    }
}

/// CPU time that the whole machine has spent working, in microseconds.
pub fn busy_us() -> u64 {
    Processors::now().busy_us()
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
    fn what_was_taken_away_is_not_work() {
        let before = Processors::parse("cpu 10 1 4 100 5 0 1 0 0 0\ncpu0 1");
        let after = Processors::parse("cpu 40 1 14 150 5 0 1 10 0 0\n");
        assert_eq!(after.busy_us() - before.busy_us(), 400_000);
        assert_eq!(after.stolen_since(before), 0.1);
    }

    #[test]
    fn a_process_that_is_gone_has_used_nothing() {
        assert_eq!((cpu_us(u32::MAX), memory(u32::MAX).rss_kib), (0, 0));
    }
}
