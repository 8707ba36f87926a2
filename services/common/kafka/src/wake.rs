//! Being told that a client has something to poll.

use std::ffi::c_void;

use rdkafka::types::RDKafka;
use rdkafka_sys::{
    rd_kafka_queue_cb_event_enable, rd_kafka_queue_destroy, rd_kafka_queue_get_main,
    rd_kafka_queue_t,
};

type Callback = Box<dyn Fn() + Send + Sync>;

/// Calls back, on a thread of librdkafka, whenever a client's queue stops being empty; until dropped.
pub(crate) struct Wake {
    queue: *mut rd_kafka_queue_t,
    /// Boxed twice, because librdkafka keeps one thin pointer.
    _callback: Box<Callback>,
}

// SAFETY: librdkafka's queues may be used from any thread, and the callback is `Send + Sync`.
unsafe impl Send for Wake {}
// SAFETY: a shared reference gives access to nothing.
unsafe impl Sync for Wake {}

impl Wake {
    /// # Safety
    ///
    /// `client` must be a live client, and outlive what is returned.
    pub(crate) unsafe fn new(client: *mut RDKafka, callback: Callback) -> Self {
        let callback = Box::new(callback);
        let opaque = std::ptr::from_ref::<Callback>(&callback)
            .cast_mut()
            .cast::<c_void>();
        // SAFETY: the client is live, and the callback stays where it is until `drop` has disabled it.
        let queue = unsafe {
            let queue = rd_kafka_queue_get_main(client);
            rd_kafka_queue_cb_event_enable(queue, Some(call), opaque);
            queue
        };
        Wake {
            queue,
            _callback: callback,
        }
    }
}

impl Drop for Wake {
    fn drop(&mut self) {
        // SAFETY: the queue is ours and the client still lives. librdkafka calls back with the queue's lock held, and
        // takes the same lock here: afterwards nobody is in the callback, or will be.
        unsafe {
            rd_kafka_queue_cb_event_enable(self.queue, None, std::ptr::null_mut());
            rd_kafka_queue_destroy(self.queue);
        }
    }
}

unsafe extern "C" fn call(_: *mut RDKafka, opaque: *mut c_void) {
    // SAFETY: `Wake::new` gave this pointer, and it is valid until the callback is disabled.
    let callback = unsafe { &*opaque.cast::<Callback>() };
    callback();
}
