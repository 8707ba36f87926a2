//! `dev.env`: where everything is, for scripts and people to `source`.
//!
//! It exists exactly while everything is ready: written after the last service, removed when the first is told to stop,
//! and whatever a crash left behind is removed before anything starts.

use crate::folder::DataFolder;

const NAME: &str = "dev.env";

/// A written file; removed when dropped.
pub(crate) struct EnvFile<'a> {
    folder: &'a DataFolder,
}

impl<'a> EnvFile<'a> {
    /// Removes what a crash left behind.
    pub(crate) fn clear(folder: &DataFolder) -> anyhow::Result<()> {
        folder.remove(NAME)
    }

    pub(crate) fn write(
        folder: &'a DataFolder,
        variables: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        folder.write(NAME, text(variables).as_bytes())?;
        Ok(EnvFile { folder })
    }
}

impl Drop for EnvFile<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.folder.remove(NAME) {
            tracing::warn!(error = format!("{error:#}"), "env_file.left");
        }
    }
}

fn text(variables: &[(&str, &str)]) -> String {
    let mut text = String::from("# Written by `pushrail dev`, and removed when it stops.\n");
    for (name, value) in variables {
        // Exported, so that programs started from the shell that sources it see it too.
        text += &format!("export {name}={}\n", quoted(value));
    }
    text
}

/// In single quotes, where a shell takes everything literally but a single quote.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_back_what_was_written() {
        let parent = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(parent.path()).unwrap();
        let awkward = r#"a'b "c" $HOME `id` \ ;"#;
        let file = EnvFile::write(
            &folder,
            &[("PUSHRAIL_URL", "http://x"), ("PUSHRAIL_ODD", awkward)],
        )
        .unwrap();
        let script = format!(
            ". {}/dev.env; printf %s \"$PUSHRAIL_ODD\"; env | grep -c ^PUSHRAIL_",
            parent.path().display()
        );
        let mut shell = std::process::Command::new("sh");
        shell.env_clear().env("PATH", "/usr/bin:/bin");
        let output = shell.args(["-c", &script]).output().unwrap();
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            format!("{awkward}2\n")
        );
        drop(file);
        assert!(!folder.file(NAME).exists());
    }
}
