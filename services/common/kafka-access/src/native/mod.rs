//! Administration that librdkafka has and rdkafka does not wrap: ACLs and SCRAM credentials.
//!
//! Each call has a queue of its own for its one answer, and blocks a thread meant for blocking until the answer is there or
//! [`WITHIN`] has passed. Dropping the future of a call does not stop the call.
//!
//! What librdkafka 2.12 offers is not used where it cannot be trusted: describing SCRAM credentials, which frees memory that it
//! does not own when Kafka refuses, and the answer to describing ACLs, which is empty when Kafka refuses (see
//! [`Admin::check`]).

mod acls;
mod owned;
mod scram;

use std::ffi::{CStr, CString, c_char};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pushrail_kafka::Connection;
use rdkafka::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, Producer as _, ProducerContext};
use rdkafka_sys as sys;
use rdkafka_sys::{
    rd_kafka_AdminOptions_t, rd_kafka_admin_op_t, rd_kafka_error_t, rd_kafka_event_t,
    rd_kafka_queue_t, rd_kafka_t,
};
use tokio::time::Instant;

use crate::Error;
use owned::Owned;

/// Longest that Kafka may take; it usually takes some milliseconds.
const WITHIN: Duration = Duration::from_secs(15);
/// How often it is looked whether the client complains while it waits.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A connection for administration.
pub(crate) struct Admin {
    pub(crate) client: Arc<Client>,
}

/// A producer that produces nothing: of all clients it is the one that can be polled for complaints without a thread of its own.
pub(crate) type Client = BaseProducer<Complaints>;

/// What is being done to whom, for errors.
#[derive(Clone, Debug)]
struct Task {
    doing: &'static str,
    of: String,
}

impl Admin {
    /// Connects on first use.
    pub(crate) fn connect(connection: &Connection) -> Result<Admin, Error> {
        let config = connection.admin("pushrail-kafka-access");
        let client = Client::from_config_and_context(&config, Complaints::default());
        Ok(Admin {
            client: Arc::new(client.map_err(Error::Client)?),
        })
    }

    async fn blocking<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Client) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let client = Arc::clone(&self.client);
        let call = tokio::task::spawn_blocking(move || call(&client));
        call.await.expect("a call to librdkafka does not panic")
    }
}

/// Hands a request to librdkafka with `submit`, waits for its answer, and lets `read` take it apart.
///
/// `submit` gets pointers that live until it returns, and must give exactly one request to the queue. `read` gets an event
/// that lives until it returns and is no error.
fn ask<T>(
    client: &Client,
    op: rd_kafka_admin_op_t,
    task: &Task,
    submit: impl FnOnce(*mut rd_kafka_t, *const rd_kafka_AdminOptions_t, *mut rd_kafka_queue_t),
    read: impl FnOnce(*mut rd_kafka_event_t) -> Result<T, Error>,
) -> Result<T, Error> {
    let native = client.client().native_ptr();
    client.context().clear();
    // SAFETY: the client lives for as long as it is borrowed, which is longer than `options` and `queue` do. Each is destroyed
    // once, by its own function. A request that is still under way keeps the queue alive by itself.
    let (options, queue) = unsafe {
        (
            Owned::new(
                sys::rd_kafka_AdminOptions_new(native, op),
                sys::rd_kafka_AdminOptions_destroy,
            ),
            Owned::new(sys::rd_kafka_queue_new(native), sys::rd_kafka_queue_destroy),
        )
    };
    let (Some(options), Some(queue)) = (options, queue) else {
        return Err(task.no_answer("librdkafka has no memory"));
    };
    let mut text = [0 as c_char; 256];
    // SAFETY: `options` is live, and `text` is as long as it is said to be.
    unsafe {
        sys::rd_kafka_AdminOptions_set_request_timeout(
            options.ptr(),
            WITHIN.as_millis() as i32,
            text.as_mut_ptr(),
            text.len(),
        );
    }
    submit(native, options.ptr(), queue.ptr());
    // Longer than librdkafka itself waits, which says more about what went wrong.
    let until = Instant::now() + WITHIN + Duration::from_secs(1);
    let event = loop {
        // SAFETY: the queue is live, and the event ours to destroy.
        let event = unsafe {
            let event = sys::rd_kafka_queue_poll(queue.ptr(), LOOK_EVERY.as_millis() as i32);
            Owned::new(event, sys::rd_kafka_event_destroy)
        };
        if let Some(event) = event {
            break event;
        }
        client.poll(Duration::ZERO);
        // The client would try for ever, and never answer: what it is refused with is nothing that time mends.
        if let Some(reason) = client.context().refused() {
            return Err(task.no_answer(&reason));
        }
        if Instant::now() > until {
            return Err(task.no_answer("Kafka does not answer"));
        }
    };
    // SAFETY: the event is live.
    let error = unsafe { sys::rd_kafka_event_error(event.ptr()) };
    if error != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        client.poll(Duration::ZERO);
        // SAFETY: the text lives as long as the event does.
        let reason = unsafe { string(sys::rd_kafka_event_error_string(event.ptr())) };
        let complaint = client.context().last().map(|text| format!(" ({text})"));
        return Err(task.no_answer(&format!("{reason}{}", complaint.unwrap_or_default())));
    }
    read(event.ptr())
}

