//! What the API offers, as data: the same table routes requests, decides who may call, and is the OpenAPI document.

use futures::future::BoxFuture;
use http::{Method, StatusCode};
use pushrail_http::Problem;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::api::Api;
use crate::call::Call;
use crate::caller::Who;
use crate::reply::Reply;

pub(crate) type Handler =
    for<'a> fn(&'a Api, &'a mut Call) -> BoxFuture<'a, Result<Reply, Problem>>;
type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// Makes a [`Handler`] of an async function.
macro_rules! handler {
    ($function:path) => {
        |api, call| Box::pin($function(api, call))
    };
}
pub(crate) use handler;

pub(crate) struct Operation {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    /// Name in generated clients.
    pub(crate) id: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) detail: &'static str,
    pub(crate) tag: &'static str,
    pub(crate) who: Who,
    pub(crate) query: &'static [Query],
    pub(crate) body: Option<SchemaOf>,
    pub(crate) status: StatusCode,
    pub(crate) answer: Option<SchemaOf>,
    /// Other media types that the answer may have.
    pub(crate) media: &'static [&'static str],
    /// Shows an ETag.
    pub(crate) revision: bool,
    /// Takes `If-Match`.
    pub(crate) conditional: bool,
    /// Problems beyond those that every operation can have.
    pub(crate) problems: &'static [u16],
    pub(crate) handler: Handler,
}

/// A parameter of the query.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Query {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) kind: QueryKind,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum QueryKind {
    Text,
    /// A UUID.
    Id,
    /// A whole number in a range.
    Number(u32, u32),
    /// RFC 3339.
    Time,
    One(&'static [&'static str]),
}

/// Rows of a page.
pub(crate) const LIMIT_DEFAULT: u32 = 50;
pub(crate) const LIMIT_MAX: u32 = 500;

pub(crate) const PAGED: &[Query] = &[LIMIT, CURSOR];
pub(crate) const LIMIT: Query = Query {
    name: "limit",
    about: "Rows of a page; 50 when it is not given.",
    kind: QueryKind::Number(1, LIMIT_MAX),
};
pub(crate) const CURSOR: Query = Query {
    name: "cursor",
    about: "Where the page begins: `nextCursor` of the page before.",
    kind: QueryKind::Text,
};

impl Operation {
    pub(crate) fn new(
        method: Method,
        path: &'static str,
        id: &'static str,
        tag: &'static str,
        summary: &'static str,
        handler: Handler,
    ) -> Self {
        Operation {
            method,
            path,
            id,
            summary,
            detail: "",
            tag,
            who: Who::TENANT,
            query: &[],
            body: None,
            status: StatusCode::OK,
            answer: None,
            media: &[],
            revision: false,
            conditional: false,
            problems: &[],
            handler,
        }
    }

    pub(crate) fn detail(mut self, detail: &'static str) -> Self {
        self.detail = detail;
        self
    }

    pub(crate) fn who(mut self, who: Who) -> Self {
        self.who = who;
        self
    }

    pub(crate) fn query(mut self, query: &'static [Query]) -> Self {
        self.query = query;
        self
    }

    pub(crate) fn body<T: JsonSchema>(mut self) -> Self {
        self.body = Some(|generator| generator.subschema_for::<T>());
        self
    }

    pub(crate) fn ok<T: JsonSchema>(mut self) -> Self {
        self.answer = Some(|generator| generator.subschema_for::<T>());
        self
    }

    pub(crate) fn created<T: JsonSchema>(mut self) -> Self {
        self.status = StatusCode::CREATED;
        self.ok::<T>()
    }

    pub(crate) fn accepted<T: JsonSchema>(mut self) -> Self {
        self.status = StatusCode::ACCEPTED;
        self.ok::<T>()
    }

    pub(crate) fn nothing(mut self) -> Self {
        self.status = StatusCode::NO_CONTENT;
        self
    }

    pub(crate) fn media(mut self, media: &'static [&'static str]) -> Self {
        self.media = media;
        self
    }

    /// The answer has an ETag.
    pub(crate) fn revision(mut self) -> Self {
        self.revision = true;
        self
    }

    /// The request may have `If-Match`.
    pub(crate) fn conditional(mut self) -> Self {
        self.conditional = true;
        self
    }

    pub(crate) fn problems(mut self, problems: &'static [u16]) -> Self {
        self.problems = problems;
        self
    }

    /// Whether it takes an `Idempotency-Key`: whatever would do something twice.
    pub(crate) fn is_idempotent_by_key(&self) -> bool {
        self.method == Method::POST
    }

    /// Names in the braces of the path.
    pub(crate) fn path_parameters(&self) -> impl Iterator<Item = &'static str> {
        self.path
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
    }
}
