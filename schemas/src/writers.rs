//! Writers' schemas by id, as direct publishing needs them: looked up once, judged once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::event_input::{SchemaError, Writer};
use crate::registry::{Registry, RegistryError};

/// Kept at most, because ids come from whoever publishes; beyond that all are forgotten and asked for again.
const KNOWN_MAX: usize = 4_096;

/// Why a record's schema is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriterError {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error("schema id {id}: {error}")]
    Schema { id: u32, error: SchemaError },
}

impl WriterError {
    /// Whether the same question may get an answer later: then the record has to wait, and is not to blame.
    pub fn retryable(&self) -> bool {
        matches!(self, WriterError::Registry(error) if error.retryable())
    }
}

/// See the module. [`Writers::known`] answers at once and fits a handler that must not wait; what it doesn't know,
/// [`Writers::fetch`] asks the registry for.
#[derive(Debug)]
pub struct Writers {
    registry: Arc<Registry>,
    known: Mutex<HashMap<u32, Result<Arc<Writer>, WriterError>>>,
}

impl Writers {
    pub fn new(registry: Arc<Registry>) -> Self {
        Writers {
            registry,
            known: Mutex::default(),
        }
    }

    /// The writer of `id`, or why there is none; `None` when that must be fetched.
    pub fn known(&self, id: u32) -> Option<Result<Arc<Writer>, WriterError>> {
        if let Some(known) = self.lock().get(&id) {
            return Some(known.clone());
        }
        let schema = self.registry.known_schema(id)?;
        match schema {
            Ok(schema) => Some(self.judge(id, &schema)),
            // The registry client knows for how long that holds.
            Err(error) => Some(Err(error.into())),
        }
    }

    /// As [`Writers::known`], and asks the registry where that knows nothing.
    pub async fn fetch(&self, id: u32) -> Result<Arc<Writer>, WriterError> {
        match self.known(id) {
            Some(known) => known,
            None => {
                let schema = self.registry.writer_schema(id).await?;
                self.judge(id, &schema)
            }
        }
    }

    fn judge(&self, id: u32, schema: &apache_avro::Schema) -> Result<Arc<Writer>, WriterError> {
        let judged = Writer::new(schema)
            .map(Arc::new)
            .map_err(|error| WriterError::Schema { id, error });
        let mut known = self.lock();
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(id, judged.clone());
        judged
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u32, Result<Arc<Writer>, WriterError>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
