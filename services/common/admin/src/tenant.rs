//! Vendors.

use pushrail_schemas::config::{EventValidation, Tenant};
use pushrail_schemas::identity;

use crate::{Error, FieldError};

const NAME_LEN_MAX: usize = 200;

/// A tenant, if `id` may name one; without a name it is called by its id.
pub fn tenant(id: &str, name: Option<&str>) -> Result<Tenant, Error> {
    let name = name.unwrap_or(id);
    let mut errors = Vec::new();
    if !identity::is_tenant_id(id) {
        errors.push(FieldError::new(
            "tenantId",
            "must be 1 to 63 characters of a-z, 0-9 and inner -, such as acme",
        ));
    }
    if name.is_empty() || name.len() > NAME_LEN_MAX {
        let message = format!("must have 1 to {NAME_LEN_MAX} bytes");
        errors.push(FieldError::new("name", message));
    }
    if !errors.is_empty() {
        return Err(Error::Invalid(errors));
    }
    Ok(Tenant {
        tenant_id: id.into(),
        name: name.into(),
        audit_feed: false,
        event_validation: EventValidation::Off,
        encryption: Default::default(),
    })
}