impl Task {
    fn new(doing: &'static str, of: impl Into<String>) -> Task {
        Task {
            doing,
            of: of.into(),
        }
    }

    fn no_answer(&self, reason: &str) -> Error {
        Error::NoAnswer {
            doing: self.doing,
            of: self.of.clone(),
            reason: reason.to_owned(),
        }
    }

    /// The error that `error` is, if it is one. Codes are compared by name: one that librdkafka has no name for must not
    /// become a value of a Rust enum.
    ///
    /// # Safety
    ///
    /// `error` must be null or live.
    unsafe fn check(&self, error: *const rd_kafka_error_t) -> Result<(), Error> {
        if error.is_null() {
            return Ok(());
        }
        // SAFETY: it is live, and so are its texts.
        let (code, reason) = unsafe {
            (
                string(sys::rd_kafka_error_name(error)),
                string(sys::rd_kafka_error_string(error)),
            )
        };
        match &*code {
            "NO_ERROR" => Ok(()),
            _ => Err(Error::Refused {
                doing: self.doing,
                of: self.of.clone(),
                code,
                reason,
            }),
        }
    }
}

/// A copy of a text of librdkafka's; empty for null.
///
/// # Safety
///
/// `text` must be null, or point to a live text that ends with a zero.
unsafe fn string(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: as the caller promises.
    unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned()
}

/// What librdkafka returns as a pointer and a count.
///
/// # Safety
///
/// `items` must be null or have `count` elements that live for `'a`.
unsafe fn slice<'a, T>(items: *mut *const T, count: usize) -> &'a [*const T] {
    if items.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: as the caller promises.
    unsafe { std::slice::from_raw_parts(items, count) }
}

/// Names here come from checked ids, and Kafka's own contain no zero either.
fn c_string(text: &str) -> CString {
    CString::new(text).expect("a name contains no zero byte")
}

/// What the client complains of, kept until somebody asks. A wrong password of ours shows nowhere else.
#[derive(Default)]
pub(crate) struct Complaints(Mutex<Option<(RDKafkaErrorCode, String)>>);

impl Complaints {
    fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn last(&self) -> Option<String> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().map(|(_, text)| text.clone())
    }

    /// Why Kafka does not let us in.
    fn refused(&self) -> Option<String> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = last
            .as_ref()
            .filter(|(code, _)| *code == RDKafkaErrorCode::Authentication);
        refused.map(|(_, text)| text.clone())
    }
}

impl ClientContext for Complaints {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, message, "kafka_access.client");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if let Some(code) = error.rdkafka_error_code() {
            let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            *last = Some((code, reason.to_owned()));
        }
    }
}

impl ProducerContext for Complaints {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}
