//! What a crash between any two steps leaves behind, against a real Kafka.

use pushrail_testkit::{Cluster, cluster, wait_until};

use super::*;
use crate::acl::Found;

struct Bed {
    cluster: &'static Cluster,
    access: Access,
}

impl Bed {
    async fn start() -> Bed {
        let cluster = cluster().await;
        Bed {
            cluster,
            access: Access::connect(&cluster.connection()).unwrap(),
        }
    }

    fn grant(&self) -> Grant {
        Grant {
            user: User::draw(&self.cluster.unique("t")).unwrap(),
            write_direct: true,
            read_audit: true,
            producer_bytes_per_s: 1_000_000,
            consumer_bytes_per_s: 2_000_000,
        }
    }

    async fn rights(&self, user: &User) -> Vec<Found> {
        let all = Filter::Principal(user.principal());
        self.access.admin.describe_acls(all).await.unwrap()
    }

    /// Kafka has exactly what was granted.
    async fn has(&self, grant: &Grant) {
        let (found, wanted) = (self.rights(&grant.user).await, acl::wanted(grant));
        assert_eq!(found.len(), wanted.len(), "{found:?}");
        let has = |acl: &Acl| found.iter().any(|found| found.acl.as_ref() == Some(acl));
        assert!(wanted.iter().all(has), "{found:?}");
        let limits = self.access.limits(&grant.user).await.unwrap().unwrap();
        assert_eq!(
            (limits.producer_bytes_per_s, limits.consumer_bytes_per_s),
            (grant.producer_bytes_per_s, grant.consumer_bytes_per_s)
        );
    }

    /// Kafka has nothing of the user any more.
    async fn has_nothing(&self, user: &User) {
        assert_eq!(self.rights(user).await, []);
        assert_eq!(self.access.limits(user).await.unwrap(), None);
        let rotated = self.access.rotate(user).await;
        assert!(matches!(rotated, Err(Error::NotGranted(_))), "{rotated:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_was_cut_off_after_any_step_is_repeated_or_revoked_as_if_it_never_was() {
    let bed = Bed::start().await;
    for done in 0..=GRANT.len() {
        for finish in [true, false] {
            let grant = bed.grant();
            let password = Password::draw().unwrap();
            for step in &GRANT[..done] {
                bed.access
                    .grant_step(*step, &grant, &password)
                    .await
                    .unwrap();
            }
            if finish {
                bed.access.grant(&grant).await.unwrap();
                bed.access.grant(&grant).await.unwrap();
                bed.has(&grant).await;
            }
            bed.access.revoke(&grant.user).await.unwrap();
            bed.has_nothing(&grant.user).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_that_was_cut_off_after_any_step_is_repeated_or_granted_again() {
    let bed = Bed::start().await;
    for done in 0..=REVOKE.len() {
        let grant = bed.grant();
        bed.access.grant(&grant).await.unwrap();
        for step in &REVOKE[..done] {
            bed.access.revoke_step(*step, &grant.user).await.unwrap();
        }
        bed.access.grant(&grant).await.unwrap();
        bed.has(&grant).await;
        for step in &REVOKE[..done] {
            bed.access.revoke_step(*step, &grant.user).await.unwrap();
        }
        bed.access.revoke(&grant.user).await.unwrap();
        bed.access.revoke(&grant.user).await.unwrap();
        bed.has_nothing(&grant.user).await;
    }
}

/// The order of the steps: an unlimited user with rights must never be, nor one whose password is known before it is limited.
#[tokio::test(flavor = "multi_thread")]
async fn rights_come_last_and_go_first() {
    let bed = Bed::start().await;
    let (grant, password) = (bed.grant(), Password::draw().unwrap());
    for step in GRANT {
        assert_eq!(bed.rights(&grant.user).await, [], "before {step:?}");
        bed.access
            .grant_step(step, &grant, &password)
            .await
            .unwrap();
    }
    bed.has(&grant).await;
    for step in REVOKE {
        let limited = bed.access.limits(&grant.user).await.unwrap().is_some();
        assert!(limited, "before {step:?}");
        bed.access.revoke_step(step, &grant.user).await.unwrap();
        assert_eq!(bed.rights(&grant.user).await, [], "after {step:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_of_less_takes_away_what_is_not_granted_any_more() {
    let bed = Bed::start().await;
    let mut grant = bed.grant();
    bed.access.grant(&grant).await.unwrap();
    grant.read_audit = false;
    grant.producer_bytes_per_s = 5;
    bed.access.grant(&grant).await.unwrap();
    bed.has(&grant).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_has_the_tenants_own_users_and_no_neighbours() {
    let bed = Bed::start().await;
    let tenant = bed.cluster.unique("t");
    let neighbour = format!("{tenant}-x");
    let mut granted = Vec::new();
    for (tenant, write_direct, read_audit) in [
        (&tenant, true, false),
        (&tenant, false, true),
        (&neighbour, true, true),
    ] {
        let grant = Grant {
            user: User::draw(tenant).unwrap(),
            write_direct,
            read_audit,
            ..bed.grant()
        };
        bed.access.grant(&grant).await.unwrap();
        granted.push(Granted {
            user: grant.user,
            write_direct,
            read_audit,
        });
    }
    let theirs = granted.split_off(2);
    granted.sort_by(|a, b| a.user.cmp(&b.user));
    assert_eq!(bed.access.list(&tenant).await.unwrap(), granted);
    assert_eq!(bed.access.list(&neighbour).await.unwrap(), theirs);
    bed.access.revoke(&granted[0].user).await.unwrap();
    assert_eq!(bed.access.list(&tenant).await.unwrap(), granted[1..]);
    assert!(matches!(bed.access.list("A").await, Err(Error::Tenant(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_granted_changes_nothing() {
    let bed = Bed::start().await;
    let grant = bed.grant();
    let nothing = Grant {
        write_direct: false,
        read_audit: false,
        ..grant.clone()
    };
    let stopped = Grant {
        producer_bytes_per_s: 0,
        ..grant.clone()
    };
    let refused = bed.access.grant(&nothing).await.unwrap_err();
    assert!(matches!(refused, Error::NoRight), "{refused}");
    let refused = bed.access.grant(&stopped).await.unwrap_err();
    assert!(matches!(refused, Error::Limit), "{refused}");
    bed.has_nothing(&grant.user).await;
    let few = Access::connect(&bed.cluster.connection())
        .unwrap()
        .with_iterations(1);
    assert!(matches!(few, Err(Error::Iterations(1))));
}

/// The caller may be gone, killed or timed out, while Kafka is still at it.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_goes_away_leaves_a_step_whole() {
    let bed = Bed::start().await;
    let grant = bed.grant();
    {
        let mut granting = std::pin::pin!(bed.access.grant(&grant));
        let started = tokio::time::timeout(Duration::from_millis(1), &mut granting).await;
        // On a fast machine it may be done.
        drop(started);
    }
    bed.access.revoke(&grant.user).await.unwrap();
    wait_until("nothing to be under way", || {
        std::sync::Arc::strong_count(&bed.access.admin.client) == 1
    })
    .await;
    bed.access.revoke(&grant.user).await.unwrap();
    bed.has_nothing(&grant.user).await;
}
