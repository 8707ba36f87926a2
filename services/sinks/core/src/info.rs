//! What a destination type says of itself: data for the engine, the portal and the docs.

use std::time::Duration;

use crate::Class;

#[derive(Clone, Debug)]
pub struct Info {
    /// Name on topics and in the API: `webhook`.
    pub kind: &'static str,
    pub label: &'static str,
    /// `webhook`, `object_storage`, `warehouse`, `stream`, `queue`, `database` or `analytics`.
    pub category: &'static str,
    /// Markdown: what the customer must create, and what arrives.
    pub guide: &'static str,
    /// What a destination gets that says nothing of batches.
    pub batch: BatchLimits,
    /// The most that a destination may ask for: what the service takes in one call, and how long an event may wait.
    pub batch_max: BatchLimits,
    pub timeout_default: Duration,
    /// Longest timeout that a destination may ask for.
    pub timeout_max: Duration,
    pub failures: &'static [FailureClass],
}

/// When a batch is sent: as soon as one of these is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    pub records: usize,
    pub bytes: usize,
    pub age: Duration,
}

impl BatchLimits {
    /// One record a call.
    pub const SINGLE: BatchLimits = BatchLimits {
        records: 1,
        bytes: usize::MAX,
        age: Duration::ZERO,
    };

    pub fn is_single(&self) -> bool {
        self.records <= 1
    }
}

/// One way in which a delivery can end, as the portal explains it.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct FailureClass {
    pub code: &'static str,
    pub class: Class,
    /// What happened.
    pub meaning: &'static str,
    /// What the customer can do.
    pub advice: &'static str,
}

impl FailureClass {
    pub const fn new(
        code: &'static str,
        class: Class,
        meaning: &'static str,
        advice: &'static str,
    ) -> Self {
        FailureClass {
            code,
            class,
            meaning,
            advice,
        }
    }

    /// Several tables as one, for adapters that share a part of theirs. `N` is how many there are in all.
    pub const fn concat<const N: usize>(tables: &[&[FailureClass]]) -> [FailureClass; N] {
        let mut all = [FailureClass::new("", Class::Delivered, "", ""); N];
        let (mut at, mut table) = (0, 0);
        while table < tables.len() {
            let mut row = 0;
            while row < tables[table].len() {
                all[at] = tables[table][row];
                at += 1;
                row += 1;
            }
            table += 1;
        }
        assert!(at == N);
        all
    }
}
