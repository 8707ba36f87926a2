//! Lists, a page at a time.
//!
//! A cursor names the last row of the page before it and not a number of rows, so that a list neither repeats nor skips a
//! row when others come and go.

use serde::{Deserialize, Serialize};

/// Where a page begins: after the row that was made at `at` (RFC 3339) and has this id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    pub at: String,
    pub id: String,
}

/// Rows, and where the next page begins; `None` after the last.
#[derive(Clone, Debug)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next: Option<Cursor>,
}

impl<T> Page<T> {
    /// From one row more than was asked for.
    pub(crate) fn of(mut items: Vec<T>, limit: u32, cursor: impl Fn(&T) -> Cursor) -> Self {
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let next = items.last().filter(|_| more).map(cursor);
        Page { items, next }
    }
}

/// What a statement binds for a cursor.
pub(crate) fn bounds(after: Option<&Cursor>) -> (Option<&str>, Option<&str>) {
    (after.map(|c| &*c.at), after.map(|c| &*c.id))
}
