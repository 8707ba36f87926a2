//! A batch as a file.
//!
//! The lines are the canonical events, and their SHA-256 names the file: of the lines, and not of what compression or Parquet
//! makes of them, so that a new version of a library gives nothing a new name.

use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use flate2::write::GzEncoder;
use pushrail_sink_core::{Record, canonical};
use sha2::{Digest as _, Sha256};

use crate::config::{Compression, Format};
use crate::{key, parquet};

/// Larger files are compressed on another thread: 1 MB takes some 20 ms, in which the worker delivers elsewhere.
const INLINE_LEN_MAX: usize = 32 * 1024;
/// zstd's own default.
const ZSTD_LEVEL: i32 = 3;

/// What is put into the bucket.
pub(crate) struct File {
    pub(crate) key: String,
    pub(crate) bytes: Bytes,
    pub(crate) media_type: &'static str,
}

/// Why there is no file: our defect or our memory.
#[derive(Debug)]
pub(crate) struct Unmade;

/// Makes the file of records of one type and hour.
pub(crate) async fn make(
    prefix: &str,
    format: Format,
    records: Vec<Arc<Record>>,
) -> Result<File, Unmade> {
    let first = records.first().ok_or(Unmade)?;
    let hour = key::hour(first.event.received_at_us());
    let event_type = first.event.event_type();
    let lines = lines(&records);
    let hash: [u8; 32] = Sha256::digest(&lines).into();
    let key = key::of(prefix, event_type, hour, &hash, format);
    let bytes = encoded(format, lines, records).await?;
    Ok(File {
        key,
        bytes,
        media_type: media_type(format),
    })
}

/// One event a line, each with an end.
fn lines(records: &[Arc<Record>]) -> Vec<u8> {
    let hint = |record: &Arc<Record>| canonical::len_hint(&record.event) + 1;
    let mut lines = Vec::with_capacity(records.iter().map(hint).sum());
    for record in records {
        let start = lines.len();
        canonical::write(&record.event, &mut lines);
        // The vendor's JSON may be written over several lines. There is no line break inside a string of it, so this is white
        // space for white space.
        for byte in &mut lines[start..] {
            if matches!(*byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
        lines.push(b'\n');
    }
    lines
}

async fn encoded(
    format: Format,
    lines: Vec<u8>,
    records: Vec<Arc<Record>>,
) -> Result<Bytes, Unmade> {
    if format == Format::default() {
        return Ok(lines.into());
    }
    if lines.len() <= INLINE_LEN_MAX {
        return encode(format, &lines, &records);
    }
    let encode = move || encode(format, &lines, &records);
    let encoded = tokio::task::spawn_blocking(encode).await;
    encoded.map_err(|_| Unmade)?
}

fn encode(format: Format, lines: &[u8], records: &[Arc<Record>]) -> Result<Bytes, Unmade> {
    let bytes = match format {
        Format::Ndjson {
            compression: Compression::None,
        } => lines.to_vec(),
        Format::Ndjson {
            compression: Compression::Gzip,
        } => {
            let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(lines).map_err(|_| Unmade)?;
            encoder.finish().map_err(|_| Unmade)?
        }
        Format::Ndjson {
            compression: Compression::Zstd,
        } => zstd::bulk::compress(lines, ZSTD_LEVEL).map_err(|_| Unmade)?,
        Format::Parquet {} => parquet::write(records).map_err(|_| Unmade)?,
    };
    Ok(bytes.into())
}

/// What the bytes are, as they are: a compressed file is not called a text with an encoding, which clients would undo while the
/// key's ending stays.
fn media_type(format: Format) -> &'static str {
    match format {
        Format::Ndjson { compression } => match compression {
            Compression::None => "application/x-ndjson",
            Compression::Gzip => "application/gzip",
            Compression::Zstd => "application/zstd",
        },
        Format::Parquet {} => "application/vnd.apache.parquet",
    }
}
