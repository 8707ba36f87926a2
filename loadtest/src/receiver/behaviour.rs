//! How a receiver treats each destination, and from when to when.
//!
//! A [`Plan`] is a list of rules over ranges of destinations and stretches of time; the last rule that covers a request
//! decides. What no rule covers is answered with 200 at once.

use serde::{Deserialize, Serialize};

/// What happens to a request once it has been read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "do", deny_unknown_fields)]
pub enum Behaviour {
    /// A complete answer, after `latency_ms`.
    Answer {
        status: u16,
        #[serde(default)]
        latency_ms: u32,
        /// Value of a `Retry-After` header, in seconds.
        #[serde(default)]
        retry_after_s: Option<u32>,
    },
    /// No answer, for as long as the client keeps the connection.
    Hang,
    /// The head of a 200, then one byte of its body every `interval_ms`, without end.
    Drip { interval_ms: u32 },
    /// A body of `bytes` bytes, as fast as the client takes it.
    Huge { status: u16, bytes: u64 },
    /// The connection is reset (RST), without a byte.
    Reset,
    /// `fail_per_mille` of the requests get `status`, the others 200. Which ones follows from a count, not from chance.
    Flaky { fail_per_mille: u32, status: u16 },
}

impl Behaviour {
    pub const OK: Behaviour = Behaviour::Answer {
        status: 200,
        latency_ms: 0,
        retry_after_s: None,
    };

    pub fn status(status: u16) -> Self {
        Behaviour::Answer {
            status,
            latency_ms: 0,
            retry_after_s: None,
        }
    }
}

/// One line of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// First destination.
    pub from: u32,
    /// One past the last destination.
    pub to: u32,
    /// Every how many destinations of the range it applies to; 1 is all.
    #[serde(default = "one")]
    pub step: u32,
    /// Milliseconds after the plan was set.
    #[serde(default)]
    pub from_ms: u64,
    /// Milliseconds after the plan was set; absent means for ever.
    #[serde(default)]
    pub to_ms: Option<u64>,
    pub behaviour: Behaviour,
}

fn one() -> u32 {
    1
}

impl Rule {
    /// `behaviour` for the destinations `from..to`, from now on.
    pub fn always(from: u32, to: u32, behaviour: Behaviour) -> Self {
        Rule {
            from,
            to,
            step: 1,
            from_ms: 0,
            to_ms: None,
            behaviour,
        }
    }

    /// The same, but only from `from_ms` to `to_ms` after the plan was set.
    pub fn between(self, from_ms: u64, to_ms: u64) -> Self {
        Rule {
            from_ms,
            to_ms: Some(to_ms),
            ..self
        }
    }

    fn covers(&self, destination: u32) -> bool {
        (self.from..self.to).contains(&destination)
            && (destination - self.from).is_multiple_of(self.step.max(1))
    }
}

/// All rules of a receiver.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    pub rules: Vec<Rule>,
}

/// A plan as the receiver looks it up: rules by destination.
#[derive(Debug, Default)]
pub(super) struct Table {
    by_destination: Vec<Vec<Rule>>,
}

impl Table {
    pub(super) fn new(plan: &Plan) -> Self {
        let len = plan.rules.iter().map(|rule| rule.to).max().unwrap_or(0);
        let rules_of = |destination| {
            plan.rules
                .iter()
                .filter(|rule| rule.covers(destination))
                .cloned()
                .collect()
        };
        Table {
            by_destination: (0..len).map(rules_of).collect(),
        }
    }

    /// The behaviour towards `destination` now, `elapsed_ms` after the plan was set.
    pub(super) fn behaviour(&self, destination: u32, elapsed_ms: u64) -> &Behaviour {
        let rules = self
            .by_destination
            .get(destination as usize)
            .map_or(&[][..], Vec::as_slice);
        let now = |rule: &&Rule| {
            elapsed_ms >= rule.from_ms && rule.to_ms.is_none_or(|to| elapsed_ms < to)
        };
        rules
            .iter()
            .rev()
            .find(now)
            .map_or(&Behaviour::OK, |rule| &rule.behaviour)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_rule_that_covers_a_request_decides() {
        let plan = Plan {
            rules: vec![
                Rule::always(0, 10, Behaviour::status(503)),
                Rule {
                    step: 5,
                    ..Rule::always(0, 10, Behaviour::Hang)
                }
                .between(1_000, 2_000),
            ],
        };
        let table = Table::new(&plan);
        assert_eq!(*table.behaviour(5, 0), Behaviour::status(503));
        assert_eq!(*table.behaviour(5, 1_000), Behaviour::Hang);
        assert_eq!(*table.behaviour(6, 1_000), Behaviour::status(503));
        assert_eq!(*table.behaviour(5, 2_000), Behaviour::status(503));
        assert_eq!(*table.behaviour(10, 0), Behaviour::OK);
    }

    #[test]
    fn a_plan_survives_the_control_endpoint() {
        let plan = Plan {
            rules: vec![Rule::always(1, 2, Behaviour::Drip { interval_ms: 10 }).between(0, 5)],
        };
        let json = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), plan);
    }
}
