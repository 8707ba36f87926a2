//! Paths into an event, as filters, transforms and redaction name them: `payload.items.0.price`, `metadata.region`.

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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    Payload,
    Metadata,
}

/// A path, split once when a destination changes.
///
/// Members are separated by dots; a backslash takes the next character literally, so `payload.a\.b` is the member `a.b`.
/// A segment of digits is an element's number in an array, and a member's name in an object. Metadata is flat, so all
/// that follows `metadata.` is one name: `metadata.app.version` needs no backslash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    pub root: Root,
    pub segments: Box<[Segment]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    pub name: Box<str>,
    pub index: Option<usize>,
}

impl Path {
    /// Reads a path; the error is a sentence whose subject is the path. [`problem`] limits its length.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (root, rest) = match text.split_once('.') {
            Some((root, rest)) => (root, Some(rest)),
            None => (text, None),
        };
        let (root, split) = match root {
            "payload" => (Root::Payload, true),
            "metadata" => (Root::Metadata, false),
            _ => return Err(format!("must start with payload or metadata, not {root:?}")),
        };
        let segments = rest.map_or(Ok(Vec::new()), |rest| segments(rest, split))?;
        Ok(Path {
            root,
            segments: segments.into(),
        })
    }

    /// Whether it names the whole payload or metadata.
    pub fn is_root(&self) -> bool {
        self.segments.is_empty()
    }
}

fn segments(text: &str, split: bool) -> Result<Vec<Segment>, String> {
    let (mut segments, mut name) = (Vec::new(), String::new());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some(literal) => name.push(literal),
                None => {
                    return Err("ends in a backslash, which takes the character after it literally: write two for a backslash".to_owned());
                }
            },
            '.' if split => segments.push(Segment::new(std::mem::take(&mut name))),
            _ => name.push(character),
        }
    }
    segments.push(Segment::new(name));
    if segments.iter().any(|segment| segment.name.is_empty()) {
        return Err("has an empty segment: two dots in a row, or one at the end".to_owned());
    }
    Ok(segments)
}

impl Segment {
    fn new(name: String) -> Self {
        let canonical = name == "0" || !name.starts_with('0');
        let digits = canonical && name.bytes().all(|b| b.is_ascii_digit());
        Segment {
            index: digits.then(|| name.parse().ok()).flatten(),
            name: name.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &str) -> Vec<String> {
        let path = Path::parse(path).unwrap();
        path.segments.iter().map(|s| s.name.to_string()).collect()
    }

    #[test]
    fn paths_split_at_dots_that_are_not_taken_literally() {
        assert_eq!(names("payload"), [""; 0]);
        assert_eq!(names("payload.a.0.b"), ["a", "0", "b"]);
        assert_eq!(names(r"payload.a\.b.c\\"), ["a.b", r"c\"]);
        assert_eq!(names("metadata.app.version"), ["app.version"]);
        let path = Path::parse("payload.10.01.x1").unwrap();
        let indexes: Vec<_> = path.segments.iter().map(|s| s.index).collect();
        assert_eq!(
            indexes,
            [Some(10), None, None],
            "01 is a name, as in JSON Pointer"
        );
    }

    #[test]
    fn a_bad_path_says_what_is_wrong() {
        for (bad, says) in [
            ("amount", "payload or metadata"),
            ("", "payload or metadata"),
            ("payload..a", "empty segment"),
            ("payload.", "empty segment"),
            ("metadata.", "empty segment"),
            (r"payload.a\", "backslash"),
        ] {
            let problem = Path::parse(bad).unwrap_err();
            assert!(problem.contains(says), "{bad}: {problem}");
        }
    }
}
