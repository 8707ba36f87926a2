//! Writers' schemas by id: fetched aside while the partition that needs one is held, and kept.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use pushrail_obs::Condition;
use pushrail_schemas::event_input::Writer;
use pushrail_schemas::registry::{Registry, RegistryError};
use tokio::time::Instant;

/// Schemas kept. Ids come from whoever publishes, so there is a limit.
const KEPT_MAX: usize = 4_096;
/// How long a schema that is not there, or does not serve, is believed to stay so.
const REFUSED_FOR: Duration = Duration::from_secs(5);
/// How long the registry is left alone after it failed.
const PAUSE: Duration = Duration::from_millis(500);

/// What is known about a schema.
#[derive(Clone, Debug)]
pub(super) enum Known {
    /// Records can be read with it.
    Writer(Arc<Writer>),
    /// No record can; `code` and why.
    Refused(&'static str, Arc<str>),
}

/// Schemas of one worker.
#[derive(Clone)]
pub(super) struct Schemas {
    registry: Arc<Registry>,
    health: Condition,
    state: Rc<RefCell<HashMap<u32, State>>>,
}

enum State {
    Asking,
    Failed {
        again: Instant,
    },
    Known {
        known: Known,
        until: Option<Instant>,
    },
}

impl Schemas {
    pub(super) fn new(registry: Arc<Registry>, health: Condition) -> Self {
        Schemas {
            registry,
            health,
            state: Rc::default(),
        }
    }

    /// What is known of the schema with `id`; `None` while the registry is being asked, or will be asked again.
    pub(super) fn get(&self, id: u32) -> Option<Known> {
        let now = Instant::now();
        match self.state.borrow().get(&id) {
            Some(State::Known { known, until }) if until.is_none_or(|until| now < until) => {
                return Some(known.clone());
            }
            Some(State::Asking) => return None,
            Some(State::Failed { again }) if now < *again => return None,
            _ => {}
        }
        let mut state = self.state.borrow_mut();
        if state.len() >= KEPT_MAX {
            state.retain(|_, state| matches!(state, State::Asking));
        }
        state.insert(id, State::Asking);
        drop(tokio::task::spawn_local(self.clone().ask(id)));
        None
    }

    async fn ask(self, id: u32) {
        let answer = self.registry.writer_schema(id).await;
        let refused = |code, why: String| State::Known {
            known: Known::Refused(code, why.into()),
            until: Some(Instant::now() + REFUSED_FOR),
        };
        let state = match answer {
            Ok(schema) => match Writer::new(&schema) {
                Ok(writer) => State::Known {
                    known: Known::Writer(Arc::new(writer)),
                    until: None,
                },
                Err(error) => refused("schema_unsuitable", error.to_string()),
            },
            Err(error @ RegistryError::UnknownId(_)) => {
                refused("schema_unknown", error.to_string())
            }
            Err(error @ RegistryError::NotAvro { .. }) => {
                refused("schema_not_avro", error.to_string())
            }
            // Ours to mend: nothing of it is the record's fault.
            Err(error) => {
                tracing::warn!(%error, schema_id = id, "registry.no_answer");
                self.health.unmet(error.to_string());
                State::Failed {
                    again: Instant::now() + PAUSE,
                }
            }
        };
        if matches!(state, State::Known { .. }) {
            self.health.met();
        }
        self.state.borrow_mut().insert(id, state);
    }
}
