//! What a scenario found: tables for people, JSON for machines, and a verdict for each thing that must hold.

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;

/// The result of one scenario.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub scenario: &'static str,
    pub title: &'static str,
    /// How it was done, in a few sentences.
    pub method: String,
    pub quick: bool,
    pub machine: String,
    /// The share of the processors' time that a hypervisor took away meanwhile. It is in every figure, and in no ratio that
    /// was taken in turns.
    pub stolen: f64,
    pub took_s: f64,
    pub checks: Vec<Check>,
    pub tables: Vec<Table>,
    pub notes: Vec<String>,
    /// Everything measured, for machines.
    pub data: serde_json::Value,
}

/// One thing that must hold.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    pub what: String,
    pub measured: String,
    pub bar: String,
    pub holds: bool,
}

#[derive(Clone, Debug, Serialize)]
pub struct Table {
    pub caption: String,
    pub head: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

impl Report {
    pub fn new(scenario: &'static str, title: &'static str, quick: bool) -> Self {
        Report {
            scenario,
            title,
            method: String::new(),
            quick,
            machine: crate::machine::describe(),
            stolen: 0.0,
            took_s: 0.0,
            checks: Vec::new(),
            tables: Vec::new(),
            notes: Vec::new(),
            data: serde_json::Value::Null,
        }
    }

    pub fn check(
        &mut self,
        what: impl Into<String>,
        measured: impl Into<String>,
        bar: impl Into<String>,
        holds: bool,
    ) {
        self.checks.push(Check {
            what: what.into(),
            measured: measured.into(),
            bar: bar.into(),
            holds,
        });
    }

    /// Checks that a figure is at most `bar`.
    pub fn at_most(&mut self, what: &str, measured: f64, bar: f64, unit: &str) {
        self.check(
            what,
            format!("{measured:.2}{unit}"),
            format!("at most {bar}{unit}"),
            measured <= bar,
        );
    }

    /// Checks that a figure is at least `bar`.
    pub fn at_least(&mut self, what: &str, measured: f64, bar: f64, unit: &str) {
        self.check(
            what,
            format!("{measured:.2}{unit}"),
            format!("at least {bar}{unit}"),
            measured >= bar,
        );
    }

    pub fn table(&mut self, caption: impl Into<String>, head: &[&str], rows: Vec<Vec<String>>) {
        self.tables.push(Table {
            caption: caption.into(),
            head: head.iter().map(|h| (*h).into()).collect(),
            rows,
        });
    }

    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    pub fn holds(&self) -> bool {
        self.checks.iter().all(|check| check.holds)
    }

    pub fn markdown(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(out, "# {}\n\n{}\n", self.title, self.method);
        let size = if self.quick {
            "quick size (a smoke test: figures mean little)"
        } else {
            "full size"
        };
        let command = format!(
            "cargo run --release -p pushrail-loadtest -- {}",
            self.scenario
        );
        let _ = writeln!(
            out,
            "`{command}`, {size}, {:.0} s, {}, of which the hypervisor took {:.1} % away\n",
            self.took_s,
            self.machine,
            self.stolen * 100.0
        );
        if !self.checks.is_empty() {
            let rows = self.checks.iter().map(|check| {
                let holds = if check.holds { "holds" } else { "**MISSED**" };
                vec![
                    check.what.clone(),
                    check.measured.clone(),
                    check.bar.clone(),
                    holds.into(),
                ]
            });
            write_table(
                &mut out,
                &["must hold", "measured", "bar", ""].map(String::from),
                rows,
            );
        }
        for table in &self.tables {
            let _ = writeln!(out, "## {}\n", table.caption);
            write_table(&mut out, &table.head, table.rows.iter().cloned());
        }
        for note in &self.notes {
            let _ = writeln!(out, "- {note}");
        }
        out
    }

    /// Writes `<folder>/<scenario>.md` and `.json`; a quick run gets names of its own.
    pub fn write(&self, folder: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(folder)?;
        let name = if self.quick {
            format!("{}-quick", self.scenario)
        } else {
            self.scenario.to_owned()
        };
        std::fs::write(folder.join(format!("{name}.md")), self.markdown())?;
        std::fs::write(
            folder.join(format!("{name}.json")),
            serde_json::to_vec_pretty(self)?,
        )?;
        Ok(())
    }
}

fn write_table(out: &mut String, head: &[String], rows: impl Iterator<Item = Vec<String>>) {
    let _ = writeln!(out, "| {} |", head.join(" | "));
    let _ = writeln!(out, "|{}", " --- |".repeat(head.len()));
    for row in rows {
        let _ = writeln!(out, "| {} |", row.join(" | "));
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_bar_cannot_be_overlooked() {
        let mut report = Report::new("speed", "Speed", false);
        report.at_most("CPU", 31.0, 30.0, " µs");
        report.at_least("ratio", 0.9, 0.8, "");
        assert!(!report.holds());
        assert!(
            report
                .markdown()
                .contains("| CPU | 31.00 µs | at most 30 µs | **MISSED** |")
        );
    }
}
