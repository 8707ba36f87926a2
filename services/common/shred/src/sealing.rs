//! Which leaves the key of an event comes from, and what an event says of that.

use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

use crate::cipher::PayloadKey;
use crate::place::{Place, SHARDS};
use crate::tree::Tree;

/// Whose and what an event is: any of them can be erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    pub customer_id: Uuid,
    pub event_id: Uuid,
    /// Whom it is about.
    pub subject_id: Option<Uuid>,
}

/// How often the customer, the event and the subject have been erased in this epoch: what comes after an erasure is sealed
/// with the next leaf.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Generations {
    pub customer: u8,
    pub event: u8,
    pub subject: u8,
}

/// What an event says of how it is sealed: nothing that would open it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealing {
    pub epoch: u32,
    pub generations: Generations,
}

/// What became of a key that was looked for.
#[derive(Debug)]
pub enum Lookup {
    Key(PayloadKey),
    /// It was destroyed.
    Erased,
    /// Its epoch is not known here: not yet, or no longer.
    Unknown,
}

/// The trees of one epoch.
#[derive(Default)]
pub struct Keyset {
    trees: [Option<Arc<Tree>>; SHARDS as usize],
}

const VERSION: u8 = 1;

impl Sealing {
    pub fn to_bytes(self) -> [u8; 8] {
        let [a, b, c, d] = self.epoch.to_be_bytes();
        let Generations {
            customer,
            event,
            subject,
        } = self.generations;
        [VERSION, a, b, c, d, customer, event, subject]
    }

    /// What [`Sealing::to_bytes`] wrote; `None` when it is something else, or of a later release.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let [VERSION, a, b, c, d, customer, event, subject] = *bytes else {
            return None;
        };
        Some(Sealing {
            epoch: u32::from_be_bytes([a, b, c, d]),
            generations: Generations {
                customer,
                event,
                subject,
            },
        })
    }
}

/// The leaf of a customer.
fn customer(customer_id: Uuid, generation: u8) -> Place {
    Place::of(b"customer", &[customer_id.as_bytes()], generation)
}

fn event(event_id: Uuid, generation: u8) -> Place {
    Place::of(b"event", &[event_id.as_bytes()], generation)
}

fn subject(customer_id: Uuid, subject_id: Uuid, generation: u8) -> Place {
    let parts: [&[u8]; 2] = [customer_id.as_bytes(), subject_id.as_bytes()];
    Place::of(b"subject", &parts, generation)
}

impl Keyset {
    pub fn put(&mut self, shard: u8, tree: Arc<Tree>) {
        if let Some(place) = self.trees.get_mut(usize::from(shard)) {
            *place = Some(tree);
        }
    }

    /// Whether all of it is here: only then anything may be sealed with it.
    pub fn is_whole(&self) -> bool {
        self.trees.iter().all(Option::is_some)
    }

    /// The key of what was sealed before.
    pub fn key(&self, owner: &Owner, generations: Generations) -> Lookup {
        let places = [
            Some(customer(owner.customer_id, generations.customer)),
            Some(event(owner.event_id, generations.event)),
            owner
                .subject_id
                .map(|id| subject(owner.customer_id, id, generations.subject)),
        ];
        let mut leaves = [None, None, None];
        // What is gone is noticed before anything is computed.
        for place in places.into_iter().flatten() {
            match self.tree(place) {
                None => return Lookup::Unknown,
                Some(tree) if !tree.has(place.path) => return Lookup::Erased,
                Some(_) => {}
            }
        }
        for (leaf, place) in leaves.iter_mut().zip(places) {
            *leaf = place.and_then(|place| self.tree(place)?.leaf(place.path));
        }
        let [customer, event, subject] = &leaves;
        let key = PayloadKey::of([customer.as_ref(), event.as_ref(), subject.as_ref()]);
        key.map_or(Lookup::Unknown, Lookup::Key)
    }

    /// The key that is to be sealed with now, and its generations; `None` where the keyset is not whole, or something was
    /// erased more often than there are generations.
    pub fn fresh(&self, owner: &Owner) -> Option<(Generations, PayloadKey)> {
        let first = |place: &dyn Fn(u8) -> Place| {
            (0..=u8::MAX).find(|generation| {
                let place = place(*generation);
                self.tree(place).is_some_and(|tree| tree.has(place.path))
            })
        };
        let generations = Generations {
            customer: first(&|n| customer(owner.customer_id, n))?,
            event: first(&|n| event(owner.event_id, n))?,
            subject: match owner.subject_id {
                Some(id) => first(&|n| subject(owner.customer_id, id, n))?,
                None => 0,
            },
        };
        match self.key(owner, generations) {
            Lookup::Key(key) => Some((generations, key)),
            Lookup::Erased | Lookup::Unknown => None,
        }
    }

    fn tree(&self, place: Place) -> Option<&Tree> {
        self.trees.get(usize::from(place.shard))?.as_deref()
    }

    /// Where the present leaf of what is to be erased is: the first that has not been destroyed.
    pub fn present(&self, what: Erased) -> Option<Place> {
        let place = |generation| match what {
            Erased::Customer(id) => customer(id, generation),
            Erased::Event(id) => event(id, generation),
            Erased::Subject {
                customer_id,
                subject_id,
            } => subject(customer_id, subject_id, generation),
        };
        (0..=u8::MAX)
            .map(place)
            .find(|place| self.tree(*place).is_some_and(|tree| tree.has(place.path)))
    }

    /// Destroys the present leaf of something, and names the tree that has changed; `None` where it would grow too large.
    /// Its trees must be nobody else's.
    pub fn erase(&mut self, what: Erased) -> Option<(u8, &Tree)> {
        let place = self.present(what)?;
        let tree = self.trees.get_mut(usize::from(place.shard))?.as_mut()?;
        let tree = Arc::get_mut(tree)?;
        if tree.nodes() + usize::from(crate::PATH_BITS) > crate::NODES_MAX {
            return None;
        }
        tree.puncture(place.path);
        Some((place.shard, tree))
    }
}

