//! Which patterns are taken: those that a deterministic automaton of bounded size matches.
//!
//! An engine that backtracks can be made to try for ever. One that does not, as ours, takes time in proportion to the text
//! times the size of the pattern where it has to follow many possibilities at once, and `[01]*1[01]{500}` on a payload's
//! worth of digits is a second. With an automaton that fits there is one possibility at any moment, so that a text costs
//! its length. The automaton is built here to see that it fits, and again piece by piece when texts are matched.

use regex_automata::dfa::{StartKind, dense};
use regex_automata::nfa::thompson::{self, WhichCaptures};

/// Bytes of one compiled pattern, before it is an automaton.
pub(crate) const PROGRAM_LEN_MAX: usize = 1024 * 1024;
/// Bytes of the automatons of one schema's patterns together.
pub(crate) const AUTOMATON_LEN_MAX: usize = 1024 * 1024;
/// What may be used to build one, over what it has in the end.
const BUILDING: usize = 4;

/// What is wrong with any that is refused.
pub(crate) const REFUSED: &str = "must be a regular expression without look-around and back-references that is not too large: \
     lengths are better limited with `minLength` and `maxLength`";

/// The patterns of one schema.
pub(crate) struct Patterns {
    len_left: usize,
}

impl Default for Patterns {
    fn default() -> Self {
        Patterns {
            len_left: AUTOMATON_LEN_MAX,
        }
    }
}

impl Patterns {
    /// Takes one more, or says what is wrong with it.
    pub(crate) fn take(&mut self, pattern: &str) -> Result<(), &'static str> {
        let translated = jsonschema_regex::to_rust_regex(pattern).map_err(|()| REFUSED)?;
        let program = thompson::Config::new()
            .which_captures(WhichCaptures::None)
            .nfa_size_limit(Some(PROGRAM_LEN_MAX));
        let automaton = dense::Config::new()
            .start_kind(StartKind::Unanchored)
            .dfa_size_limit(Some(self.len_left))
            .determinize_size_limit(Some(BUILDING * self.len_left));
        let built = dense::Builder::new()
            .thompson(program)
            .configure(automaton)
            .build(&translated);
        let len = built.map_err(|_| REFUSED)?.memory_usage();
        self.len_left = self.len_left.saturating_sub(len);
        Ok(())
    }
}
