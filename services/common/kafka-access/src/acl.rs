//! Which rights a user has, as Kafka's ACLs.

use pushrail_topology::topics;

use crate::access::Grant;
use crate::user::{User, group_prefix};

/// An allowed operation, from every host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Acl {
    pub(crate) principal: String,
    pub(crate) resource: Resource,
    pub(crate) operation: Operation,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    /// The topic of exactly this name.
    Topic(String),
    /// Every group whose name begins like this.
    Groups(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Read,
    Write,
    Describe,
}

/// An ACL that Kafka has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) principal: String,
    /// `None` when it is of a shape that we never make: of another kind of resource, or of one host, or a denial.
    pub(crate) acl: Option<Acl>,
}

/// Which ACLs are meant.
#[derive(Clone, Debug)]
pub(crate) enum Filter {
    /// Whatever this principal has.
    Principal(String),
    /// Whatever anybody has on exactly this.
    Resource(Resource),
}

/// Everything that `grant` allows. An idempotent producer needs no right of its own: whoever may write to a topic has it.
/// A transactional one does, and gets none.
pub(crate) fn wanted(grant: &Grant) -> Vec<Acl> {
    let tenant_id = grant.user.tenant_id();
    let direct = Resource::Topic(topics::direct(tenant_id));
    let audit = Resource::Topic(topics::audit(tenant_id));
    let groups = Resource::Groups(group_prefix(tenant_id));
    let mut wanted = Vec::new();
    if grant.write_direct {
        wanted.extend([
            (direct.clone(), Operation::Write),
            (direct, Operation::Describe),
        ]);
    }
    if grant.read_audit {
        wanted.extend([
            (audit.clone(), Operation::Read),
            (audit, Operation::Describe),
            (groups, Operation::Read),
        ]);
    }
    let of_user = |(resource, operation)| Acl {
        principal: grant.user.principal(),
        resource,
        operation,
    };
    wanted.into_iter().map(of_user).collect()
}

/// Where users of a tenant can have rights.
pub(crate) fn resources(tenant_id: &str) -> [Resource; 3] {
    [
        Resource::Topic(topics::direct(tenant_id)),
        Resource::Topic(topics::audit(tenant_id)),
        Resource::Groups(group_prefix(tenant_id)),
    ]
}

impl Acl {
    pub(crate) fn writes_direct(&self, user: &User) -> bool {
        self.operation == Operation::Write
            && self.resource == Resource::Topic(topics::direct(user.tenant_id()))
    }

    pub(crate) fn reads_audit(&self, user: &User) -> bool {
        self.operation == Operation::Read
            && self.resource == Resource::Topic(topics::audit(user.tenant_id()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(write_direct: bool, read_audit: bool) -> Grant {
        Grant {
            user: User::parse("psh-acme-0123456789abcdef").unwrap(),
            write_direct,
            read_audit,
            producer_bytes_per_s: 1,
            consumer_bytes_per_s: 1,
        }
    }

    #[test]
    fn nothing_is_allowed_beyond_what_was_asked_for() {
        let shown = |grant: &Grant| -> Vec<_> {
            let acls = wanted(grant).into_iter();
            acls.map(|acl| (acl.resource, acl.operation)).collect()
        };
        let direct = || Resource::Topic("events.direct.acme".into());
        let audit = || Resource::Topic("audit.attempts.acme".into());
        let writes = vec![
            (direct(), Operation::Write),
            (direct(), Operation::Describe),
        ];
        let reads = vec![
            (audit(), Operation::Read),
            (audit(), Operation::Describe),
            (Resource::Groups("psh-acme.".into()), Operation::Read),
        ];
        assert_eq!(shown(&grant(true, false)), writes);
        assert_eq!(shown(&grant(false, true)), reads);
        assert_eq!(shown(&grant(true, true)), [writes, reads].concat());
        let principal = "User:psh-acme-0123456789abcdef";
        assert!(
            wanted(&grant(true, true))
                .iter()
                .all(|acl| acl.principal == principal)
        );
    }
}
