//! The table: what was run against which server, and what came of it.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde::Serialize;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    pub(crate) kind: String,
    pub(crate) against: String,
    pub(crate) cases: Vec<Row>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    pub(crate) case: &'static str,
    #[serde(flatten)]
    pub(crate) result: Result,
}

#[derive(Debug, Serialize)]
#[serde(tag = "result", content = "detail", rename_all = "snake_case")]
pub(crate) enum Result {
    /// What was run, in a few words.
    Passed(String),
    /// Why the type cannot have it.
    NotApplicable(String),
    Failed(String),
}

impl Report {
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{} against {}\n", self.kind, self.against);
        for Row { case, result } in &self.cases {
            let (mark, detail) = match result {
                Result::Passed(detail) => ("passed", detail),
                Result::NotApplicable(reason) => ("n/a", reason),
                Result::Failed(problem) => ("FAILED", problem),
            };
            let _ = writeln!(text, "  {case:<22} {mark:<7} {detail}");
        }
        text
    }

    pub(crate) fn failures(&self) -> usize {
        let failed = |row: &&Row| matches!(row.result, Result::Failed(_));
        self.cases.iter().filter(failed).count()
    }

    /// Leaves it where the gathering command finds it.
    pub(crate) fn write(&self) -> std::io::Result<()> {
        let folder = match std::env::var_os("CARGO_TARGET_DIR") {
            Some(folder) => PathBuf::from(folder),
            None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../target"),
        };
        let folder = folder.join("conformance");
        std::fs::create_dir_all(&folder)?;
        let json = serde_json::to_vec_pretty(self).unwrap_or_default();
        std::fs::write(folder.join(format!("{}.json", self.kind)), json)
    }
}
