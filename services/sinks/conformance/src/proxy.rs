//! A proxy between an adapter and its server that makes the trouble that servers do not make when asked.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::interval;

/// What a proxy does with connections and what they carry. It takes effect at once, on open connections as well.
#[derive(Clone, Debug, Default)]
pub enum Fault {
    /// Passes everything on.
    #[default]
    None,
    /// Takes what comes, and neither passes it on nor answers.
    Hang,
    /// Passes the server's answers on one byte at a time.
    Drip(Duration),
    /// Answers in the server's place once the client has sent `when` (at once, where that is empty): `head`, and then `then`
    /// again and again for ever, where there is something. An HTTP request is read to its end first.
    Answer {
        when: Bytes,
        head: Bytes,
        then: Bytes,
    },
}

impl Fault {
    /// A whole HTTP answer.
    pub fn http(status: &str, headers: &[(&str, &str)], body: &str) -> Fault {
        let mut head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        head.push_str(body);
        Fault::Answer {
            when: Bytes::new(),
            head: head.into(),
            then: Bytes::new(),
        }
    }

    /// An HTTP answer whose body never ends.
    pub fn http_endless(status: &str) -> Fault {
        let head = format!("HTTP/1.1 {status}\r\ntransfer-encoding: chunked\r\n\r\n");
        let chunk = [b"1000\r\n".as_slice(), &[b'x'; 4096], b"\r\n"].concat();
        Fault::Answer {
            when: Bytes::new(),
            head: head.into(),
            then: chunk.into(),
        }
    }
}

/// How connections stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Ever opened, and open now.
    pub opened: usize,
    pub open: usize,
    /// Bytes that clients have sent.
    pub sent: usize,
    /// Bytes that clients have taken.
    pub taken: usize,
}

/// See the module. It stops when it is dropped.
pub struct Proxy {
    address: SocketAddr,
    server: SocketAddr,
    fault: Arc<watch::Sender<Fault>>,
    counts: Arc<watch::Sender<Counts>>,
    accepting: Mutex<Option<JoinHandle<()>>>,
}

impl Proxy {
    pub async fn start(server: SocketAddr) -> Proxy {
        Proxy::start_on(0, server).await
    }

    /// On this port; 0 finds a free one.
    pub async fn start_on(port: u16, server: SocketAddr) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .await
            .expect("a port on loopback");
        let proxy = Proxy {
            address: listener.local_addr().expect("the port's address"),
            server,
            fault: Arc::new(watch::Sender::new(Fault::None)),
            counts: Arc::default(),
            accepting: Mutex::default(),
        };
        proxy.accept(listener);
        proxy
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    pub fn now(&self) -> Counts {
        *self.counts.borrow()
    }

    /// Waits until the connections stand like this.
    pub async fn until(&self, condition: impl FnMut(&Counts) -> bool) -> Result<Counts, String> {
        const PATIENCE: Duration = Duration::from_secs(20);
        let mut counts = self.counts.subscribe();
        match tokio::time::timeout(PATIENCE, counts.wait_for(condition)).await {
            Ok(Ok(counts)) => Ok(*counts),
            _ => Err(format!("the connections never got there: {:?}", self.now())),
        }
    }

    /// As a server that has died: every connection breaks, and new ones are refused.
    pub async fn stop(&self) {
        let accepting = self.slot().take();
        if let Some(accepting) = accepting {
            accepting.abort();
            // The listener goes with its task.
            let _ = accepting.await;
        }
    }

    /// As a server that has come back, at the same address.
    pub async fn restart(&self) {
        let listener = TcpListener::bind(self.address).await;
        self.accept(listener.expect("the port that was just given back"));
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<JoinHandle<()>>> {
        self.accepting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(&self, listener: TcpListener) {
        let (server, fault, counts) = (
            self.server,
            Arc::clone(&self.fault),
            Arc::clone(&self.counts),
        );
        let task = tokio::spawn(async move {
            // Connections end with the task.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (fault, counted) = (fault.subscribe(), Counted::new(&counts));
                connections.spawn(async move {
                    let _ = carry(client, server, fault, &counted).await;
                });
            }
        });
        *self.slot() = Some(task);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(accepting) = self.slot().take() {
            accepting.abort();
        }
    }
}

/// Counts a connection for as long as it lives.
struct Counted(Arc<watch::Sender<Counts>>);

impl Counted {
    fn new(counts: &Arc<watch::Sender<Counts>>) -> Self {
        counts.send_modify(|counts| {
            counts.opened += 1;
            counts.open += 1;
        });
        Counted(Arc::clone(counts))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|counts| counts.open -= 1);
    }
}

