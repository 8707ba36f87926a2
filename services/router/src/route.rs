//! One destination as the router sees it: what it wants, compiled once when it changes.

use std::sync::Arc;

use pushrail_privacy::Privacy;
use pushrail_schemas::config::{Destination, State};
use pushrail_schemas::problem::Problem;
use smallvec::SmallVec;
use uuid::Uuid;

use crate::filter::Filter;
use crate::transform::Transform;

/// See the module. Small, because there are a hundred thousand of them: most have neither filter nor transform.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) destination_id: Uuid,
    pub(crate) customer_id: Uuid,
    pub(crate) tenant_id: Arc<str>,
    pub(crate) kind: Arc<Kind>,
    /// What a record of a skip shows.
    pub(crate) privacy: Privacy,
    pub(crate) verdict: Verdict,
    /// Ids of its patterns in the index that holds it, each once.
    pub(crate) patterns: SmallVec<[u32; 4]>,
}

/// What happens to an event that a route matches.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Delivered, a paused destination's too: the sink puts it off, and nothing is lost while it waits.
    Deliver,
    /// Delivered when the filter passes, with the transform applied.
    Examine(Box<(Option<Filter>, Option<Transform>)>),
    /// Recorded as skipped.
    Refuse(Refusal),
}

/// Why a route takes no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Disabled,
    /// No sink of this build serves its kind, so no topic for it is sure to exist.
    UnknownKind,
    /// A filter or transform that cannot be applied as it was meant. What it would have hidden must not get out.
    Unusable,
}

/// A destination type and its topic, shared by all of its routes.
#[derive(Debug)]
pub(crate) struct Kind {
    pub(crate) name: Box<str>,
    pub(crate) topic: Box<str>,
}

/// What is wrong with a destination's filter and transform beyond what [`Destination::problems`] says: for whoever is
/// about to write one.
pub fn check(destination: &Destination) -> Vec<Problem> {
    compile(destination).err().into_iter().collect()
}

/// What the record of a skip shows of an event that was not sent. Nothing is sealed here: it costs several times what
/// routing does, and every other customer's events would wait for it. Where a transform would have changed the payload, the
/// paths to redact are those of what it makes.
pub(crate) fn privacy(destination: &Destination) -> Privacy {
    let privacy = Privacy::or_off(&destination.payload_mode).without_sealing();
    match destination.transform.is_empty() {
        true => privacy,
        false => privacy.of_another_shape(),
    }
}

fn compile(destination: &Destination) -> Result<(Option<Filter>, Option<Transform>), Problem> {
    let filter = destination.filter.as_ref();
    let filter = filter.map(|f| Filter::compile(f, "/filter")).transpose()?;
    let steps = &destination.transform;
    let transform = (!steps.is_empty()).then(|| Transform::compile(steps, "/transform"));
    Ok((filter, transform.transpose()?))
}

impl Verdict {
    pub(crate) fn of(destination: &Destination, is_known_kind: bool) -> Self {
        if destination.state == State::Disabled {
            return Verdict::Refuse(Refusal::Disabled);
        }
        if !is_known_kind {
            tracing::error!(destination_id = %destination.destination_id, kind = &*destination.kind, "route.unknown_kind");
            return Verdict::Refuse(Refusal::UnknownKind);
        }
        match compile(destination) {
            Ok((None, None)) => Verdict::Deliver,
            Ok(parts) => Verdict::Examine(Box::new(parts)),
            Err(problem) => {
                // The field says enough; the message may quote what a customer wrote.
                tracing::error!(destination_id = %destination.destination_id, field = problem.field, "route.unusable");
                Verdict::Refuse(Refusal::Unusable)
            }
        }
    }
}
