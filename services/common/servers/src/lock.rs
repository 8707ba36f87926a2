//! One process a data folder.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::Error;

/// Held for as long as this lives; the kernel lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub struct FolderLock {
    _file: Flock<File>,
}

impl FolderLock {
    /// Creates `folder` where it is missing, and takes it for this process.
    pub fn take(folder: &Path) -> Result<FolderLock, Error> {
        std::fs::create_dir_all(folder).map_err(Error::io("create the folder", folder))?;
        let path = folder.join("pushrail.lock");
        let open = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path);
        let file = open.map_err(Error::io("open", &path))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut file) => {
                let written = file.set_len(0).and_then(|()| file.rewind());
                written
                    .and_then(|()| writeln!(file, "{}", std::process::id()))
                    .map_err(Error::io("write", &path))?;
                Ok(FolderLock { _file: file })
            }
            Err((mut file, Errno::EWOULDBLOCK)) => {
                let mut pid = String::new();
                // Only for the message: a holder that has not written its id yet is still a holder.
                let _ = file.read_to_string(&mut pid);
                let holder = match pid.trim() {
                    "" => "a process that is just starting".into(),
                    pid => format!("process {pid}"),
                };
                Err(Error::Locked {
                    folder: folder.to_owned(),
                    holder,
                })
            }
            Err((_, errno)) => Err(Error::Io {
                what: "lock",
                path,
                source: errno.into(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_taker_is_told_who_holds_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let held = FolderLock::take(folder.path()).unwrap();
        let error = FolderLock::take(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains(&format!("process {}", std::process::id())),
            "{error}"
        );
        drop(held);
        FolderLock::take(folder.path()).unwrap();
    }
}