/// What is erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Erased {
    Customer(Uuid),
    Event(Uuid),
    Subject { customer_id: Uuid, subject_id: Uuid },
}

impl fmt::Debug for Keyset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.trees.iter().flatten()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cipher::Refused;

    fn keyset() -> Keyset {
        let mut keyset = Keyset::default();
        for shard in 0..SHARDS {
            assert!(!keyset.is_whole());
            keyset.put(shard, Arc::new(Tree::generate().unwrap()));
        }
        keyset
    }

    fn owner(customer: u128, event: u128, subject: Option<u128>) -> Owner {
        Owner {
            customer_id: Uuid::from_u128(customer),
            event_id: Uuid::from_u128(event),
            subject_id: subject.map(Uuid::from_u128),
        }
    }

    /// Seals as ingest would, and gives back what opens it.
    fn seal(keyset: &Keyset, owner: &Owner) -> (Generations, Vec<u8>) {
        let (generations, key) = keyset.fresh(owner).unwrap();
        (generations, key.sealed("payload", b"{\"a\":1}").unwrap())
    }

    fn opens(keyset: &Keyset, owner: &Owner, sealed: &(Generations, Vec<u8>)) -> bool {
        match keyset.key(owner, sealed.0) {
            Lookup::Key(key) => {
                assert_eq!(key.open("payload", &sealed.1).unwrap(), b"{\"a\":1}");
                true
            }
            Lookup::Erased => false,
            Lookup::Unknown => panic!("the keyset is whole"),
        }
    }

    #[test]
    fn each_erasure_takes_what_it_names_and_nothing_else() {
        let owners = [
            owner(1, 1, Some(1)),
            owner(1, 2, Some(1)),
            owner(1, 3, Some(2)),
            owner(1, 4, None),
            owner(2, 5, Some(1)),
            owner(2, 6, None),
        ];
        let id = Uuid::from_u128;
        let subject = Erased::Subject {
            customer_id: id(1),
            subject_id: id(1),
        };
        let table = [
            (Erased::Event(id(2)), [true, false, true, true, true, true]),
            (subject, [false, false, true, true, true, true]),
            (
                Erased::Customer(id(1)),
                [false, false, false, false, true, true],
            ),
        ];
        for (what, expected) in table {
            let mut keyset = keyset();
            let sealed = owners.map(|owner| seal(&keyset, &owner));
            assert!(
                owners
                    .iter()
                    .zip(&sealed)
                    .all(|(o, s)| opens(&keyset, o, s))
            );
            keyset.erase(what).unwrap();
            let left: Vec<bool> = owners
                .iter()
                .zip(&sealed)
                .map(|(owner, sealed)| opens(&keyset, owner, sealed))
                .collect();
            assert_eq!(left, expected, "{what:?}");
            // What comes after is sealed and opened as ever, and the next erasure takes that too.
            let later = owners.map(|owner| seal(&keyset, &owner));
            assert!(owners.iter().zip(&later).all(|(o, s)| opens(&keyset, o, s)));
            keyset.erase(what).unwrap();
            let left: Vec<bool> = owners
                .iter()
                .zip(&later)
                .map(|(owner, sealed)| opens(&keyset, owner, sealed))
                .collect();
            assert_eq!(left, expected, "{what:?}");
        }
    }

    #[test]
    fn nothing_opens_as_another_part_or_event_or_changed() {
        let keyset = keyset();
        let own = owner(1, 1, Some(1));
        let (generations, sealed) = seal(&keyset, &own);
        let Lookup::Key(key) = keyset.key(&own, generations) else {
            panic!("it is there");
        };
        assert_eq!(key.open("metadata", &sealed), Err(Refused));
        for other in [
            owner(2, 1, Some(1)),
            owner(1, 2, Some(1)),
            owner(1, 1, None),
        ] {
            let Lookup::Key(key) = keyset.key(&other, generations) else {
                panic!("it is there");
            };
            assert_eq!(key.open("payload", &sealed), Err(Refused));
        }
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(key.open("payload", &changed), Err(Refused));
            assert_eq!(key.open("payload", &sealed[..at]), Err(Refused));
        }
    }

    #[test]
    fn a_part_of_a_keyset_seals_nothing_and_is_told_from_what_was_erased() {
        let own = owner(1, 1, Some(1));
        let empty = Keyset::default();
        assert!(empty.fresh(&own).is_none());
        assert!(matches!(
            empty.key(&own, Generations::default()),
            Lookup::Unknown
        ));
    }

    #[test]
    fn nothing_shows_a_key() {
        let keyset = keyset();
        let (_, key) = keyset.fresh(&owner(1, 1, None)).unwrap();
        assert_eq!(format!("{key:?}"), "PayloadKey(***)");
        assert!(format!("{keyset:?}").starts_with("[Tree(1 nodes), "));
    }

    #[test]
    fn what_an_event_says_of_its_sealing_is_read_as_it_was_written() {
        let sealing = Sealing {
            epoch: 77,
            generations: Generations {
                customer: 1,
                event: 2,
                subject: 3,
            },
        };
        assert_eq!(Sealing::from_bytes(&sealing.to_bytes()), Some(sealing));
        assert_eq!(sealing.to_bytes(), [1, 0, 0, 0, 77, 1, 2, 3]);
        for foreign in [&[][..], &[1], &[2, 0, 0, 0, 77, 1, 2, 3]] {
            assert_eq!(Sealing::from_bytes(foreign), None);
        }
    }
}
