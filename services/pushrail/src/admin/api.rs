//! The control plane's API, as commands ask it.

use std::fmt;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use pushrail_settings::{ConfigFileArgs, Hidden};
use reqwest::{Method, RequestBuilder, Response, StatusCode, header};
use serde::Deserialize;
use serde_json::Value;
use url::Url;

/// Longest time of one request; a test event takes as long as its destination.
const WITHIN: Duration = Duration::from_secs(60);
/// How often a request that came too soon after others is made again.
const TRIES_MAX: u32 = 60;
/// Most rows of a page that the API gives.
const PAGE: &str = "500";

/// What every command takes that asks the API.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "API")]
pub(crate) struct ApiArgs {
    /// Print JSON as the API answers it, one value a line.
    #[arg(long, help_heading = "Operation")]
    pub(super) json: bool,
    /// Address of the control plane, or of an ingest that forwards to it; PUSHRAIL_URL counts where this is not given.
    #[arg(
        long = "control-url",
        id = "api_control_url",
        env = "PUSHRAIL_CONTROL_URL",
        value_name = "URL",
        value_parser = base_url
    )]
    control_url: Option<Url>,
    #[arg(
        long = "api-url",
        id = "api_url",
        env = "PUSHRAIL_URL",
        value_name = "URL",
        value_parser = base_url,
        default_value = "http://127.0.0.1:8081",
        hide = true
    )]
    url: Url,
    /// A tenant's API key, or @FILE: for what is that tenant's.
    #[arg(
        long = "api-key",
        id = "api_key",
        env = "PUSHRAIL_API_KEY",
        value_name = "KEY",
        hide_env_values = true
    )]
    api_key: Option<Hidden>,
    /// The operator's key, or @FILE: for tenants, and where --tenant is given.
    #[arg(
        long = "admin-key",
        id = "api_admin_key",
        env = "PUSHRAIL_ADMIN_KEY",
        value_name = "KEY",
        hide_env_values = true
    )]
    admin_key: Option<Hidden>,
    #[command(flatten)]
    file: ConfigFileArgs,
}

fn base_url(text: &str) -> Result<Url, String> {
    let url = text.parse::<Url>().ok();
    let good = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    good.ok_or_else(|| "must be a URL that begins with http:// or https://".to_owned())
}

/// Finds the flag that mends a field.
pub(super) type FlagOf = fn(&str) -> Option<&'static str>;

/// The API, with one credential.
pub(super) struct Api {
    pub(super) json: bool,
    base: Url,
    http: reqwest::Client,
    key: Hidden,
    key_flag: &'static str,
    flag_of: FlagOf,
}

/// A good answer.
pub(super) struct Answer {
    pub(super) body: Value,
    pub(super) etag: Option<String>,
}

impl ApiArgs {
    /// As the tenant whose key it is.
    pub(super) fn tenant(&self) -> anyhow::Result<Api> {
        let key = self.api_key.clone().context(
            "no API key: set PUSHRAIL_API_KEY or --api-key to one of the tenant's, or source the dev.env that `pushrail dev` \
             writes (`pushrail admin tenant add` and `pushrail admin api-key add --tenant` make keys)",
        )?;
        self.with(key, "--api-key")
    }

    pub(super) fn operator(&self) -> anyhow::Result<Api> {
        let key = self.admin_key.clone().context(
            "no operator's key: set PUSHRAIL_ADMIN_KEY or --admin-key to the one that `pushrail control` was started with",
        )?;
        self.with(key, "--admin-key")
    }

    /// As the operator where a tenant is named, else as the tenant whose key it is.
    pub(super) fn either(&self, tenant: Option<&str>) -> anyhow::Result<Api> {
        match tenant {
            Some(_) => self.operator(),
            None => self.tenant(),
        }
    }

    fn with(&self, key: Hidden, key_flag: &'static str) -> anyhow::Result<Api> {
        let http = reqwest::Client::builder()
            .timeout(WITHIN)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Api {
            json: self.json,
            base: self.control_url.as_ref().unwrap_or(&self.url).clone(),
            http,
            key,
            key_flag,
            flag_of: |_| None,
        })
    }
}

impl Api {
    /// With the flags of a command, to be named where they mend something.
    pub(super) fn flags(mut self, flag_of: FlagOf) -> Api {
        self.flag_of = flag_of;
        self
    }

    pub(super) async fn get(&self, path: &[&str]) -> anyhow::Result<Value> {
        Ok(self.answer(self.request(Method::GET, path)?).await?.body)
    }

    pub(super) async fn post(&self, path: &[&str], body: &Value) -> anyhow::Result<Value> {
        let request = self.request(Method::POST, path)?.json(body);
        Ok(self.answer(request).await?.body)
    }

    /// A POST of an operation that takes no body.
    pub(super) async fn act(&self, path: &[&str]) -> anyhow::Result<Value> {
        Ok(self.answer(self.request(Method::POST, path)?).await?.body)
    }

    pub(super) async fn delete(&self, path: &[&str]) -> anyhow::Result<()> {
        self.answer(self.request(Method::DELETE, path)?).await?;
        Ok(())
    }

