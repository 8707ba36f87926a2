//! The Avro schemas, as their files say them.

/// Values of `events`, `deliver.*`, `retry.*` and `dlq.<kind>`.
pub const EVENT: &str = include_str!("../avro/Event.avsc");
/// Values of `audit.attempts`.
pub const ATTEMPT: &str = include_str!("../avro/Attempt.avsc");
/// Values of `events.direct.<tenant>`, as we offer them; a vendor may publish with any schema that resolves to it.
pub const EVENT_INPUT: &str = include_str!("../avro/EventInput.avsc");

/// The schema whose record is called `name`.
pub fn named(name: &str) -> Option<&'static str> {
    match name {
        "Event" => Some(EVENT),
        "Attempt" => Some(ATTEMPT),
        "EventInput" => Some(EVENT_INPUT),
        _ => None,
    }
}
