//! The text that a commit carries: `1;boots;suspect;runs`.
//!
//! `runs` are alternating lengths from the committed offset on (unsettled, settled, unsettled, ...), each in base 36,
//! separated by dots. Text, because stock tools show commit metadata.

/// What a partition's owners know of crashes.
///
/// A record that kills the process would be read again by the next owner, and kill it too. So every owner counts its
/// start here before it works, and takes the count back when work has gone well; an owner that finds a high count
/// handles one record at a time, naming it as suspect first. The next one then knows which record to set aside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Starts since work last went well.
    pub boots: u32,
    /// The one record that was being handled.
    pub suspect: Option<i64>,
}

/// What a commit says beside its offset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    pub marks: Marks,
    /// Settled offsets above the commit, `[start, end)`, ascending and disjoint.
    pub runs: Vec<(i64, i64)>,
}

const VERSION: &str = "1";

impl Metadata {
    /// Reads what [`Metadata::write`] wrote beside the commit of `base`. Anything else reads as nothing.
    pub fn parse(base: i64, text: &str) -> Self {
        Self::try_parse(base, text).unwrap_or_default()
    }

    fn try_parse(base: i64, text: &str) -> Option<Self> {
        let mut fields = text.split(';');
        if fields.next()? != VERSION {
            return None;
        }
        let boots = fields.next()?.parse().ok()?;
        let suspect = match fields.next()? {
            "" => None,
            offset => Some(offset.parse().ok()?),
        };
        let (mut runs, mut at, mut settled) = (Vec::new(), base, false);
        for length in fields.next()?.split('.').filter(|l| !l.is_empty()) {
            let end = at.checked_add(i64::from_str_radix(length, 36).ok().filter(|l| *l > 0)?)?;
            if settled {
                runs.push((at, end));
            }
            at = end;
            settled = !settled;
        }
        Some(Metadata {
            marks: Marks { boots, suspect },
            runs,
        })
    }

    /// Writes it for a commit of `base`, dropping the highest runs when it would exceed `len_max` bytes.
    pub fn write(&self, base: i64, len_max: usize) -> String {
        let mut text = format!("{VERSION};{};", self.marks.boots);
        if let Some(offset) = self.marks.suspect {
            text.push_str(&offset.to_string());
        }
        text.push(';');
        let mut at = base;
        for &(start, end) in &self.runs {
            let len_before = text.len();
            for length in [start - at, end - start] {
                if !text.ends_with(';') {
                    text.push('.');
                }
                push_base36(length as u64, &mut text);
            }
            if text.len() > len_max {
                text.truncate(len_before);
                break;
            }
            at = end;
        }
        text
    }
}

fn push_base36(mut value: u64, out: &mut String) {
    let mut digits = [0u8; 13];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b"0123456789abcdefghijklmnopqrstuvwxyz"[(value % 36) as usize];
        value /= 36;
        if value == 0 {
            break;
        }
    }
    out.extend(digits[at..].iter().map(|b| char::from(*b)));
}
