//! The schema registry: Confluent's HTTP API, subjects under TopicNameStrategy, FULL_TRANSITIVE on each.
//!
//! Registers, looks up ids, and fetches writers' schemas by id. It refuses to guess: a schema that is not registered is
//! an error, and never registered by the way of a look-up.

use std::collections::HashMap;
use std::error::Error as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use apache_avro::Schema;
use schema_registry_converter::async_impl::schema_registry::{self, SrSettings};
use schema_registry_converter::error::SRCError;
use schema_registry_converter::schema_registry_common::{
    RawError, SchemaType, SrCall, SuppliedSchema,
};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::avro;

/// What every subject of ours promises: each version can be read with any older or newer one.
pub const COMPATIBILITY: &str = "FULL_TRANSITIVE";

/// Longest a call may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How long a missing schema is believed to be missing: long enough that a stream of records with a wrong id does not
/// become a stream of calls, short enough that a schema registered a moment later is found.
const MISSING_FOR: Duration = Duration::from_secs(5);

/// Schemas kept. Ids come from whoever publishes, so there is a limit.
const CACHE_MAX: usize = 4_096;

/// Why the registry gave no answer, or not the one wanted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// It may pass later.
    #[error("the schema registry at {url} cannot be reached: {detail}")]
    Unreachable { url: String, detail: String },
    #[error("the schema registry at {url} refused our credentials: {detail}")]
    Unauthorized { url: String, detail: String },
    #[error("schema id {0} is not in the registry")]
    UnknownId(u32),
    #[error("schema id {id} is not an Avro schema: {detail}")]
    NotAvro { id: u32, detail: String },
    #[error("subject {subject} does not hold our schema; run `pushrail topology apply`")]
    NotRegistered { subject: String },
    #[error("the registry holds an incompatible schema under {subject}: {detail}")]
    Incompatible { subject: String, detail: String },
    #[error("the schema registry at {url} answered {code}: {detail}")]
    Refused {
        url: String,
        code: u32,
        detail: String,
    },
    #[error("{url:?} is no address of a schema registry: {detail}")]
    Address { url: String, detail: String },
}

impl RegistryError {
    /// Whether the same question may get an answer later.
    pub fn retryable(&self) -> bool {
        match self {
            RegistryError::Unreachable { .. } => true,
            RegistryError::Refused { code, .. } => {
                *code == 429 || (500..600).contains(code) || *code >= 50_000
            }
            _ => false,
        }
    }
}

/// Name and password for the registry.
#[derive(Clone)]
pub struct Credentials {
    pub user: String,
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:***", self.user)
    }
}

/// Ids of the schemas that Pushrail writes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    pub event: u32,
    pub attempt: u32,
}

/// A client of one registry.
#[derive(Debug)]
pub struct Registry {
    url: String,
    settings: SrSettings,
    http: reqwest::Client,
    credentials: Option<Credentials>,
    known: Mutex<HashMap<u32, Known>>,
}

#[derive(Clone, Debug)]
struct Known {
    schema: Result<Arc<Schema>, RegistryError>,
    until: Option<Instant>,
}

#[derive(Serialize, Deserialize)]
struct Level {
    #[serde(alias = "compatibilityLevel")]
    compatibility: String,
}

/// The subject of a topic's values.
pub fn subject(topic: &str) -> String {
    format!("{topic}-value")
}

impl Registry {
    /// A client of the registry at `url`. Connects on first use.
    pub fn new(url: &str, credentials: Option<Credentials>) -> Result<Self, RegistryError> {
        let url = url.trim_end_matches('/').to_owned();
        let address = |detail: String| RegistryError::Address {
            url: url.clone(),
            detail,
        };
        let parsed = reqwest::Url::parse(&url).map_err(|error| address(error.to_string()))?;
        if !["http", "https"].contains(&parsed.scheme()) {
            return Err(address("it must start with http:// or https://".into()));
        }
        let mut settings = SrSettings::new_builder(url.clone());
        settings.set_timeout(TIMEOUT);
        if let Some(credentials) = &credentials {
            settings.set_basic_authorization(&credentials.user, Some(&credentials.password));
        }
        let settings = settings
            .build()
            .map_err(|error| address(error.to_string()))?;
        let http = reqwest::Client::builder().timeout(TIMEOUT).build();
        let http = http.map_err(|error| address(error.to_string()))?;
        Ok(Registry {
            url,
            settings,
            http,
            credentials,
            known: Mutex::default(),
        })
    }

