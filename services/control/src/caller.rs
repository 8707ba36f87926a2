//! Who calls, and what that lets them see.

use http::{HeaderMap, StatusCode, header};
use pushrail_http::Problem;
use pushrail_store::{Scope, Store, api_keys, sessions};
use uuid::Uuid;

use crate::api::Api;

/// What is far longer than any key or token is none.
const CREDENTIAL_LEN_MAX: usize = 2_048;

/// A caller that has shown who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// With the operator's key.
    Operator,
    /// With a tenant's API key.
    Tenant { tenant_id: String, key_id: String },
    /// With a session's token: one customer, and nothing else.
    Customer {
        tenant_id: String,
        customer_id: Uuid,
        session_id: Uuid,
    },
}

/// Which callers an operation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Who(u8);

impl Who {
    pub(crate) const OPERATOR: Who = Who(1);
    pub(crate) const TENANT: Who = Who(2);
    pub(crate) const CUSTOMER: Who = Who(4);

    pub(crate) const fn or(self, other: Who) -> Who {
        Who(self.0 | other.0)
    }

    pub(crate) fn has(self, other: Who) -> bool {
        self.0 & other.0 != 0
    }

    /// In the words of the documentation.
    pub(crate) fn describe(self) -> String {
        let names = [
            (Who::OPERATOR, "the operator's key"),
            (Who::TENANT, "a tenant's API key"),
            (Who::CUSTOMER, "a session token"),
        ];
        let names: Vec<_> = names
            .into_iter()
            .filter(|(who, _)| self.has(*who))
            .map(|(_, name)| name)
            .collect();
        names.join(" or ")
    }
}

impl Caller {
    pub(crate) fn who(&self) -> Who {
        match self {
            Caller::Operator => Who::OPERATOR,
            Caller::Tenant { .. } => Who::TENANT,
            Caller::Customer { .. } => Who::CUSTOMER,
        }
    }

    pub(crate) fn scope(&self) -> Scope<'_> {
        match self {
            Caller::Operator => Scope::System,
            Caller::Tenant { tenant_id, .. } => Scope::Tenant(tenant_id),
            Caller::Customer {
                tenant_id,
                customer_id,
                ..
            } => Scope::Customer {
                tenant_id,
                customer_id: *customer_id,
            },
        }
    }

    pub(crate) fn tenant_id(&self) -> Option<&str> {
        match self {
            Caller::Operator => None,
            Caller::Tenant { tenant_id, .. } | Caller::Customer { tenant_id, .. } => {
                Some(tenant_id)
            }
        }
    }

    /// For the audit trail: what kind of actor, and which.
    pub(crate) fn actor(&self) -> (&'static str, String) {
        match self {
            Caller::Operator => ("operator", String::new()),
            Caller::Tenant { key_id, .. } => ("api_key", key_id.clone()),
            Caller::Customer { session_id, .. } => ("session", session_id.to_string()),
        }
    }

    /// Whether its credential still counts, for an answer that goes on. A database that is away says nothing against it.
    pub(crate) async fn is_still_welcome(&self, store: &Store) -> bool {
        let asked = async {
            match self {
                Caller::Operator => Ok(true),
                Caller::Tenant { tenant_id, key_id } => {
                    let mut tx = store.begin(Scope::Tenant(tenant_id)).await?;
                    let key = api_keys::get(&mut tx, key_id).await?;
                    Ok(key.is_some_and(|key| key.revoked_at.is_none()))
                }
                Caller::Customer { session_id, .. } => {
                    let mut tx = store.begin(Scope::Session(*session_id)).await?;
                    Ok(sessions::presented(&mut tx, *session_id).await?.is_some())
                }
            }
        };
        asked.await.unwrap_or_else(|error: pushrail_store::Error| {
            matches!(error, pushrail_store::Error::Unavailable(_))
        })
    }

    /// What its requests are counted under.
    pub(crate) fn rate_key(&self) -> String {
        match self {
            Caller::Operator => "operator".to_owned(),
            Caller::Tenant { key_id, .. } => format!("key/{key_id}"),
            Caller::Customer { session_id, .. } => format!("session/{session_id}"),
        }
    }
}

pub(crate) fn unauthenticated(detail: &'static str) -> Problem {
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "unauthenticated",
        "A valid key or session token is required",
    )
    .detail(detail)
    .field("Authorization", detail)
}

/// The caller of `Authorization: Bearer …`. Asks the database every time: what was revoked counts no longer from the next
/// request on.
pub(crate) async fn authenticate(api: &Api, headers: &HeaderMap) -> Result<Caller, Problem> {
    let credential = bearer(headers)?;
    if api.admin_key.is(credential) {
        return Ok(Caller::Operator);
    }
    if credential.bytes().filter(|b| *b == b'.').count() == 2 {
        return session(api, credential).await;
    }
    let sha256 = pushrail_admin::sha256_hex(credential);
    let mut tx = api
        .store
        .begin(Scope::Key(&sha256))
        .await
        .map_err(crate::reply::store)?;
    let key = api_keys::presented(&mut tx, &sha256)
        .await
        .map_err(crate::reply::store)?;
    let key = key.ok_or_else(|| unauthenticated("the key is not known, or was revoked"))?;
    api.used.note(&key.key_id);
    Ok(Caller::Tenant {
        tenant_id: key.tenant_id,
        key_id: key.key_id,
    })
}

async fn session(api: &Api, token: &str) -> Result<Caller, Problem> {
    let session_id = api
        .tokens
        .session_id(token)
        .ok_or_else(|| unauthenticated("the token is not one of ours, or has expired"))?;
    let mut tx = api
        .store
        .begin(Scope::Session(session_id))
        .await
        .map_err(crate::reply::store)?;
    let session = sessions::presented(&mut tx, session_id)
        .await
        .map_err(crate::reply::store)?;
    let session =
        session.ok_or_else(|| unauthenticated("the session has expired, or was revoked"))?;
    Ok(Caller::Customer {
        tenant_id: session.tenant_id,
        customer_id: session.customer_id,
        session_id,
    })
}

fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Err(unauthenticated(
            "send the header `Authorization: Bearer <key or session token>`",
        ));
    };
    if values.next().is_some() {
        return Err(unauthenticated("send the header once"));
    }
    let text = value.to_str().unwrap_or_default();
    let credential = match text.split_once(' ') {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("bearer") => rest.trim(),
        _ => "",
    };
    match credential.len() {
        1..=CREDENTIAL_LEN_MAX => Ok(credential),
        _ => Err(unauthenticated("must be `Bearer <key or session token>`")),
    }
}