const BUFFER: usize = 16 * 1024;

async fn carry(
    client: TcpStream,
    server: SocketAddr,
    fault: watch::Receiver<Fault>,
    counted: &Counted,
) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    let server = TcpStream::connect(server).await?;
    server.set_nodelay(true)?;
    let (mut from_client, to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    let to_client = Arc::new(tokio::sync::Mutex::new(to_client));
    let answers = answers(from_server, Arc::clone(&to_client), fault.clone(), counted);
    let requests = async {
        let (mut buffer, mut seen) = (vec![0; BUFFER], Vec::new());
        loop {
            let read = from_client.read(&mut buffer).await?;
            if read == 0 {
                return Ok(());
            }
            counted.0.send_modify(|counts| counts.sent += read);
            let now = fault.borrow().clone();
            match now {
                Fault::None | Fault::Drip(_) => to_server.write_all(&buffer[..read]).await?,
                Fault::Hang => {}
                Fault::Answer { when, head, then } => {
                    seen.extend_from_slice(&buffer[..read]);
                    if !when.is_empty() && memmem::find(&seen, &when).is_none() {
                        to_server.write_all(&buffer[..read]).await?;
                        continue;
                    }
                    if is_whole(&seen) {
                        seen.clear();
                        let mut to_client = to_client.lock().await;
                        endless(&mut to_client, &head, &then, counted).await?;
                    }
                }
            }
        }
    };
    tokio::select! {
        result = answers => result,
        result = requests => result,
    }
}

/// Passes on what the server says.
async fn answers(
    mut from_server: OwnedReadHalf,
    to_client: Arc<tokio::sync::Mutex<OwnedWriteHalf>>,
    fault: watch::Receiver<Fault>,
    counted: &Counted,
) -> std::io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = from_server.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        let mut to_client = to_client.lock().await;
        let now = fault.borrow().clone();
        match now {
            Fault::Hang => {}
            Fault::Drip(every) => {
                let mut tick = interval(every);
                for byte in &buffer[..read] {
                    tick.tick().await;
                    to_client.write_all(&[*byte]).await?;
                }
            }
            Fault::None | Fault::Answer { .. } => {
                counted.0.send_modify(|counts| counts.taken += read);
                to_client.write_all(&buffer[..read]).await?;
            }
        }
    }
}

async fn endless(
    to_client: &mut OwnedWriteHalf,
    head: &[u8],
    then: &[u8],
    counted: &Counted,
) -> std::io::Result<()> {
    to_client.write_all(head).await?;
    while !then.is_empty() {
        to_client.write_all(then).await?;
        counted.0.send_modify(|counts| counts.taken += then.len());
    }
    Ok(())
}

/// Whether what was read is not the beginning of an HTTP request whose end is still to come.
fn is_whole(seen: &[u8]) -> bool {
    const METHODS: [&[u8]; 5] = [b"GET ", b"PUT ", b"POST ", b"HEAD ", b"DELETE "];
    if !METHODS.iter().any(|method| seen.starts_with(method)) {
        return true;
    }
    let Some(end) = memmem::find(seen, b"\r\n\r\n") else {
        return false;
    };
    let head = String::from_utf8_lossy(&seen[..end]).to_ascii_lowercase();
    if head.contains("transfer-encoding: chunked") {
        return seen.ends_with(b"0\r\n\r\n");
    }
    let length = head.lines().find_map(|l| l.strip_prefix("content-length:"));
    let length = length.and_then(|text| text.trim().parse::<usize>().ok());
    seen.len() >= end + 4 + length.unwrap_or(0)
}
