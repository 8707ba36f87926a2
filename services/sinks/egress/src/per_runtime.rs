//! What belongs to one runtime: connections are driven, and background tasks run, where they were made.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::runtime::{self, Handle};

/// One value a runtime (a worker has one), shared by all who ask there, and gone with the last of them.
pub struct PerRuntime<T>(Mutex<Vec<(runtime::Id, Weak<T>)>>);

impl<T> Default for PerRuntime<T> {
    fn default() -> Self {
        PerRuntime(Mutex::default())
    }
}

impl<T> PerRuntime<T> {
    /// The current runtime's, made when there is none.
    pub fn current(&self, make: impl FnOnce() -> T) -> Arc<T> {
        let id = Handle::current().id();
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        made.retain(|(_, value)| value.strong_count() > 0);
        let known = made.iter().find(|(of, _)| *of == id);
        if let Some(value) = known.and_then(|(_, value)| value.upgrade()) {
            return value;
        }
        let value = Arc::new(make());
        made.push((id, Arc::downgrade(&value)));
        value
    }
}
