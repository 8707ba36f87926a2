//! Paths into an event, as filters and transforms name them: `payload.items.0.price`, `metadata.region`.

/// Longest path, in bytes.
pub const LEN_MAX: usize = 512;

/// What is wrong with `path`; `None` when it is well formed. The path itself is not repeated.
pub fn problem(path: &str) -> Option<String> {
    if path.len() > LEN_MAX {
        return Some(format!(
            "must have at most {LEN_MAX} bytes, not {}",
            path.len()
        ));
    }
    let mut segments = path.split('.');
    match segments.next() {
        Some("payload" | "metadata") => {}
        Some(_) => return Some("must start with payload or metadata".into()),
        None => return Some("is empty".into()),
    }
    segments
        .any(str::is_empty)
        .then(|| "has an empty name between its dots".into())
}

/// As [`problem`], for a path that must name something inside `payload` or `metadata` and not the whole of it.
pub fn problem_inside(path: &str) -> Option<String> {
    let inside = || {
        (!path.contains('.'))
            .then(|| format!("must name something inside {path}, such as {path}.id"))
    };
    problem(path).or_else(inside)
}

/// `name` as one token of a JSON pointer.
pub fn pointer_token(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
