//! TODO What the tests run against, and what it can't do.

mod conformance;
