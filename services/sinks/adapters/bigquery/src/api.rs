//! What is asked of BigQuery in one call, as the owner of one token.

use std::collections::HashSet;

use googleapis_tonic_google_cloud_bigquery_storage_v1::google::cloud::bigquery::storage::v1 as storage;
use http::Method;
use pushrail_google::{Failure as Google, Local, Meaning, Source, Token};
use serde_json::{Value, json};

use crate::grpc::{Appended, Session, Storage};
use crate::table::{Column, Layout};

/// See the module.
pub(crate) struct Api<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) rest_url: &'a str,
    pub(crate) local: &'a Local,
    pub(crate) storage: &'a Storage,
    pub(crate) source: &'a Source,
    pub(crate) token: Token,
}

impl Api<'_> {
    pub(crate) async fn create_stream(&self, table: &str) -> Result<storage::WriteStream, Google> {
        let parent = self.layout.resource(table);
        self.judged(self.storage.create(&parent, &self.token).await)
    }

    pub(crate) async fn finalize(&self, stream: &str) -> Result<i64, Google> {
        self.judged(self.storage.finalize(stream, &self.token).await)
    }

    pub(crate) async fn append(
        &self,
        session: &mut Option<Session>,
        request: storage::AppendRowsRequest,
    ) -> (bool, Result<Appended, Google>) {
        let (was_open, appended) = self.storage.append(session, request, &self.token).await;
        let appended = match appended {
            // Which is not about the rows.
            Ok(Appended::Refused(refusal, _)) if refusal.meaning() == Meaning::Credentials => {
                self.judged(Err(Google::Refused(refusal)))
            }
            appended => appended,
        };
        (was_open, appended)
    }

    pub(crate) async fn create_table(&self, table: &str) -> Result<(), Google> {
        let url = self.tables();
        self.rest(Method::POST, &url, None, &self.layout.definition(table))
            .await
            .map(drop)
    }

    /// Appends columns to what the table has; nothing that is there is touched. Somebody else who was faster is seen by the
    /// etag, and is nothing against it: the next look tells.
    pub(crate) async fn append_columns(
        &self,
        table: &str,
        columns: &[Column],
    ) -> Result<(), Google> {
        let url = format!("{}/{table}", self.tables());
        let found = self.rest(Method::GET, &url, None, &Value::Null).await?;
        let mut fields = match &found["schema"]["fields"] {
            Value::Array(fields) => fields.clone(),
            _ => Vec::new(),
        };
        let name = |field: &Value| field["name"].as_str().unwrap_or_default().to_lowercase();
        let there: HashSet<_> = fields.iter().map(name).collect();
        let lacking = columns.iter().filter(|column| !there.contains(column.name));
        // One that is appended has no value in the rows that are there, so it cannot be required.
        fields.extend(lacking.map(|column| column.field(false)));
        let change = json!({"schema": {"fields": fields}});
        let etag = found["etag"].as_str();
        match self.rest(Method::PATCH, &url, etag, &change).await {
            Err(Google::Refused(refusal)) if refusal.status == Some(412) => Ok(()),
            other => other.map(drop),
        }
    }

    fn tables(&self) -> String {
        let Layout {
            project, dataset, ..
        } = self.layout;
        let base = self.rest_url;
        format!("{base}/bigquery/v2/projects/{project}/datasets/{dataset}/tables")
    }

    async fn rest(
        &self,
        method: Method,
        url: &str,
        etag: Option<&str>,
        body: &Value,
    ) -> Result<Value, Google> {
        let rest = &self.local.rest;
        let answer = rest.call(method, url, &self.token, etag, body).await;
        self.judged(answer)?.json()
    }

    fn judged<T>(&self, answer: Result<T, Google>) -> Result<T, Google> {
        answer.map_err(|failure| self.source.judged(&self.token, failure))
    }
}
