//! Who PostgreSQL runs as, and from where.
//!
//! It refuses to run as root, and rightly. When we are root, which containers and build machines like to be, it runs as a
//! user without rights: that of the system's own PostgreSQL, or nobody. That user must be able to read its programs, and
//! those of root's cache are behind a home folder that keeps it out; so they are copied once to where every user can read
//! and only root can write. (The data is reached in another way: see `data.rs`.)

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::{User, geteuid};

use crate::artifacts::postgres_name;
use crate::{Artifacts, Error};

/// Users that it may run as, the first that there is.
const USERS: [&str; 2] = ["postgres", "nobody"];
/// Not below /var/tmp, where anybody could be there before us, and whatever is old is removed file by file.
const READABLE: &str = "/var/cache/pushrail";

/// None: as ourselves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Account(Option<Ids>);

#[derive(Clone, Copy, Debug)]
struct Ids {
    uid: u32,
    gid: u32,
}

impl Account {
    /// For a server of `data`, which need not be there. What belongs to a user already stays theirs.
    pub(super) fn find(data: &Path) -> Result<Account, Error> {
        if !geteuid().is_root() {
            return Ok(Account(None));
        }
        let owner = std::fs::metadata(data).ok();
        let owner = owner.filter(|data| data.uid() != 0).map(|data| Ids {
            uid: data.uid(),
            gid: data.gid(),
        });
        let known = || USERS.iter().find_map(|name| User::from_name(name).ok()?);
        let ids = owner.or_else(|| {
            known().map(|user| Ids {
                uid: user.uid.as_raw(),
                gid: user.gid.as_raw(),
            })
        });
        ids.map(|ids| Account(Some(ids))).ok_or(Error::NoUser)
    }

    /// Makes `command` run as it, without any further group of ours.
    pub(super) fn apply(self, command: &mut Command) {
        if let Account(Some(ids)) = self {
            command.uid(ids.uid).gid(ids.gid);
        }
    }

    /// Gives it `folder` and everything in it, where that is root's: new, or a copy that root made.
    pub(super) fn own(self, folder: &Path) -> Result<(), Error> {
        let Account(Some(ids)) = self else {
            return Ok(());
        };
        let owner = std::fs::metadata(folder).map(|folder| folder.uid());
        match owner {
            Ok(owner) if owner == ids.uid => Ok(()),
            _ => give(folder, ids).map_err(Error::io("hand to the user of PostgreSQL", folder)),
        }
    }

    /// Where `bin`, `lib` and `share` are, readable by it.
    pub(super) fn programs(self, artifacts: &Artifacts) -> Result<PathBuf, Error> {
        match self {
            Account(None) => Ok(artifacts.postgres()),
            Account(Some(_)) => {
                let folder = Path::new(READABLE);
                let programs = folder.join(postgres_name());
                if !programs.is_dir() {
                    publish(&artifacts.postgres(), folder, &programs)
                        .map_err(Error::io("copy PostgreSQL's programs to", &programs))?;
                }
                Ok(programs)
            }
        }
    }
}

/// The folder itself comes last: an interruption before it is noticed by its owner.
fn give(path: &Path, ids: Ids) -> io::Result<()> {
    if path.symlink_metadata()?.is_dir() {
        for entry in std::fs::read_dir(path)? {
            give(&entry?.path(), ids)?;
        }
    }
    lchown(path, Some(ids.uid), Some(ids.gid))
}

/// Copies `from` to `to` in `folder`, whole or not at all, readable by everybody whatever our umask is.
fn publish(from: &Path, folder: &Path, to: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    std::fs::set_permissions(folder, Permissions::from_mode(0o755))?;
    let staging = folder.join(format!("new-{}", uuid::Uuid::new_v4().simple()));
    let placed = copy(from, &staging).and_then(|()| std::fs::rename(&staging, to));
    if placed.is_err() {
        let _ = std::fs::remove_dir_all(&staging);
    }
    match placed {
        // Somebody else was faster; theirs is as good.
        Err(_) if to.is_dir() => Ok(()),
        placed => placed,
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let kind = from.symlink_metadata()?;
    if kind.is_symlink() {
        return symlink(std::fs::read_link(from)?, to);
    }
    let mode = if kind.is_dir() {
        std::fs::create_dir(to)?;
        for entry in std::fs::read_dir(from)? {
            let entry = entry?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
        0o755
    } else {
        std::fs::copy(from, to)?;
        // Whoever may run it or not, everybody does or nobody.
        if kind.mode() & 0o111 == 0 {
            0o644
        } else {
            0o755
        }
    };
    std::fs::set_permissions(to, Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_readable_whatever_the_original_was_and_made_once() {
        let parent = tempfile::tempdir().unwrap();
        let (from, folder) = (parent.path().join("from"), parent.path().join("all"));
        std::fs::create_dir_all(from.join("bin")).unwrap();
        for (name, mode) in [("bin/run", 0o700), ("text", 0o600)] {
            std::fs::write(from.join(name), name).unwrap();
            std::fs::set_permissions(from.join(name), Permissions::from_mode(mode)).unwrap();
        }
        symlink("text", from.join("link")).unwrap();
        let to = folder.join("copy");
        publish(&from, &folder, &to).unwrap();
        let mode = |name: &str| std::fs::metadata(to.join(name)).unwrap().mode() & 0o777;
        assert_eq!(
            (mode("bin"), mode("bin/run"), mode("text")),
            (0o755, 0o755, 0o644)
        );
        assert_eq!(
            std::fs::read_link(to.join("link")).unwrap(),
            Path::new("text")
        );
        publish(&from, &folder, &to).unwrap();
        let entries = std::fs::read_dir(&folder).unwrap().count();
        assert_eq!(entries, 1, "the second one left nothing");
    }
}
