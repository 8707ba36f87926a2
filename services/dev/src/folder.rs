//! The data folder: one process at a time, readable by its owner only.

use std::fs::{OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use pushrail_servers::FolderLock;

/// Taken for as long as it lives.
#[derive(Debug)]
pub(crate) struct DataFolder {
    path: PathBuf,
    _lock: FolderLock,
}

impl DataFolder {
    pub(crate) fn open(path: &Path) -> anyhow::Result<DataFolder> {
        let path =
            std::path::absolute(path).with_context(|| format!("--data-dir {}", path.display()))?;
        let lock = FolderLock::take(&path).context("--data-dir")?;
        std::fs::set_permissions(&path, Permissions::from_mode(0o700))
            .with_context(|| format!("cannot keep others out of {}", path.display()))?;
        let folder = DataFolder { path, _lock: lock };
        // It holds keys and a broker's logs, and often stands in a checkout.
        folder.write(".gitignore", b"*\n")?;
        Ok(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file whole or not at all, for the owner only.
    pub(crate) fn write(&self, name: &str, content: &[u8]) -> anyhow::Result<()> {
        let (path, temporary) = (self.file(name), self.file(&format!("{name}.new")));
        let write = || {
            let mut options = OpenOptions::new();
            let mut file = options
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&temporary)?;
            // A file that was left behind keeps the mode that it had.
            file.set_permissions(Permissions::from_mode(0o600))?;
            file.write_all(content)?;
            file.sync_all()?;
            std::fs::rename(&temporary, &path)
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }

    /// Removes a file that may not be there.
    pub(crate) fn remove(&self, name: &str) -> anyhow::Result<()> {
        match std::fs::remove_file(self.file(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", self.file(name).display()))
            }
            _ => Ok(()),
        }
    }

    /// The text of a file, or what `make` gives, which is then written.
    pub(crate) fn read_or_make(
        &self,
        name: &str,
        make: impl FnOnce() -> anyhow::Result<zeroize::Zeroizing<String>>,
    ) -> anyhow::Result<zeroize::Zeroizing<String>> {
        match std::fs::read_to_string(self.file(name)) {
            Ok(text) => Ok(text.trim().to_owned().into()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let text = make()?;
                self.write(name, text.as_bytes())?;
                Ok(text)
            }
            Err(error) => {
                Err(error).with_context(|| format!("cannot read {}", self.file(name).display()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_process_is_refused_and_files_are_private() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let folder = DataFolder::open(&path).unwrap();
        let error = format!("{:#}", DataFolder::open(&path).unwrap_err());
        assert!(
            error.contains("another pushrail") && error.contains("--data-dir"),
            "{error}"
        );
        folder.write("x", b"secret").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&folder.file("x"))), (0o700, 0o600));
        folder.remove("x").unwrap();
        folder.remove("x").unwrap();
    }

    #[test]
    fn what_was_made_once_stays() {
        let parent = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(parent.path()).unwrap();
        let first = folder
            .read_or_make("key", || Ok("one".to_owned().into()))
            .unwrap();
        let second = folder
            .read_or_make("key", || Ok("two".to_owned().into()))
            .unwrap();
        assert_eq!((first.as_str(), second.as_str()), ("one", "one"));
    }
}
