//! librdkafka as this crate uses it: one producer that is told whom it may connect to. All `unsafe` of the crate is here.
//!
//! rdkafka's own producers cannot be given a `connect_cb`, so this one is made over `rdkafka-sys`. librdkafka resolves names
//! itself, those that were entered and those that brokers name in their metadata, and calls back with each address before it
//! connects. [`connect`] judges that address and opens the connection to it, on the socket that librdkafka made: what was vetted
//! is what is connected to, and nothing is looked up in between.
//!
//! Everything that librdkafka has to say comes out of [`Producer::poll`] as [`Event`]s, on the caller's thread. Error codes are
//! numbers here: a broker may send any, and a Rust enum must not hold one that it does not know.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use libc::{sockaddr, socklen_t};
use pushrail_egress::Rules;
use rdkafka_sys as sys;
use socket2::{SockAddr, SockAddrStorage, SockRef};
use tokio::sync::Notify;

/// Errno of a connection that is on its way (Linux).
const EINPROGRESS: i32 = 115;
/// Errno of what an administrator forbids (Linux).
const EPERM: i32 = 1;
const ERROR_LEN_MAX: usize = 512;

/// What librdkafka has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// What became of a message: 0, or an error's number.
    Report {
        tag: Tag,
        code: i32,
        partition: i32,
        offset: i64,
    },
    /// A failure that is not a message's.
    Trouble { code: i32, text: Box<str> },
    /// A broker's certificate does not hold: OpenSSL's number of why.
    Certificate(i32),
    /// An address was not connected to, because it must not be.
    Blocked,
}

/// Which call's message, and which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    pub(crate) call: u32,
    pub(crate) index: u32,
}

impl Tag {
    fn to_ptr(self) -> *mut c_void {
        ptr::without_provenance_mut((self.call as usize) << 32 | self.index as usize)
    }

    fn from_ptr(ptr: *mut c_void) -> Self {
        let packed = ptr.addr();
        Tag {
            call: (packed >> 32) as u32,
            index: packed as u32,
        }
    }
}

/// A message as librdkafka takes it.
pub(crate) struct Message<'a> {
    pub(crate) topic: &'a CStr,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: &'a [u8],
    pub(crate) headers: &'a [(&'static CStr, Vec<u8>)],
}

/// A producer. It is destroyed on a thread of its own, because that waits for librdkafka's threads.
pub(crate) struct Producer {
    client: NonNull<sys::rd_kafka_t>,
    queue: NonNull<sys::rd_kafka_queue_t>,
    shared: Arc<Shared>,
}

// SAFETY: librdkafka's handles may be used from any thread at the same time.
unsafe impl Send for Producer {}
// SAFETY: as above.
unsafe impl Sync for Producer {}

/// What callbacks reach. librdkafka keeps a pointer to it, so it outlives the client.
struct Shared {
    rules: Arc<Rules>,
    events: Mutex<Vec<Event>>,
    wake: Notify,
}

impl Shared {
    fn push(&self, event: Event) {
        self.events().push(event);
    }

