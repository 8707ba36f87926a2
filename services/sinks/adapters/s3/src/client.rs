//! One `PutObject`.
//!
//! The deadline covers everything: compressing, a role's session, name, connection, TLS, request and answer. The engine hands
//! over records of one type and hour; others would get an object of their own.

use std::sync::Arc;

use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, IdentityCache, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    StalledStreamProtectionConfig,
};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ServerSideEncryption;
use pushrail_aws::{Failure, Local, Place, Source};
use pushrail_sink_core::{Outcome, Record};
use tokio::time::{Instant, timeout_at};

use crate::check::Plan;
use crate::classify::{Part, Reply, classify};
use crate::config::{Encryption, Format};
use crate::{file, key};

/// A bucket. Connections are opened when they are needed, and shared with the other buckets of the worker. The SDK's client is
/// made for each call: it takes some 20 KiB, and ten thousand buckets that get a file a minute would each keep one.
pub struct Client {
    local: Arc<Local>,
    source: Source,
    place: Place,
    path_style: bool,
    bucket: Box<str>,
    prefix: Box<str>,
    format: Format,
    encryption: Encryption,
    skip_existing: bool,
    needs: Arc<str>,
}

impl Client {
    pub(crate) fn new(plan: Plan, local: Arc<Local>) -> Self {
        Client {
            source: Source::new(plan.access, &local),
            local,
            needs: needs(&plan.bucket, &plan.prefix, &plan.encryption).into(),
            place: plan.place,
            path_style: plan.path_style,
            bucket: plan.bucket,
            prefix: plan.prefix,
            format: plan.format,
            encryption: plan.encryption,
            skip_existing: plan.skip_existing,
        }
    }

    fn sdk(&self) -> aws_sdk_s3::Client {
        let mut config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .http_client(self.local.http.clone())
            .region(Region::new(self.place.region.to_string()))
            .credentials_provider(self.source.clone())
            // The source keeps them.
            .identity_cache(IdentityCache::no_cache())
            // The engine retries, and the deadline is a call's own.
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .force_path_style(self.path_style);
        if let Some(endpoint) = &self.place.endpoint {
            // Other stores know the checksums that are old.
            config = config
                .endpoint_url(endpoint.as_ref())
                .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
                .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        }
        aws_sdk_s3::Client::from_conf(config.build())
    }

    /// Puts one file, and returns its key.
    async fn put(&self, records: Vec<Arc<Record>>) -> Result<String, Failure> {
        let first = records.first();
        let first = first.ok_or(Failure::Internal("a batch has records"))?;
        self.source.ready(&first.delivery).await?;
        let file = file::make(&self.prefix, self.format, records).await;
        let file = file.map_err(|_| Failure::Internal("the file could not be made"))?;
        let mut call = self
            .sdk()
            .put_object()
            .bucket(self.bucket.as_ref())
            .key(&file.key)
            .content_type(file.media_type)
            .body(ByteStream::from(file.bytes));
        if self.skip_existing {
            call = call.if_none_match("*");
        }
        call = match &self.encryption {
            Encryption::Bucket {} => call,
            Encryption::SseS3 {} => call.server_side_encryption(ServerSideEncryption::Aes256),
            Encryption::SseKms { key_id } => call
                .server_side_encryption(ServerSideEncryption::AwsKms)
                .bucket_key_enabled(true)
                .set_ssekms_key_id(key_id.as_deref().map(str::to_owned)),
        };
        match call.send().await {
            Ok(_) => Ok(file.key),
            Err(error) => match Failure::of(&error, &self.source) {
                // The head said that it is written; nothing that follows takes that back.
                Failure::Unreadable { status: 200..=299 } => Ok(file.key),
                failure if is_there(&failure) => Ok(file.key),
                failure => {
                    if failure.spoils_credentials() {
                        self.source.forget();
                    }
                    Err(failure)
                }
            },
        }
    }
}

/// Whether it was not written because it had been before: the same content, by its name.
fn is_there(failure: &Failure) -> bool {
    matches!(failure, Failure::Refused(refusal)
        if refusal.status == 412 || refusal.name() == "PreconditionFailed")
}

impl pushrail_sink_core::Client for Client {
    type Reply = Reply;

    async fn send(&self, batch: &[Arc<Record>], deadline: Instant) -> Reply {
        let mut parts = Vec::with_capacity(1);
        for records in grouped(batch) {
            let shared = records.iter().map(|at| Arc::clone(&batch[*at])).collect();
            let result = match Instant::now() < deadline {
                true => timeout_at(deadline, self.put(shared)).await,
                // Nothing is sent that nobody would wait for.
                false => Ok(Err(Failure::Timeout)),
            };
            let result = result.unwrap_or(Err(Failure::Timeout));
            parts.push(Part { records, result });
        }
        Reply {
            parts,
            bucket: self.bucket.clone(),
            temporary: self.source.is_temporary(),
            needs: Arc::clone(&self.needs),
        }
    }

    fn classify(reply: Reply, sent: usize) -> Outcome {
        classify(&reply, sent)
    }
}

/// Places in the batch of records that share an object, in the order of the batch.
fn grouped(batch: &[Arc<Record>]) -> Vec<Vec<usize>> {
    let of = |at: usize| {
        let event = &batch[at].event;
        (event.event_type(), key::hour(event.received_at_us()))
    };
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for at in 0..batch.len() {
        // The last one fits nearly always.
        let fits = |group: &&mut Vec<usize>| of(group[0]) == of(at);
        match groups.iter_mut().rev().find(fits) {
            Some(group) => group.push(at),
            None => groups.push(vec![at]),
        }
    }
    groups
}

/// What a policy must allow, to be pasted.
fn needs(bucket: &str, prefix: &str, encryption: &Encryption) -> String {
    let put = format!(
        r#"the policy needs {{"Effect":"Allow","Action":"s3:PutObject","Resource":"arn:aws:s3:::{bucket}/{prefix}*"}}"#
    );
    match encryption {
        Encryption::SseKms { key_id } => {
            let key = key_id.as_deref().filter(|id| id.starts_with("arn:"));
            let key = key.unwrap_or("arn:aws:kms:REGION:ACCOUNT:key/KEY");
            let kms =
                r#"{"Effect":"Allow","Action":["kms:GenerateDataKey","kms:Decrypt"],"Resource":"#;
            format!("{put} and {kms}\"{key}\"}}")
        }
        _ => put,
    }
}