    /// The ids under which `events` and `audit.attempts` were registered.
    pub async fn ids(&self) -> Result<Ids, RegistryError> {
        Ok(Ids {
            event: self.id("events", avro::EVENT).await?,
            attempt: self.id("audit.attempts", avro::ATTEMPT).await?,
        })
    }

    /// The id of `schema` under the subject of `topic`; [`RegistryError::NotRegistered`] when it isn't there.
    pub async fn id(&self, topic: &str, schema: &str) -> Result<u32, RegistryError> {
        let subject = subject(topic);
        self.lookup(&subject, schema)
            .await?
            .ok_or(RegistryError::NotRegistered { subject })
    }

    /// The id of `schema` under `subject`, if it is registered there.
    pub async fn lookup(&self, subject: &str, schema: &str) -> Result<Option<u32>, RegistryError> {
        let body = serde_json::json!({ "schema": schema, "schemaType": "AVRO" }).to_string();
        let call = SrCall::PostForVersion(subject, &body);
        match schema_registry::perform_sr_call(&self.settings, call).await {
            Ok(found) => Ok(found.id),
            Err(error) => match self.explain(error) {
                RegistryError::Refused { code, .. } if not_found(code) => Ok(None),
                other => Err(other),
            },
        }
    }

    /// Registers `schema` under `subject` and sets the subject's compatibility. Repeating it changes nothing.
    pub async fn register(&self, subject: &str, schema: &str) -> Result<u32, RegistryError> {
        // Some registries know a subject's level only once the subject exists. Where it exists, the level comes first,
        // so that the registry itself refuses a breaking version.
        let levelled = self.set_compatibility(subject).await?;
        let supplied = SuppliedSchema::new(None, SchemaType::Avro, schema.to_owned());
        let registered =
            schema_registry::post_schema(&self.settings, subject.to_owned(), supplied).await;
        let id = match registered.map_err(|error| self.explain(error)) {
            Ok(registered) => registered.id,
            Err(RegistryError::Refused { code, detail, .. }) if conflict(code) => {
                // Incompatible, or somebody else has registered it at this moment.
                let incompatible = RegistryError::Incompatible {
                    subject: subject.to_owned(),
                    detail,
                };
                self.lookup(subject, schema).await?.ok_or(incompatible)?
            }
            Err(error) => return Err(error),
        };
        if !levelled {
            self.set_compatibility(subject).await?;
        }
        Ok(id)
    }