    fn events(&self) -> MutexGuard<'_, Vec<Event>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Producer {
    /// Makes a producer with these properties; it connects when it is given something. Reading certificates takes some
    /// milliseconds, so this is no call for a worker's thread. The error never quotes a value.
    pub(crate) fn new(
        properties: &[(&'static str, String)],
        rules: Arc<Rules>,
    ) -> Result<Self, &'static str> {
        let shared = Arc::new(Shared {
            rules,
            events: Mutex::default(),
            wake: Notify::new(),
        });
        let conf = Conf::new(properties)?;
        let opaque = Arc::as_ptr(&shared).cast_mut().cast::<c_void>();
        // SAFETY: `conf` is live until `rd_kafka_new` takes it; `shared` is dropped after the client is destroyed.
        let client = unsafe {
            sys::rd_kafka_conf_set_opaque(conf.0, opaque);
            sys::rd_kafka_conf_set_connect_cb(conf.0, Some(connect));
            sys::rd_kafka_conf_set_ssl_cert_verify_cb(conf.0, Some(verified));
            sys::rd_kafka_conf_set_dr_msg_cb(conf.0, Some(reported));
            sys::rd_kafka_conf_set_error_cb(conf.0, Some(failed));
            // Its log names addresses, and what matters comes as an error.
            sys::rd_kafka_conf_set_log_cb(conf.0, None);
            let mut error = [0 as c_char; ERROR_LEN_MAX];
            let producer = sys::rd_kafka_type_t::RD_KAFKA_PRODUCER;
            let client = sys::rd_kafka_new(producer, conf.0, error.as_mut_ptr(), error.len());
            NonNull::new(client).ok_or("the Kafka client could not be made")?
        };
        // It belongs to the client now.
        std::mem::forget(conf);
        // SAFETY: the client is live; `shared` outlives the queue's callback, which `Drop` disables first.
        let queue = unsafe {
            let queue = sys::rd_kafka_queue_get_main(client.as_ptr());
            sys::rd_kafka_queue_cb_event_enable(queue, Some(stirred), opaque);
            NonNull::new(queue).ok_or("the Kafka client has no queue")?
        };
        Ok(Producer {
            client,
            queue,
            shared,
        })
    }

    /// Told whenever there may be something to poll.
    pub(crate) fn wake(&self) -> &Notify {
        &self.shared.wake
    }

    /// Queues a message, which is copied; its fate comes back as [`Event::Report`]. An error's number when it was not taken.
    pub(crate) fn send(&self, message: &Message<'_>, tag: Tag) -> Result<(), i32> {
        use sys::rd_kafka_vtype_t::{
            RD_KAFKA_VTYPE_HEADER, RD_KAFKA_VTYPE_KEY, RD_KAFKA_VTYPE_MSGFLAGS,
            RD_KAFKA_VTYPE_OPAQUE, RD_KAFKA_VTYPE_TOPIC, RD_KAFKA_VTYPE_VALUE,
        };
        let memory = |bytes: &[u8]| Value {
            mem: sys::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 {
                ptr: bytes.as_ptr().cast_mut().cast(),
                size: bytes.len(),
            },
        };
        let part = |vtype, u| sys::rd_kafka_vu_t { vtype, u };
        let mut parts = smallvec::SmallVec::<[sys::rd_kafka_vu_t; 16]>::new();
        parts.push(part(
            RD_KAFKA_VTYPE_TOPIC,
            Value {
                cstr: message.topic.as_ptr(),
            },
        ));
        parts.push(part(
            RD_KAFKA_VTYPE_MSGFLAGS,
            Value {
                i: sys::RD_KAFKA_MSG_F_COPY,
            },
        ));
        parts.push(part(RD_KAFKA_VTYPE_OPAQUE, Value { ptr: tag.to_ptr() }));
        parts.push(part(RD_KAFKA_VTYPE_VALUE, memory(message.value)));
        if let Some(key) = message.key {
            parts.push(part(RD_KAFKA_VTYPE_KEY, memory(key)));
        }
        for (name, value) in message.headers {
            let header = sys::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_2 {
                name: name.as_ptr(),
                val: value.as_ptr().cast(),
                size: value.len() as isize,
            };
            parts.push(part(RD_KAFKA_VTYPE_HEADER, Value { header }));
        }
        // SAFETY: the client is live; each part has the member that its type reads; everything that they point to lives until
        // this returns, and is copied.
        unsafe {
            let error = sys::rd_kafka_produceva(self.client.as_ptr(), parts.as_ptr(), parts.len());
            if error.is_null() {
                return Ok(());
            }
            let code = error_number(error);
            sys::rd_kafka_error_destroy(error);
            Err(code)
        }
    }

    /// Serves what has come in, without waiting, and takes it.
    pub(crate) fn poll(&self) -> Vec<Event> {
        // SAFETY: the client is live. The callbacks that this calls take `shared`'s lock and return.
        unsafe { sys::rd_kafka_poll(self.client.as_ptr(), 0) };
        std::mem::take(&mut *self.shared.events())
    }

    /// The token that connections show from now on, good for `life`. The error says that librdkafka does not take it.
    pub(crate) fn set_token(
        &self,
        token: &str,
        life: Duration,
        extensions: &[(Box<str>, Box<str>)],
    ) -> Result<(), ()> {
        let text = |text: &str| CString::new(text).map_err(|_| ());
        let token = text(token)?;
        let extensions: Vec<CString> = extensions
            .iter()
            .flat_map(|(name, value)| [text(name), text(value)])
            .collect::<Result<_, ()>>()?;
        let mut pointers: Vec<*const c_char> = extensions.iter().map(|e| e.as_ptr()).collect();
        let ends_ms = pushrail_clock::now_ms().saturating_add(life.as_millis() as i64);
        let mut error = [0 as c_char; ERROR_LEN_MAX];
        // SAFETY: the client is live, and so is everything pointed to; it is copied.
        let result = unsafe {
            sys::rd_kafka_oauthbearer_set_token(
                self.client.as_ptr(),
                token.as_ptr(),
                ends_ms,
                c"pushrail".as_ptr(),
                pointers.as_mut_ptr(),
                pointers.len(),
                error.as_mut_ptr(),
                error.len(),
            )
        };
        match result {
            sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
            _ => Err(()),
        }
    }
}

type Value = sys::rd_kafka_vu_s__bindgen_ty_1;

impl Drop for Producer {
    fn drop(&mut self) {
        let remains = Remains {
            client: self.client,
            queue: self.queue,
            _shared: Arc::clone(&self.shared),
        };
        let thread = std::thread::Builder::new().name("kafka-destroy".into());
        if let Err(error) = thread.spawn(move || drop(remains)) {
            // The closure went with the error, and so did what it held: here and now.
            tracing::warn!(%error, "kafka_destination.destroyed_in_place");
        }
    }
}

/// What is left of a producer. Dropping it waits for librdkafka's threads.
struct Remains {
    client: NonNull<sys::rd_kafka_t>,
    queue: NonNull<sys::rd_kafka_queue_t>,
    _shared: Arc<Shared>,
}

// SAFETY: as for `Producer`.
unsafe impl Send for Remains {}

impl Drop for Remains {
    fn drop(&mut self) {
        const EVERYTHING: c_int = sys::RD_KAFKA_PURGE_F_QUEUE
            | sys::RD_KAFKA_PURGE_F_INFLIGHT
            | sys::RD_KAFKA_PURGE_F_NON_BLOCKING;
        // SAFETY: both are live and nobody else has them. When the callback is disabled nobody is in it; the queue goes before
        // its client; when the client is destroyed none of its threads is left that could reach `shared`.
        unsafe {
            sys::rd_kafka_queue_cb_event_enable(self.queue.as_ptr(), None, ptr::null_mut());
            sys::rd_kafka_purge(self.client.as_ptr(), EVERYTHING);
            sys::rd_kafka_queue_destroy(self.queue.as_ptr());
            sys::rd_kafka_destroy(self.client.as_ptr());
        }
    }
}

/// A configuration that no client has taken yet.
struct Conf(*mut sys::rd_kafka_conf_t);

impl Conf {
    fn new(properties: &[(&'static str, String)]) -> Result<Self, &'static str> {
        // SAFETY: what is returned is ours.
        let conf = Conf(unsafe { sys::rd_kafka_conf_new() });
        for (name, value) in properties {
            let name = CString::new(*name).map_err(|_| "a property's name has a zero")?;
            let value = CString::new(value.as_str()).map_err(|_| "a property has a zero in it")?;
            let mut error = [0 as c_char; ERROR_LEN_MAX];
            // SAFETY: everything is live, and copied.
            let result = unsafe {
                sys::rd_kafka_conf_set(
                    conf.0,
                    name.as_ptr(),
                    value.as_ptr(),
                    error.as_mut_ptr(),
                    error.len(),
                )
            };
            if result != sys::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK {
                tracing::error!(property = ?name, "kafka_destination.property_refused");
                return Err("the Kafka client does not take its settings");
            }
        }
        Ok(conf)
    }
}

impl Drop for Conf {
    fn drop(&mut self) {
        // SAFETY: it is ours, and forgotten where a client has taken it.
        unsafe { sys::rd_kafka_conf_destroy(self.0) };
    }
}

/// The number of an error, whatever it is.
///
/// # Safety
///
/// `error` must be live.
unsafe fn error_number(error: *const sys::rd_kafka_error_t) -> i32 {
    unsafe extern "C" {
        // As in `rdkafka-sys`, but for what it returns: see the module.
        #[link_name = "rd_kafka_error_code"]
        fn number(error: *const sys::rd_kafka_error_t) -> c_int;
    }
    // SAFETY: it is live; the C enum is an int.
    unsafe { number(error) }
}

/// # Safety
///
/// `opaque` must be the pointer that [`Producer::new`] gave to a client that is not destroyed yet.
unsafe fn shared<'a>(opaque: *mut c_void) -> &'a Shared {
    // SAFETY: as the caller promises.
    unsafe { &*opaque.cast::<Shared>() }
}

/// Whether and how to connect to an address: 0, or why not. On a thread of librdkafka.
unsafe extern "C" fn connect(
    socket: c_int,
    address: *const sockaddr,
    len: c_int,
    _: *const c_char,
    opaque: *mut c_void,
) -> c_int {
    // SAFETY: librdkafka gives an open socket, an address of `len` bytes and our pointer.
    let (shared, socket, address) = unsafe {
        (
            shared(opaque),
            BorrowedFd::borrow_raw(socket),
            address_of(address.cast(), len),
        )
    };
    let Some((address, target)) = address else {
        return EPERM;
    };
    if shared.rules.guard.check(target.ip()).is_err() {
        shared.push(Event::Blocked);
        shared.wake.notify_waiters();
        return EPERM;
    }
    match SockRef::from(&socket).connect(&address) {
        Ok(()) => 0,
        Err(error) => match error.raw_os_error() {
            Some(EINPROGRESS) => 0,
            Some(code) => code,
            None => EPERM,
        },
    }
}

/// A copy of an address, for the kernel and for judging. `None` for what is no IP address.
///
/// # Safety
///
/// `from` must have `len` bytes.
unsafe fn address_of(from: *const u8, len: c_int) -> Option<(SockAddr, SocketAddr)> {
    let mut storage = SockAddrStorage::zeroed();
    let len = usize::try_from(len).ok()?;
    if len > size_of_val(&storage) {
        return None;
    }
    let address = unsafe {
        // SAFETY: both have `len` bytes, and do not overlap.
        ptr::copy_nonoverlapping(from, ptr::from_mut(&mut storage).cast::<u8>(), len);
        // SAFETY: librdkafka's addresses are what the kernel takes, of this length.
        SockAddr::new(storage, len as socklen_t)
    };
    let target = address.as_socket()?;
    Some((address, target))
}

/// OpenSSL's judgement of a certificate stands; it is only noted. On a thread of librdkafka.
unsafe extern "C" fn verified(
    _: *mut sys::rd_kafka_t,
    _: *const c_char,
    _: i32,
    x509_error: *mut c_int,
    _depth: c_int,
    _: *const c_char,
    _: usize,
    _: *mut c_char,
    _: usize,
    opaque: *mut c_void,
) -> c_int {
    // SAFETY: librdkafka gives a live number and our pointer.
    let (shared, code) = unsafe { (shared(opaque), *x509_error) };
    if code == 0 {
        return 1;
    }
    shared.push(Event::Certificate(code));
    0
}

/// In [`Producer::poll`].
unsafe extern "C" fn reported(
    _: *mut sys::rd_kafka_t,
    message: *const sys::rd_kafka_message_t,
    opaque: *mut c_void,
) {
    // SAFETY: librdkafka gives a live message and our pointer. Its error is read as the number that it is: see the module.
    let (shared, event) = unsafe {
        let event = Event::Report {
            tag: Tag::from_ptr((*message)._private),
            code: ptr::addr_of!((*message).err).cast::<c_int>().read(),
            partition: (*message).partition,
            offset: (*message).offset,
        };
        (shared(opaque), event)
    };
    shared.push(event);
}

/// In [`Producer::poll`].
unsafe extern "C" fn failed(
    _: *mut sys::rd_kafka_t,
    code: c_int,
    reason: *const c_char,
    opaque: *mut c_void,
) {
    // SAFETY: librdkafka gives a live text, or none, and our pointer.
    let (shared, text) = unsafe {
        let text = match reason.is_null() {
            true => "".into(),
            false => CStr::from_ptr(reason).to_string_lossy(),
        };
        (shared(opaque), text)
    };
    shared.push(Event::Trouble {
        code,
        text: pushrail_egress::bounded(text.into_owned()),
    });
}

/// There is something to poll. On a thread of librdkafka.
unsafe extern "C" fn stirred(_: *mut sys::rd_kafka_t, opaque: *mut c_void) {
    // SAFETY: this is our pointer.
    unsafe { shared(opaque) }.wake.notify_waiters();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_comes_back_as_it_was() {
        for (call, index) in [(0, 0), (1, 2), (u32::MAX, u32::MAX - 1)] {
            let tag = Tag { call, index };
            assert_eq!(Tag::from_ptr(tag.to_ptr()), tag);
        }
    }

    #[test]
    fn an_address_is_read_as_the_kernel_does() {
        for text in ["203.0.113.7:9092", "[2001:db8::1]:9093"] {
            let expected: SocketAddr = text.parse().unwrap();
            let given = SockAddr::from(expected);
            // SAFETY: it has as many bytes as it says.
            let read = unsafe { address_of(given.as_ptr().cast(), given.len() as c_int) };
            assert_eq!(read.unwrap().1, expected);
        }
    }

    #[test]
    fn settings_that_are_none_make_no_client_and_show_no_value() {
        let rules = Arc::new(Rules::new(&Default::default()));
        for value in ["s3cret\0", "s3cret"] {
            let made = Producer::new(&[("acks", value.to_owned())], Arc::clone(&rules));
            assert!(!made.err().unwrap().contains("s3cret"));
        }
    }
}
