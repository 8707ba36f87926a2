//! Names that say whose they are, and of no two tenants overlap.

use std::fmt;

use pushrail_schemas::identity::is_tenant_id;

use crate::Error;
use crate::password::random;

const PREFIX: &str = "psh-";
const RANDOM_LEN: usize = 8;

/// A user of a tenant: `psh-<tenant>-<16 hexadecimal digits>`.
///
/// A tenant's id may contain `-` and even end like a user's name, so the tenant is what stands between the prefix and the
/// *last* `-`: the digits contain none. Groups begin with `psh-<tenant>.`, and no tenant's id contains a dot: none of these
/// prefixes is the beginning of another, as `psh-acme-` would be of `psh-acme-x-`. Groups belong to the tenant and not to the
/// user, so that a new credential goes on where the old one was.
///
/// Whatever is not named like this is never touched: neither an operator's user, nor `ANONYMOUS`, which clients without a
/// name share.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct User {
    name: String,
    tenant_len: usize,
}

impl User {
    /// Draws a name for a new user of `tenant_id`.
    pub fn draw(tenant_id: &str) -> Result<User, Error> {
        check_tenant(tenant_id)?;
        let random = hex::encode(&random::<RANDOM_LEN>()?[..]);
        Ok(User {
            name: format!("{PREFIX}{tenant_id}-{random}"),
            tenant_len: tenant_id.len(),
        })
    }

    /// The user that has this name, which must be one of ours.
    pub fn parse(name: &str) -> Result<User, Error> {
        let tenant = || {
            let (tenant, random) = name.strip_prefix(PREFIX)?.rsplit_once('-')?;
            let digits = random
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
            (digits && random.len() == 2 * RANDOM_LEN && is_tenant_id(tenant)).then_some(tenant)
        };
        match tenant() {
            Some(tenant) => Ok(User {
                name: name.to_owned(),
                tenant_len: tenant.len(),
            }),
            None => Err(Error::ForeignUser(name.to_owned())),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn tenant_id(&self) -> &str {
        &self.name[PREFIX.len()..PREFIX.len() + self.tenant_len]
    }

    /// What the names of this user's consumer groups must begin with.
    pub fn group_prefix(&self) -> String {
        group_prefix(self.tenant_id())
    }

    /// As ACLs have it.
    pub(crate) fn principal(&self) -> String {
        format!("User:{}", self.name)
    }

    pub(crate) fn of_principal(principal: &str) -> Option<User> {
        User::parse(principal.strip_prefix("User:")?).ok()
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

pub(crate) fn group_prefix(tenant_id: &str) -> String {
    format!("{PREFIX}{tenant_id}.")
}

pub(crate) fn check_tenant(tenant_id: &str) -> Result<(), Error> {
    match is_tenant_id(tenant_id) {
        true => Ok(()),
        false => Err(Error::Tenant(tenant_id.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANTS: &[&str] = &[
        "acme",
        "acme-x",
        "acme-0123456789abcdef",
        "psh",
        "psh-acme",
        "a",
    ];

    #[test]
    fn a_user_is_of_its_own_tenant_and_of_no_other() {
        for tenant in TENANTS {
            let user = User::draw(tenant).unwrap();
            assert_eq!(user.tenant_id(), *tenant);
            let parsed = User::parse(user.name()).unwrap();
            assert_eq!((parsed.tenant_id(), &parsed), (*tenant, &user));
            assert_eq!(User::of_principal(&user.principal()), Some(user));
        }
        // Both could be read into the longer one; the digits decide.
        let short = User::parse("psh-acme-0123456789abcdef").unwrap();
        let long = User::parse("psh-acme-0123456789abcdef-0123456789abcdef").unwrap();
        assert_eq!(
            (short.tenant_id(), long.tenant_id()),
            ("acme", "acme-0123456789abcdef")
        );
    }

    #[test]
    fn no_group_of_a_tenant_is_a_group_of_another() {
        for one in TENANTS {
            for other in TENANTS.iter().filter(|other| *other != one) {
                let (one, other) = (group_prefix(one), group_prefix(other));
                assert!(!one.starts_with(&other), "{one} {other}");
            }
        }
    }

    #[test]
    fn a_user_that_is_not_ours_is_refused() {
        for foreign in [
            "",
            "ANONYMOUS",
            "admin",
            "psh-",
            "psh-acme",
            "psh-acme-",
            "psh-acme-0123",
            "psh-acme-0123456789ABCDEF",
            "psh-acme-0123456789abcdeg",
            "psh--0123456789abcdef",
            "psh-ACME-0123456789abcdef",
            "psh-a.b-0123456789abcdef",
            "psh-*-0123456789abcdef",
            "User:psh-acme-0123456789abcdef",
        ] {
            let refused = User::parse(foreign);
            assert!(matches!(refused, Err(Error::ForeignUser(_))), "{foreign}");
        }
        assert!(matches!(User::draw("A"), Err(Error::Tenant(_))));
    }
}
