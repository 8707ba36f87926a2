//! Who may post: API keys, and what is asked of whoever knows them.

use std::sync::Arc;

use http::{HeaderMap, header};
use pushrail_directory::Directory;
use pushrail_http::Problem;
use pushrail_schemas::config::Tenant;

/// Knows the tenants and their API keys. A change counts from the moment it arrives.
pub trait Keys: Send + Sync + 'static {
    /// The tenant that `key` belongs to. Looks the key up by its digest, so that the time it takes says nothing about
    /// how much of a guess was right.
    fn tenant_of_key(&self, key: &str) -> Option<Arc<Tenant>>;

    /// The tenant with this id.
    fn tenant(&self, id: &str) -> Option<Arc<Tenant>>;

    /// Whether all is known that was there at the start: before, "unknown" means nothing.
    fn is_ready(&self) -> bool;
}

impl Keys for Directory {
    fn tenant_of_key(&self, key: &str) -> Option<Arc<Tenant>> {
        Directory::tenant_of_key(self, key)
    }

    fn tenant(&self, id: &str) -> Option<Arc<Tenant>> {
        Directory::tenant(self, id)
    }

    fn is_ready(&self) -> bool {
        Directory::is_ready(self)
    }
}

/// A key has some 40 characters; what is far longer is none, and not worth a digest.
const KEY_LEN_MAX: usize = 512;

/// The tenant of the request's `Authorization: Bearer …`. The key itself is in no message.
pub fn authenticate(headers: &HeaderMap, keys: &dyn Keys) -> Result<Arc<Tenant>, Problem> {
    let refuse = |detail: &'static str| {
        Problem::new(
            http::StatusCode::UNAUTHORIZED,
            "unauthenticated",
            "A valid API key is required",
        )
        .detail(detail)
        .field("Authorization", detail)
    };
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Err(refuse("send the header `Authorization: Bearer <API key>`"));
    };
    if values.next().is_some() {
        return Err(refuse("send the header once"));
    }
    let text = value.to_str().unwrap_or_default();
    let key = match text.split_once(' ') {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => key.trim(),
        _ => return Err(refuse("must be `Bearer <API key>`")),
    };
    if key.is_empty() || key.len() > KEY_LEN_MAX {
        return Err(refuse("must be `Bearer <API key>`"));
    }
    keys.tenant_of_key(key)
        .ok_or_else(|| refuse("the API key is not known, or was revoked"))
}