    /// Every row of a list, page by page.
    pub(super) async fn list(&self, path: &[&str]) -> anyhow::Result<Vec<Value>> {
        let (mut rows, mut cursor) = (Vec::new(), None);
        loop {
            let request = self.request(Method::GET, path)?.query(&[("limit", PAGE)]);
            let request = match &cursor {
                Some(cursor) => request.query(&[("cursor", cursor)]),
                None => request,
            };
            let mut page = self.answer(request).await?.body;
            if let Value::Array(items) = page["items"].take() {
                rows.extend(items);
            }
            match page["nextCursor"].take() {
                Value::String(next) => cursor = Some(next),
                _ => return Ok(rows),
            }
        }
    }

    /// A request for a path below `/v1`, each part of it as it is.
    pub(super) fn request(&self, method: Method, path: &[&str]) -> anyhow::Result<RequestBuilder> {
        let mut url = self.base.clone();
        // A URL has no parts of that name: they would be taken for directions.
        let unwritable = path.iter().find(|part| matches!(**part, "" | "." | ".."));
        if let Some(part) = unwritable {
            anyhow::bail!("\"{part}\" can't be part of an address");
        }
        url.path_segments_mut()
            .map_err(|()| anyhow::anyhow!("{}: is no address of an API", self.base))?
            .pop_if_empty()
            .push("v1")
            .extend(path);
        Ok(self
            .http
            .request(method, url)
            .bearer_auth(self.key.expose()))
    }

    /// Makes a request, later where the API asks for that.
    pub(super) async fn answer(&self, request: RequestBuilder) -> anyhow::Result<Answer> {
        let response = self.response(request).await?;
        let etag = response.headers().get(header::ETAG);
        let etag = etag.and_then(|value| Some(value.to_str().ok()?.to_owned()));
        let text = response.text().await.context("the answer broke off")?;
        let body = match text.is_empty() {
            true => Value::Null,
            false => serde_json::from_str(&text)
                .context("the answer is not JSON: is this Pushrail's API?")?,
        };
        Ok(Answer { body, etag })
    }

    /// As [`Api::answer`], of an answer that need not be JSON.
    pub(super) async fn response(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        for _ in 0..TRIES_MAX {
            let attempt = request.try_clone().context("a request with a stream")?;
            let response = attempt.send().await.with_context(|| {
                format!(
                    "no answer from the API at {}; is `pushrail control` running, and is --control-url \
                     (PUSHRAIL_CONTROL_URL) right?",
                    self.base
                )
            })?;
            match (response.status(), retry_after(&response)) {
                (StatusCode::TOO_MANY_REQUESTS, Some(pause)) => tokio::time::sleep(pause).await,
                (status, _) if status.is_success() => return Ok(response),
                (status, _) => return Err(self.refusal(status, response).await),
            }
        }
        anyhow::bail!("the API asks again and again to be asked later")
    }

    async fn refusal(&self, status: StatusCode, response: Response) -> anyhow::Error {
        let text = response.text().await.unwrap_or_default();
        match serde_json::from_str::<Problem>(&text) {
            Ok(problem) => anyhow::Error::new(Refusal {
                status,
                problem,
                key_flag: self.key_flag,
                flag_of: self.flag_of,
            }),
            Err(_) => anyhow::anyhow!(
                "{} answered {status}, which is not Pushrail's API",
                self.base
            ),
        }
    }
}

fn retry_after(response: &Response) -> Option<Duration> {
    let value = response.headers().get(header::RETRY_AFTER)?;
    let seconds = value.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// What the API says when it does not do something (RFC 9457).
#[derive(Debug, Deserialize)]
struct Problem {
    title: String,
    #[serde(default)]
    detail: String,
    #[serde(default)]
    errors: Vec<FieldProblem>,
}

#[derive(Debug, Deserialize)]
struct FieldProblem {
    field: String,
    message: String,
}

/// A problem in the words of the command line: with the flag that mends each field.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    problem: Problem,
    key_flag: &'static str,
    flag_of: FlagOf,
}

impl std::error::Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem {
            title,
            detail,
            errors,
        } = &self.problem;
        match (self.status, errors.is_empty(), detail.is_empty()) {
            (StatusCode::UNPROCESSABLE_ENTITY, false, _) => {
                f.write_str("this is not valid; nothing was changed")?;
            }
            (_, true, false) => write!(f, "{title}: {detail}")?,
            _ => f.write_str(title)?,
        }
        for FieldProblem { field, message } in errors {
            let flag = match field.as_str() {
                "Authorization" => Some(self.key_flag),
                field => (self.flag_of)(field),
            };
            let flag = flag.map(|flag| format!(" ({flag})")).unwrap_or_default();
            write!(f, "\n  {field}{flag}: {message}")?;
        }
        if self.status == StatusCode::FORBIDDEN {
            write!(f, " (it was asked with {})", self.key_flag)?;
        }
        Ok(())
    }
}

/// Whether there is no such thing.
pub(super) fn is_not_found(error: &anyhow::Error) -> bool {
    let refusal = error.downcast_ref::<Refusal>();
    refusal.is_some_and(|refusal| refusal.status == StatusCode::NOT_FOUND)
}

/// A text of an answer; empty where there is none.
pub(super) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}