    /// The compatibility set on `subject` itself; `None` when only the registry's default applies.
    pub async fn compatibility(&self, subject: &str) -> Result<Option<String>, RegistryError> {
        let response = self.call(self.http.get(self.config_url(subject))).await;
        match response {
            Ok(response) => {
                let level: Result<Level, _> = response.json().await;
                Ok(Some(
                    level
                        .map_err(|error| self.unreachable(error))?
                        .compatibility,
                ))
            }
            Err(RegistryError::Refused { code, .. }) if not_found(code) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The schema that a value with `id` was written with. Answers are kept, because a schema never changes; errors that
    /// may pass are not, and a missing id is asked for again after a few seconds.
    pub async fn writer_schema(&self, id: u32) -> Result<Arc<Schema>, RegistryError> {
        if let Some(schema) = self.known_schema(id) {
            return schema;
        }
        let schema = self.fetch(id).await;
        let until = match &schema {
            Err(error) if error.retryable() => return schema,
            Err(RegistryError::UnknownId(_)) => Some(Instant::now() + MISSING_FOR),
            Err(RegistryError::NotAvro { .. }) | Ok(_) => None,
            Err(_) => return schema,
        };
        let mut known = self.known.lock().expect("no panic while it is held");
        if known.len() >= CACHE_MAX {
            known.clear();
        }
        known.insert(
            id,
            Known {
                schema: schema.clone(),
                until,
            },
        );
        schema
    }

    /// What is known of `id` without asking the registry.
    pub fn known_schema(&self, id: u32) -> Option<Result<Arc<Schema>, RegistryError>> {
        let known = self.known.lock().expect("no panic while it is held");
        let entry = known.get(&id)?;
        match entry.until {
            Some(until) if until <= Instant::now() => None,
            _ => Some(entry.schema.clone()),
        }
    }

    async fn fetch(&self, id: u32) -> Result<Arc<Schema>, RegistryError> {
        let found = schema_registry::get_schema_by_id(id, &self.settings).await;
        let found = found.map_err(|error| match self.explain(error) {
            RegistryError::Refused { code, .. } if not_found(code) => RegistryError::UnknownId(id),
            other => other,
        })?;
        let not_avro = |detail: String| RegistryError::NotAvro { id, detail };
        if found.schema_type != SchemaType::Avro {
            return Err(not_avro(format!("it is {:?}", found.schema_type)));
        }
        if !found.references.is_empty() {
            return Err(not_avro("it refers to other subjects".into()));
        }
        let schema =
            Schema::parse_str(&found.schema).map_err(|error| not_avro(error.to_string()))?;
        Ok(Arc::new(schema))
    }

    /// Whether the subject was there to be set.
    async fn set_compatibility(&self, subject: &str) -> Result<bool, RegistryError> {
        if self.compatibility(subject).await?.as_deref() == Some(COMPATIBILITY) {
            return Ok(true);
        }
        let level = Level {
            compatibility: COMPATIBILITY.into(),
        };
        let set = self.http.put(self.config_url(subject)).json(&level);
        match self.call(set).await {
            Ok(_) => Ok(true),
            Err(RegistryError::Refused { code, .. }) if not_found(code) => Ok(false),
            Err(RegistryError::Refused { code, .. }) if conflict(code) => {
                // Somebody else is setting it; what counts is what it is afterwards.
                match self.compatibility(subject).await?.as_deref() {
                    Some(COMPATIBILITY) => Ok(true),
                    _ => Err(RegistryError::Refused {
                        url: self.url.clone(),
                        code,
                        detail: format!("the compatibility of {subject} is being changed"),
                    }),
                }
            }
            Err(error) => Err(error),
        }
    }

    fn config_url(&self, subject: &str) -> String {
        format!("{}/config/{}", self.url, subject.replace('/', "%2F"))
    }

    async fn call(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<reqwest::Response, RegistryError> {
        let request = match &self.credentials {
            Some(credentials) => request.basic_auth(&credentials.user, Some(&credentials.password)),
            None => request,
        };
        let response = request
            .send()
            .await
            .map_err(|error| self.unreachable(error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let detail = match response.json::<RawError>().await {
            Ok(raw) => raw.message,
            Err(_) => status.to_string(),
        };
        Err(self.refused(status.as_u16().into(), detail))
    }

    fn explain(&self, error: SRCError) -> RegistryError {
        let cause = error.source();
        if let Some(raw) = cause.and_then(|cause| cause.downcast_ref::<RawError>()) {
            return match raw.error_code {
                // Something between us and the registry answered, and not in its words.
                0 => self.unreachable(&error.error),
                code => self.refused(code, raw.message.clone()),
            };
        }
        self.unreachable(error.cause.as_deref().unwrap_or(&error.error))
    }

    fn refused(&self, code: u32, detail: String) -> RegistryError {
        let url = self.url.clone();
        match code {
            401 | 403 | 40_100..=40_199 | 40_300..=40_399 => {
                RegistryError::Unauthorized { url, detail }
            }
            code => RegistryError::Refused { url, code, detail },
        }
    }

    fn unreachable(&self, detail: impl ToString) -> RegistryError {
        RegistryError::Unreachable {
            url: self.url.clone(),
            detail: detail.to_string(),
        }
    }
}

fn not_found(code: u32) -> bool {
    code == 404 || (40_400..40_500).contains(&code)
}

fn conflict(code: u32) -> bool {
    code == 409 || (40_900..41_000).contains(&code)
}
