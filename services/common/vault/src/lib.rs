//! Sealing a destination's secrets, so that what rests in Kafka is ciphertext.
//!
//! AES-256-GCM under a key ring that lives outside Kafka. Every ciphertext is bound to one tenant, customer, destination
//! and version through the additional data: copied to another row, or kept when a version was replaced, it does not
//! open. The first key of the ring seals; every key opens, so that a key is rotated by putting a new one in front and
//! dropping the old one when nothing is sealed with it any more ([`KeyRing::is_current`]).
//!
//! It owns keys and ciphertext. It never logs, never says *why* something did not open beyond "not with this key for
//! this row", and no error or `Debug` output of it contains key, plaintext or ciphertext.

mod aad;
mod ring;

pub use aad::Aad;
pub use ring::{KeyRing, OpenError, Opened, RingError, SealError};
