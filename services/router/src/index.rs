//! Which destinations want an event.
//!
//! A destination's patterns are an exact event type (`order.completed`), everything below a name (`order.*` matches
//! `order.completed` and `order.item.added`, not `order` itself), or everything (`*`). One hash table maps a customer and
//! a pattern to the destinations that have it. An event of the type `order.item.added` can only be wanted through
//! `order.item.added`, `order.item.*`, `order.*` and `*`, so that many look-ups find all who want it, and nobody else is
//! ever looked at: the cost of an event does not grow with destinations that do not match, be they of other customers, of
//! other types, or both.
//!
//! Patterns are numbered, because thousands of customers subscribe to the same few types: the table's key is 20 bytes, and
//! a type that no destination names costs one failed look-up.

use std::sync::Arc;

use hashbrown::HashMap;
use pushrail_schemas::config::Destination;
use pushrail_topology::topics;
use smallvec::SmallVec;
use uuid::Uuid;

use crate::route::{self, Kind, Route, Verdict};

/// See the module.
#[derive(Debug, Default)]
pub struct Index {
    /// Slots of the routes that have a pattern, by customer and pattern.
    wanted: HashMap<(Uuid, u32), SmallVec<[u32; 4]>>,
    patterns: Patterns,
    routes: Vec<Option<Box<Route>>>,
    free: Vec<u32>,
    slots: HashMap<Uuid, u32>,
    kinds: HashMap<Box<str>, Arc<Kind>>,
    tenants: HashMap<Arc<str>, ()>,
    /// Kinds that sinks exist for; empty when any may.
    known_kinds: Box<[Box<str>]>,
}

/// The number of `*`.
const ANY: u32 = 0;

impl Index {
    /// An empty index that accepts destinations of `known_kinds`, or of any kind when there are none.
    pub fn new(known_kinds: impl IntoIterator<Item = Box<str>>) -> Self {
        Index {
            known_kinds: known_kinds.into_iter().collect(),
            ..Index::default()
        }
    }

    /// How many destinations it holds.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Adds a destination, or puts it in the place of what it was before.
    pub fn put(&mut self, destination: &Destination) {
        self.remove(destination.destination_id);
        let mut patterns = SmallVec::<[u32; 4]>::new();
        for pattern in &destination.event_types {
            let number = self.patterns.number(pattern);
            match patterns.contains(&number) {
                true => self.patterns.release(number),
                false => patterns.push(number),
            }
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.routes.push(None);
            self.routes.len() as u32 - 1
        });
        for pattern in &patterns {
            let key = (destination.customer_id, *pattern);
            self.wanted.entry(key).or_default().push(slot);
        }
        let route = Route {
            destination_id: destination.destination_id,
            customer_id: destination.customer_id,
            tenant_id: self.tenant(&destination.tenant_id),
            kind: self.kind(&destination.kind),
            privacy: route::privacy(destination),
            verdict: Verdict::of(destination, self.is_known_kind(&destination.kind)),
            patterns,
        };
        self.routes[slot as usize] = Some(Box::new(route));
        self.slots.insert(destination.destination_id, slot);
    }

    /// Removes a destination; whether it was there.
    pub fn remove(&mut self, destination_id: Uuid) -> bool {
        let Some(slot) = self.slots.remove(&destination_id) else {
            return false;
        };
        let Some(route) = self.routes[slot as usize].take() else {
            return false;
        };
        for pattern in route.patterns {
            let key = (route.customer_id, pattern);
            if let Some(slots) = self.wanted.get_mut(&key) {
                slots.retain(|other| *other != slot);
                if slots.is_empty() {
                    self.wanted.remove(&key);
                }
            }
            self.patterns.release(pattern);
        }
        self.free.push(slot);
        true
    }

    /// Puts the slots of all routes that match into `found`, each once. These and no others were looked at.
    pub fn find(&self, tenant_id: &str, customer_id: Uuid, event_type: &str, found: &mut Vec<u32>) {
        found.clear();
        let mut sources = 0;
        self.patterns.of_event(event_type, |pattern| {
            if let Some(slots) = self.wanted.get(&(customer_id, pattern)) {
                sources += 1;
                found.extend_from_slice(slots);
            }
        });
        if sources > 1 {
            found.sort_unstable();
            found.dedup();
        }
        // A customer's id follows from its tenant, so this refuses only what a wrong configuration would let through.
        found.retain(|slot| {
            self.route(*slot)
                .is_some_and(|r| *r.tenant_id == *tenant_id)
        });
    }

    pub(crate) fn route(&self, slot: u32) -> Option<&Route> {
        self.routes.get(slot as usize)?.as_deref()
    }

    fn is_known_kind(&self, kind: &str) -> bool {
        self.known_kinds.is_empty() || self.known_kinds.iter().any(|known| **known == *kind)
    }

    fn kind(&mut self, name: &str) -> Arc<Kind> {
        if let Some(kind) = self.kinds.get(name) {
            return Arc::clone(kind);
        }
        let kind = Arc::new(Kind {
            name: name.into(),
            topic: topics::deliver(name).into(),
        });
        self.kinds.insert(name.into(), Arc::clone(&kind));
        kind
    }

    fn tenant(&mut self, id: &str) -> Arc<str> {
        if let Some((tenant, ())) = self.tenants.get_key_value(id) {
            return Arc::clone(tenant);
        }
        let tenant: Arc<str> = id.into();
        self.tenants.insert(Arc::clone(&tenant), ());
        tenant
    }
}

