//! Adapters without their types, so that the engine is compiled once and not once per destination type.
//!
//! The price is one allocation a call (the boxed future), some 50 ns; the gain is an engine that no adapter can reach into.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::{Adapter, Batch, Client, Context, Fault, FieldError, Info, Outcome, Record};

pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// An adapter behind one type.
pub trait ErasedAdapter: Send + Sync + 'static {
    fn info(&self) -> &Info;
    /// How its records are put into batches.
    fn batching(&self) -> Batching;
    /// JSON Schemas of configuration and secrets.
    fn schemas(&self) -> (schemars::Schema, schemars::Schema);
    /// Everything that is wrong with a configuration, beginning with what does not even parse.
    fn check(&self, destination: Destination<'_>, context: &Context)
    -> Result<(), Vec<FieldError>>;
    fn connect<'a>(
        &'a self,
        destination: Destination<'_>,
    ) -> BoxFuture<'a, Result<Arc<dyn ErasedClient>, Fault>>;
}

/// See [`Adapter::group`], [`Adapter::weigh`] and [`Adapter::CALLS_MAX`].
#[derive(Clone, Copy, Debug)]
pub struct Batching {
    pub group: fn(&Record) -> u64,
    pub weigh: fn(&Record) -> usize,
    pub calls_max: usize,
}

/// A destination's configuration as JSON.
#[derive(Clone, Copy)]
pub struct Destination<'a> {
    pub config: &'a RawValue,
    /// Plain secrets: opened just before, dropped just after. `{}` when there are none.
    pub secrets: &'a RawValue,
}

/// A client behind one type.
pub trait ErasedClient: Send + Sync + 'static {
    /// Sends and classifies. The records are shared with the engine, which needs them afterwards for audit and retry.
    fn attempt(self: Arc<Self>, batch: Batch, deadline: Instant) -> BoxFuture<'static, Outcome>;
}

impl<A: Adapter> ErasedAdapter for A {
    fn info(&self) -> &Info {
        const { &A::INFO }
    }

    fn batching(&self) -> Batching {
        Batching {
            group: A::group,
            weigh: A::weigh,
            calls_max: A::CALLS_MAX,
        }
    }

    fn schemas(&self) -> (schemars::Schema, schemars::Schema) {
        (
            schemars::schema_for!(A::Config),
            schemars::schema_for!(A::Secrets),
        )
    }

    fn check(
        &self,
        destination: Destination<'_>,
        context: &Context,
    ) -> Result<(), Vec<FieldError>> {
        let (config, secrets) = parse::<A>(destination)?;
        A::check(&config, &secrets, context)
    }

    fn connect<'a>(
        &'a self,
        destination: Destination<'_>,
    ) -> BoxFuture<'a, Result<Arc<dyn ErasedClient>, Fault>> {
        let parsed = parse::<A>(destination);
        Box::pin(async move {
            let (config, secrets) = parsed.map_err(|errors| {
                let first = errors.into_iter().next();
                let detail =
                    first.map_or_else(String::new, |e| format!("{}: {}", e.field, e.message));
                Fault::destination("invalid_configuration", detail)
            })?;
            let client = Adapter::connect(self, config, secrets).await?;
            Ok(Arc::new(client) as Arc<dyn ErasedClient>)
        })
    }
}

impl<C: Client> ErasedClient for C {
    fn attempt(self: Arc<Self>, batch: Batch, deadline: Instant) -> BoxFuture<'static, Outcome> {
        Box::pin(async move {
            let reply = self.send(&batch, deadline).await;
            C::classify(reply, batch.len())
        })
    }
}

fn parse<A: Adapter>(
    destination: Destination<'_>,
) -> Result<(A::Config, A::Secrets), Vec<FieldError>> {
    let config = parse_part("config", destination.config);
    let secrets = parse_part("secrets", destination.secrets);
    match (config, secrets) {
        (Ok(config), Ok(secrets)) => Ok((config, secrets)),
        (config, secrets) => Err([config.err(), secrets.err()]
            .into_iter()
            .flatten()
            .collect()),
    }
}

/// Parses one half of a configuration. A message about secrets keeps only where it went wrong: even a name may be one there.
fn parse_part<T: serde::de::DeserializeOwned>(
    part: &str,
    json: &RawValue,
) -> Result<T, FieldError> {
    let mut deserializer = serde_json::Deserializer::from_str(json.get());
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let field = if path == "." {
            part.to_owned()
        } else {
            format!("{part}.{path}")
        };
        let message = if part == "secrets" {
            "has the wrong type".to_owned()
        } else {
            crate::without_value(error.inner())
        };
        FieldError { field, message }
    })
}
