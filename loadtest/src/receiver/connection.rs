//! One connection of a receiver: reads requests and treats each as the plan says.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::arrival::{self, Arrival};
use super::behaviour::Behaviour;
use super::request::{self, ReadError, Request, Target};
use super::{Shared, control};
use pushrail_clock::now_us;

/// Serves a connection until either side ends it.
pub(super) async fn serve(mut stream: TcpStream, thread: usize, shared: Arc<Shared>) {
    let mut buffer = BytesMut::with_capacity(4096);
    loop {
        let request = match request::read(&mut stream, &mut buffer, shared.verifier.is_some()).await
        {
            Ok(request) => request,
            Err(ReadError::Malformed(problem)) => {
                let _ = write_answer(&mut stream, 400, problem.as_bytes(), None).await;
                return;
            }
            Err(ReadError::Closed | ReadError::Io) => return,
        };
        let kept = match &request.target {
            Target::Destination(destination) => {
                deliver(&mut stream, *destination, &request, thread, &shared).await
            }
            Target::Control(name) => {
                let (status, body) = control::handle(name, &request, &shared);
                write_answer(&mut stream, status, &body, None).await
            }
            Target::Unknown => write_answer(&mut stream, 404, b"no such path", None).await,
        };
        if kept.is_err() {
            return;
        }
    }
}

/// Treats one delivery. An error ends the connection.
async fn deliver(
    stream: &mut TcpStream,
    destination: u32,
    request: &Request,
    thread: usize,
    shared: &Shared,
) -> io::Result<()> {
    let at_us = now_us();
    let (sent_us, accepted_us) = arrival::times(&request.body);
    let mut arrival = Arrival {
        event_id: request.webhook_id.map_or(0, |id| id.as_u128()),
        destination,
        status: 0,
        consistent: request.post
            && names_event(request)
            && shared.verifier.as_ref().is_none_or(|v| v.passes(request)),
        at_us,
        sent_us,
        accepted_us,
    };
    let plan = shared.plan.load();
    let behaviour = plan
        .table
        .behaviour(destination, plan.set_at.elapsed().as_millis() as u64);
    if let Behaviour::Answer {
        status,
        latency_ms: 0,
        retry_after_s,
    } = *behaviour
    {
        // The common case, without a clone of the plan: a complete answer at once.
        drop(plan);
        let written = write_answer(stream, status, b"", retry_after_s).await;
        arrival.status = if written.is_ok() { status } else { 0 };
        shared.record(thread, arrival);
        return written;
    }
    let behaviour = behaviour.clone();
    drop(plan);
    // Recorded before the misbehaviour, which may outlast the run; an answer that follows corrects the status.
    let answered = misbehave(stream, &behaviour, destination, shared, |status| {
        shared.record(thread, Arrival { status, ..arrival });
    });
    answered.await
}

/// Whether the body names the same event as the header: a cheap check that bodies are not mixed up.
fn names_event(request: &Request) -> bool {
    let Some(id) = request.webhook_id else {
        return false;
    };
    let mut text = [0u8; uuid::fmt::Hyphenated::LENGTH];
    let text = id.hyphenated().encode_lower(&mut text).as_bytes();
    memchr::memmem::find(&request.body[..request.body.len().min(512)], text).is_some()
}

async fn misbehave(
    stream: &mut TcpStream,
    behaviour: &Behaviour,
    destination: u32,
    shared: &Shared,
    record: impl FnOnce(u16),
) -> io::Result<()> {
    match *behaviour {
        Behaviour::Answer {
            status,
            latency_ms,
            retry_after_s,
        } => {
            tokio::time::sleep(Duration::from_millis(latency_ms.into())).await;
            let written = write_answer(stream, status, b"", retry_after_s).await;
            record(if written.is_ok() { status } else { 0 });
            written
        }
        Behaviour::Flaky {
            fail_per_mille,
            status,
        } => {
            // Multiplying by a number coprime to 1,000 spreads the failures instead of sending them in a row.
            let fails =
                (u64::from(shared.tick(destination)) * 617) % 1_000 < u64::from(fail_per_mille);
            let status = if fails { status } else { 200 };
            let written = write_answer(stream, status, b"", None).await;
            record(if written.is_ok() { status } else { 0 });
            written
        }
        Behaviour::Hang => {
            record(0);
            until_closed(stream).await
        }
        Behaviour::Drip { interval_ms } => {
            record(0);
            drip(stream, Duration::from_millis(interval_ms.into())).await
        }
        Behaviour::Huge { status, bytes } => {
            record(0);
            huge(stream, status, bytes).await
        }
        Behaviour::Reset => {
            record(0);
            stream.set_zero_linger()?;
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }
}

/// Waits until the client goes away; a client that pipelines is read and ignored.
async fn until_closed(stream: &mut TcpStream) -> io::Result<()> {
    let mut sink = [0u8; 1024];
    while stream.read(&mut sink).await? > 0 {}
    Err(io::ErrorKind::UnexpectedEof.into())
}

async fn drip(stream: &mut TcpStream, interval: Duration) -> io::Result<()> {
    stream
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
        .await?;
    let mut sink = [0u8; 64];
    loop {
        stream.write_all(b".").await?;
        // A client that gives up is noticed at once, not a byte later.
        if let Ok(read) = tokio::time::timeout(interval, stream.read(&mut sink)).await
            && read? == 0
        {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

async fn huge(stream: &mut TcpStream, status: u16, bytes: u64) -> io::Result<()> {
    const CHUNK: [u8; 16 * 1024] = [b'x'; 16 * 1024];
    let head = format!("HTTP/1.1 {status} Huge\r\ncontent-length: {bytes}\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut left = bytes;
    while left > 0 {
        let len = left.min(CHUNK.len() as u64) as usize;
        stream.write_all(&CHUNK[..len]).await?;
        left -= len as u64;
    }
    Ok(())
}

/// Writes a complete answer with one system call.
async fn write_answer(
    stream: &mut TcpStream,
    status: u16,
    body: &[u8],
    retry_after_s: Option<u32>,
) -> io::Result<()> {
    if status == 200 && body.is_empty() && retry_after_s.is_none() {
        return stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            .await;
    }
    let retry_after = retry_after_s.map_or_else(String::new, |s| format!("retry-after: {s}\r\n"));
    let head = format!(
        "HTTP/1.1 {status} Status\r\n{retry_after}content-length: {}\r\n\r\n",
        body.len()
    );
    let mut answer = Vec::with_capacity(head.len() + body.len());
    answer.extend_from_slice(head.as_bytes());
    answer.extend_from_slice(body);
    stream.write_all(&answer).await
}
