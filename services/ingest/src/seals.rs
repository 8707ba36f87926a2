//! What becomes of whom an event is about, and of its payload where that is to be sealed.
//!
//! A subject is replaced by a keyed hash of it before anything is written: Pushrail keeps no other. A payload is sealed here,
//! once, with a key of this event, and the same bytes travel on every topic. For a tenant that does not ask for it that costs
//! a look at a flag. What is needed comes over the `config` topic; while it is not here nothing passes in clear that
//! should not: the event is refused for the moment.

use pushrail_payload_keys::PayloadKeys;
use pushrail_schemas::config::Tenant;
use pushrail_shred::{Owner, part};
use uuid::Uuid;

use crate::input::Draft;
use crate::input::rules::{Cause, Rejection};

/// See the module.
pub struct Seals(Option<PayloadKeys>);

/// What is written in the place of what was sent.
#[derive(Debug, Default)]
pub struct Seal {
    pub subject_id: Option<Uuid>,
    pub content: Option<Content>,
}

/// A payload and metadata, sealed.
#[derive(Debug)]
pub struct Content {
    pub sealing: [u8; 8],
    pub payload: Vec<u8>,
    pub metadata: Vec<u8>,
}

impl Seals {
    pub fn new(keys: PayloadKeys) -> Self {
        Seals(Some(keys))
    }

    /// For whoever has no keys: what needs one is refused.
    pub fn none() -> Self {
        Seals(None)
    }

    pub fn of(
        &self,
        tenant: &Tenant,
        draft: &Draft<'_>,
        customer_id: Uuid,
        event_id: Uuid,
    ) -> Result<Seal, Rejection> {
        let wanted = match &self.0 {
            Some(keys) => keys.wanted(tenant, customer_id),
            None => !tenant.encryption.is_off(),
        };
        if !wanted && draft.subject.is_none() {
            return Ok(Seal::default());
        }
        let keys = self.0.as_ref().ok_or_else(|| not_now("event"))?;
        let subject = draft.subject.as_deref().map(|subject| {
            let id = keys.subject_id(&tenant.tenant_id, customer_id, subject);
            id.ok_or_else(|| not_now("subject"))
        });
        let subject_id = subject.transpose()?;
        if !wanted {
            return Ok(Seal {
                subject_id,
                content: None,
            });
        }
        let owner = Owner {
            customer_id,
            event_id,
            subject_id,
        };
        let fresh = keys.fresh(&tenant.tenant_id, &owner);
        let (sealing, key) = fresh.ok_or_else(|| not_now("payload"))?;
        let seal = |name, plain| key.sealed(name, plain).map_err(|_| not_now("payload"));
        let content = Content {
            sealing: sealing.to_bytes(),
            payload: seal(part::PAYLOAD, draft.payload)?,
            metadata: seal(part::METADATA, draft.metadata)?,
        };
        Ok(Seal {
            subject_id,
            content: Some(content),
        })
    }
}

fn not_now(field: &'static str) -> Rejection {
    Rejection {
        cause: Cause::NotNow,
        ..Rejection::of(
            field,
            "can't be sealed at the moment: the tenant's keys are not known here yet; send it again in a few seconds",
        )
    }
}

#[cfg(test)]
mod tests {
    use pushrail_schemas::config::{Encryption, EventValidation};

    use super::*;

    fn tenant(encryption: Encryption) -> Tenant {
        Tenant {
            tenant_id: "acme".into(),
            name: "acme".into(),
            audit_feed: false,
            event_validation: EventValidation::Off,
            encryption,
        }
    }

    fn draft(subject: Option<&'static str>) -> Draft<'static> {
        Draft {
            event_type: "a.b".into(),
            customer_external_id: "c1".into(),
            occurred_at_us: None,
            idempotency_key: None,
            source: None,
            payload: b"{}",
            metadata: b"{}",
            subject: subject.map(Into::into),
        }
    }

    #[test]
    fn what_can_not_be_sealed_is_refused_for_the_moment_and_never_passes_in_clear() {
        let id = Uuid::from_u128(1);
        let of = |encryption, subject| {
            let (tenant, draft) = (tenant(encryption), draft(subject));
            Seals::none().of(&tenant, &draft, id, id)
        };
        let nothing = of(Encryption::Off, None).unwrap();
        assert!(nothing.subject_id.is_none() && nothing.content.is_none());
        for (encryption, subject) in [
            (Encryption::On, None),
            (Encryption::On, Some("user/1")),
            (Encryption::Off, Some("user/1")),
        ] {
            let refused = of(encryption, subject).unwrap_err();
            assert_eq!(refused.cause, Cause::NotNow);
            assert!(!format!("{refused:?}").contains("user/1"));
        }
    }
}
