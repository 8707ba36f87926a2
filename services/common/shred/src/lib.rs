//! Keys of events that can be destroyed one by one, without a list of keys.
//!
//! A tenant has some random seeds for each epoch, and the key of an event is computed from them: from three *leaves*, one of
//! its customer, one of the event itself, and one of its subject where it has one. Each leaf is at the end of a path through
//! a binary tree ([`Tree`]) whose inner nodes are computed from the node above. To destroy a leaf, the tree is kept as the
//! nodes beside the path to it: every other leaf can still be computed from those, and this one by nobody, since a node says
//! nothing of its sibling. (Goldreich, Goldwasser and Micali's construction, known as a puncturable pseudorandom function.)
//!
//! So whoever holds the trees can seal and open any event without asking anybody, and an erasure costs each tree that it
//! concerns some 44 nodes of 39 bytes: the event, the subject or the customer whose leaf is gone is unreadable wherever its
//! bytes still lie. A leaf that is gone has successors, by [generation](Generations): what comes later is sealed with those.
//!
//! It owns trees, paths and what is sealed with them. It knows neither where trees are kept nor who may destroy a leaf, and
//! shows no key: not in `Debug`, not in an error.

mod cipher;
mod names;
mod place;
mod sealing;
mod subject;
mod tree;

pub use cipher::{PayloadKey, Refused};
pub use names::{form, part};
pub use place::{Place, SHARDS};
pub use sealing::{Erased, Generations, Keyset, Lookup, Owner, Sealing};
pub use subject::subject_id;
pub use tree::{Leaf, NODES_MAX, PATH_BITS, Random, Tree};
