//! Following one event: W3C trace context in and out, and spans along the way.
//!
//! The decision to follow an event is made once, where it is accepted ([`Span::root`]), and travels with it in the
//! `traceparent` header. Everyone after that calls [`Span::child`], which looks at a header that is almost always
//! absent and returns an empty span: no allocation, no clock, no lock. An unfollowed event that arrived with a
//! `traceparent` keeps it unchanged, so that the publisher's and the receiver's own traces still join up.

pub(crate) mod export;
mod parent;
mod span;

pub use parent::Traceparent;
pub use span::{Span, SpanKind};
