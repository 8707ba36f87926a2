//! Folders that a test process leaves behind are removed by the next one: a server that is shared by all tests of a
//! process has nobody who would clean up after it.

use std::path::{Path, PathBuf};

use pushrail_servers::FolderLock;

/// A folder that is ours while we run.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    lock: Option<FolderLock>,
}

impl Folder {
    pub(crate) fn new() -> Folder {
        let user = std::env::var("USER").unwrap_or_else(|_| "nobody".into());
        let parent = std::env::temp_dir().join(format!("pushrail-test-{user}"));
        sweep(&parent);
        let path = parent.join(uuid::Uuid::now_v7().to_string());
        let lock = FolderLock::take(&path).expect("a folder for the test's servers");
        Folder {
            path,
            lock: Some(lock),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
        self.lock = None;
    }
}

/// Removes what nobody holds. Whatever cannot be removed is the next one's to remove.
fn sweep(parent: &Path) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        // A folder without a lock file may be one that its owner is just making.
        if entry.path().join("pushrail.lock").exists()
            && let Ok(_lock) = FolderLock::take(&entry.path())
        {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
