//! Requests: the table that ingest's own tests go by, sent over the wire to the real thing.

use std::io::Write as _;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::Row;
use crate::bed::Bed;
use crate::services::Service;

const CASES: &str = include_str!("../../../../services/ingest/tests/malformed.json");

/// What each request met, and how many events the well-formed parts of batches made.
pub(super) async fn run(bed: &Bed, ingest: &Service) -> anyhow::Result<(Vec<Row>, u64)> {
    let cases: Vec<Value> = serde_json::from_str(CASES)?;
    let client = reqwest::Client::builder().no_proxy().build()?;
    let (mut rows, mut accepted) = (Vec::new(), 0);
    for case in &cases {
        let what = case["name"].as_str().context("a case has a name")?;
        let row = send(&client, bed, ingest, case, what).await;
        rows.push(row.with_context(|| what.to_owned())?);
        accepted += case["accepted"].as_u64().unwrap_or(0);
    }
    Ok((rows, accepted))
}

async fn send(
    client: &reqwest::Client,
    bed: &Bed,
    ingest: &Service,
    case: &Value,
    what: &str,
) -> anyhow::Result<Row> {
    let request = case["request"].as_str().unwrap_or_default();
    let (method, path) = request.split_once(' ').context("method and path")?;
    let url = format!("http://{}{path}", ingest.listen);
    let mut headers = reqwest::header::HeaderMap::new();
    headers.insert("authorization", format!("Bearer {}", bed.api_key).parse()?);
    headers.insert("content-type", "application/json".parse()?);
    for (name, value) in case["headers"].as_object().into_iter().flatten() {
        let name: reqwest::header::HeaderName = name.parse()?;
        match value.as_str() {
            Some(value) => drop(headers.insert(name, value.parse()?)),
            None => drop(headers.remove(name)),
        }
    }
    let answer = client
        .request(method.parse()?, url)
        .headers(headers)
        .body(body(case)?)
        .send()
        .await?;
    let status = answer.status().as_u16();
    let json: Value = serde_json::from_str(&answer.text().await?)?;
    let errors = match case["index"].as_u64() {
        Some(index) => &json["results"][index as usize]["errors"],
        None => &json["errors"],
    };
    let first = &errors[0];
    let (field, message) = (
        first["field"].as_str().unwrap_or_default(),
        first["message"].as_str().unwrap_or_default(),
    );
    let wanted = |key: &str| case[key].as_str().unwrap_or_default();
    let error = match field {
        "" => json["detail"].as_str().unwrap_or_default().to_owned(),
        field => format!("`{field}` {message}"),
    };
    Ok(Row {
        what: what.to_owned(),
        outcome: status.to_string(),
        is_clear: case["status"] == status
            && !error.is_empty()
            && field == wanted("field")
            && message.contains(wanted("message")),
        error,
    })
}

fn body(case: &Value) -> anyhow::Result<Vec<u8>> {
    let mut body = match (case["body"].as_str(), case["base64"].as_str()) {
        (_, Some(text)) => STANDARD.decode(text)?,
        (text, None) => text.unwrap_or_default().as_bytes().to_vec(),
    };
    for part in case["parts"].as_array().into_iter().flatten() {
        let (text, times) = (part[0].as_str(), part[1].as_u64());
        let text = text.unwrap_or_default().repeat(times.unwrap_or(0) as usize);
        body.extend_from_slice(text.as_bytes());
    }
    if case["gzip"] == true {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&body)?;
        body = gzip.finish()?;
    }
    Ok(body)
}
