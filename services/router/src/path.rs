//! Where a path leads in a document that is opened only where somebody looks.

pub(crate) use pushrail_schemas::path::{Path, Root, Segment};

use crate::json::{Invalid, Node};

/// The value that a path names within its root.
pub(crate) fn find<'n, 'a>(
    path: &Path,
    root: &'n Node<'a>,
) -> Result<Option<&'n Node<'a>>, Invalid> {
    let mut node = root;
    for segment in &path.segments {
        match node.member(&segment.name, segment.index)? {
            Some(child) => node = child,
            None => return Ok(None),
        }
    }
    // What was not opened has not been checked either; the root is, by whoever looks.
    if path.is_root() {
        node.content()?;
    }
    Ok(Some(node))
}