/// Numbers of patterns that somebody has.
#[derive(Debug, Default)]
struct Patterns {
    exact: HashMap<Arc<str>, u32>,
    /// By the name before `.*`.
    below: HashMap<Arc<str>, u32>,
    /// What a number stands for and how many have it; number 0 is `*` and not in here.
    named: Vec<(Pattern, u32)>,
    free: Vec<u32>,
}

#[derive(Clone, Debug)]
enum Pattern {
    Exact(Arc<str>),
    Below(Arc<str>),
}

impl Patterns {
    /// The number of a pattern, counted once more.
    fn number(&mut self, text: &str) -> u32 {
        let (names, name) = match text.strip_suffix(".*") {
            _ if text == "*" => return ANY,
            Some(name) => (&mut self.below, name),
            None => (&mut self.exact, text),
        };
        if let Some(number) = names.get(name) {
            self.named[*number as usize - 1].1 += 1;
            return *number;
        }
        let name: Arc<str> = name.into();
        let pattern = match text.ends_with(".*") {
            true => Pattern::Below(Arc::clone(&name)),
            false => Pattern::Exact(Arc::clone(&name)),
        };
        let number = match self.free.pop() {
            Some(number) => {
                self.named[number as usize - 1] = (pattern, 1);
                number
            }
            None => {
                self.named.push((pattern, 1));
                self.named.len() as u32
            }
        };
        names.insert(name, number);
        number
    }

    fn release(&mut self, number: u32) {
        if number == ANY {
            return;
        }
        let (pattern, count) = &mut self.named[number as usize - 1];
        *count -= 1;
        if *count == 0 {
            match pattern {
                Pattern::Exact(name) => self.exact.remove(name),
                Pattern::Below(name) => self.below.remove(name),
            };
            self.free.push(number);
        }
    }

    /// Numbers of all patterns that match an event type.
    fn of_event(&self, event_type: &str, mut each: impl FnMut(u32)) {
        each(ANY);
        if let Some(number) = self.exact.get(event_type) {
            each(*number);
        }
        if self.below.is_empty() {
            return;
        }
        let mut name = event_type;
        while let Some((parent, _)) = name.rsplit_once('.') {
            if let Some(number) = self.below.get(parent) {
                each(*number);
            }
            name = parent;
        }
    }
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
