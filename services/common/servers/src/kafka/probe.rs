//! Asks a broker whether it serves, in its own protocol: an open port only says that something listens, and a broker opens
//! it before its controller has let it in.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A broker that serves answers in a few milliseconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// A few bytes a broker.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// How many brokers the one on `port` knows to be in the cluster.
pub(super) async fn brokers(port: u16) -> io::Result<usize> {
    tokio::time::timeout(ANSWER_WITHIN, ask(port))
        .await
        .map_err(|_| io::ErrorKind::TimedOut)?
}

async fn ask(port: u16) -> io::Result<usize> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    stream.write_all(&metadata_request()).await?;
    let len = stream.read_u32().await? as usize;
    if len > ANSWER_BYTES_MAX {
        return Err(io::Error::other("not an answer of Kafka"));
    }
    let mut answer = vec![0; len];
    stream.read_exact(&mut answer).await?;
    // Correlation id and throttle time stand before the number of brokers.
    let count = answer
        .get(8..12)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, i32::from_be_bytes);
    Ok(count.max(0) as usize)
}

/// Metadata, version 8, of no topic: the brokers only.
fn metadata_request() -> Vec<u8> {
    let client = b"pushrail-probe";
    let mut body = Vec::new();
    body.extend_from_slice(&3i16.to_be_bytes());
    body.extend_from_slice(&8i16.to_be_bytes());
    body.extend_from_slice(&0i32.to_be_bytes());
    body.extend_from_slice(&(client.len() as i16).to_be_bytes());
    body.extend_from_slice(client);
    // No topics; and three times no: create them, tell what may be done to the cluster, or to the topics.
    body.extend_from_slice(&0i32.to_be_bytes());
    body.extend_from_slice(&[0, 0, 0]);
    let mut request = (body.len() as i32).to_be_bytes().to_vec();
    request.append(&mut body);
    request
}
