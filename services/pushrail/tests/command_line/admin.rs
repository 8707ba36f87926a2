//! What commands make, and what they refuse.

use serde_json::{Value, json};

use crate::installation::{QUIET, installation};

#[tokio::test]
async fn what_is_refused_names_the_way_out_and_changes_nothing() {
    let installation = installation().await;
    let _turn = QUIET.write().await;
    let before = installation.config_end().await;
    const NOBODY: &str = "00000000-0000-0000-0000-000000000000";
    const ADD: &str = "admin destination add --customer c1 --url";
    let table = [
        (
            "admin destination add --url https://e.com/",
            "customerExternalId (--customer)",
        ),
        (
            "admin destination add --customer .. --url https://e.com/",
            "\"..\"",
        ),
        ("admin destination add --customer c1", "config (--config)"),
        (&format!("{ADD} ftp://example.com/"), "config.url (--url)"),
        (&format!("{ADD} https://10.0.0.1/"), "config.url (--url)"),
        (
            &format!("{ADD} https://user:hunter2@example.com/"),
            "config.url (--url)",
        ),
        (&format!("{ADD} https://example.com/ --kind fax"), "webhook"),
        (
            &format!("{ADD} https://example.com/ --events *.x"),
            "eventTypes[0] (--events)",
        ),
        (
            &format!("{ADD} https://example.com/ --filter {{}}"),
            "filter (--filter)",
        ),
        (
            &format!("{ADD} https://example.com/ --filter {{"),
            "--filter: not valid JSON",
        ),
        (
            &format!("{ADD} https://example.com/ --transform [{{\"shout\":1}}]"),
            "--transform",
        ),
        (
            &format!("{ADD} https://example.com/ --max-attempts 0"),
            "retry.maxAttempts (--max-attempts)",
        ),
        (
            &format!("{ADD} https://example.com/ --max-age 48h"),
            "retry.maxAgeMs (--max-age)",
        ),
        (
            &format!("{ADD} https://example.com/ --rate-limit 0"),
            "rateLimit.perSecond (--rate-limit)",
        ),
        (
            &format!("{ADD} https://example.com/ --timeout 1h"),
            "timeoutMs (--timeout)",
        ),
        (
            &format!("{ADD} https://example.com/ --payload-mode some"),
            "payloadMode (--payload-mode)",
        ),
        (
            &format!("{ADD} https://example.com/ --config {{\"uri\":1}}"),
            "uri",
        ),
        (
            &format!("{ADD} https://example.com/ --secrets {{\"signingSecret\":\"hunter2\"}}"),
            "secrets.signingSecret",
        ),
        (
            &format!("{ADD} https://example.com/ --api-key psh_hunter2_hunter2_hunter2"),
            "Authorization (--api-key)",
        ),
        (
            &format!("{ADD} https://example.com/ --control-url http://127.0.0.1:1"),
            "--control-url",
        ),
        (
            "admin destination add --from /nowhere.json",
            "/nowhere.json",
        ),
        (&format!("admin destination pause {NOBODY}"), NOBODY),
        (&format!("admin destination remove {NOBODY}"), NOBODY),
        ("admin destination pause not-an-id", "not-an-id"),
        ("admin tenant add ACME", "tenantId"),
        ("admin tenant add acme", "there already"),
        ("admin tenant remove nobody", "tenant"),
        (
            "admin tenant list --admin-key hunter2-hunter2-hunter2",
            "Authorization (--admin-key)",
        ),
        ("admin api-key add --tenant nobody", "tenant"),
        ("admin api-key revoke nobody", "nobody"),
        (
            "admin session create --customer c1 --ttl 48h",
            "ttlSeconds (--ttl)",
        ),
        ("admin session revoke not-an-id", "not-an-id"),
        ("admin event-type add a..b", "name"),
        (
            "admin event-type add a.b --schema {\"type\":1}",
            "schema/type (--schema)",
        ),
        ("admin audit list --since yesterday", "since (--since)"),
        (
            "admin config rebuild --database mysql://u:hunter2@127.0.0.1/d",
            "postgres://",
        ),
        ("key-ring reseal --key-ring k:hunter2", "key ring"),
        ("control --allow-network 10.0.0.1/8", "10.0.0.1/8"),
        ("control --admin-key hunter2", "20 visible"),
        ("control --requests-per-second 0", "--requests-per-second"),
        (
            "ingest --control https://control:8081",
            "control: must be http://",
        ),
        ("topology apply --replication-factor 3", "3 brokers"),
        ("topology apply --partitions nothing=3", "nothing"),
        ("topology plan --partitions events", "TOPIC=COUNT"),
    ];
    for (line, part) in table {
        let error = installation.refused(line);
        assert!(error.contains(part), "{line}: {error}");
        assert!(
            !error.contains("hunter2") || error.contains("unexpected"),
            "{line}: {error}"
        );
    }
    assert_eq!(
        installation.config_end().await,
        before,
        "something was written"
    );
}

#[tokio::test]
async fn what_was_made_is_listed_changes_state_and_goes() {
    let installation = installation().await;
    let _turn = QUIET.read().await;
    let added = installation
        .json("admin destination add --customer listed --url https://example.com/ --events a.*,b");
    let secret = added["signingSecret"].as_str().unwrap();
    assert!(secret.starts_with("whsec_"));
    let id = added["destinationId"].as_str().unwrap().to_owned();
    let list = "admin destination list --customer listed";
    let listed = installation.json(list);
    assert_eq!(listed["destinationId"], *id);
    assert_eq!(listed["secrets"], json!({"signingSecret": "********"}));
    // Without its customer it is looked for.
    assert_eq!(
        installation.json(&format!("admin destination show {id}")),
        listed
    );
    assert!(installation.ok("admin destination list").contains(&id));
    assert!(installation.ok("admin customer list").contains("listed"));
    installation.told().await;
    for record in installation.cluster.read_all("config").await {
        let value =
            String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).into_owned();
        assert!(
            !value.contains(secret),
            "the secret is on the topic in clear"
        );
    }
    for (command, state) in [
        ("pause", "paused"),
        ("resume", "active"),
        ("disable", "disabled"),
    ] {
        let changed = installation.json(&format!("admin destination {command} {id}"));
        assert_eq!(changed["state"], state);
        let listed = installation.json(list);
        assert_eq!(
            (&listed["state"], &listed["version"]),
            (&json!(state), &json!(1))
        );
    }
    let update = format!("admin destination update {id} --customer listed");
    let changed = installation.json(&format!(
        "{update} --url https://example.org/ --max-attempts 3"
    ));
    assert_eq!(changed["config"]["url"], "https://example.org/");
    assert_eq!(changed["retry"]["maxAttempts"], 3);
    assert_eq!(
        changed["retry"]["maxAgeMs"], listed["retry"]["maxAgeMs"],
        "what was not named stays"
    );
    assert!(installation.refused(&update).contains("no flag"));
    let rotated = installation.json(&format!(
        "admin destination rotate-secret {id} --overlap 1h"
    ));
    assert_ne!(rotated["signingSecret"], secret);
    assert!(rotated["rotationEndsAt"].is_string());
    let finished = installation.json(&format!("admin destination finish-rotation {id}"));
    assert_eq!(finished["version"], 4);
    assert!(finished.get("signingSecret").is_none());
    installation.ok(&format!("admin destination remove {id}"));
    assert_eq!(installation.ok(list), "");
    installation.ok("admin customer remove listed");

    let key = installation.json("admin api-key add --name spare");
    let (key_id, key) = (key["keyId"].as_str().unwrap(), key["key"].as_str().unwrap());
    let keys = installation.ok("admin api-key list");
    assert!(keys.contains(key_id) && keys.contains("spare") && !keys.contains(key));
    installation.ok(&format!("admin api-key revoke {key_id}"));
    let keys = installation.ok("admin api-key list --tenant acme");
    let line = keys.lines().find(|line| line.contains(key_id)).unwrap();
    assert!(line.contains("revoked"), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_event_says_what_came_of_it() {
    let installation = installation().await;
    let _turn = QUIET.read().await;
    let receiver = pushrail_testkit::Receiver::start().await;
    let url = receiver.url("/hook");
    let added = installation.json(&format!(
        "admin destination add --customer tested --url {url} --paused"
    ));
    let test = format!(
        "admin destination test {} --customer tested --event-type a.b --payload {{\"n\":1}}",
        added["destinationId"].as_str().unwrap()
    );
    let printed = installation.ok(&test);
    assert!(
        printed.contains("Delivered event") && printed.contains("200"),
        "{printed}"
    );
    let request = &receiver.wait("/hook", 1).await[0];
    assert!(String::from_utf8_lossy(&request.body).contains("{\"n\":1}"));
    drop(receiver);
    let error = installation.refused(&test);
    assert!(error.contains("not delivered"), "{error}");
}

#[tokio::test]
async fn tenants_sessions_event_types_and_the_trail_are_a_command_each() {
    let installation = installation().await;
    let _turn = QUIET.read().await;
    let printed = installation.ok("admin tenant add globex --name Globex");
    assert!(
        printed.contains("globex (Globex)") && printed.contains("psh_"),
        "{printed}"
    );
    assert!(installation.ok("admin tenant list").contains("globex"));
    let changed = installation
        .json("admin tenant update globex --rotation-overlap 1h --event-validation schema");
    assert_eq!(changed["rotationOverlapSeconds"], 3_600);
    assert_eq!(changed["eventValidation"], "schema");
    assert_eq!(installation.json("admin tenant show globex"), changed);
    assert_eq!(installation.json("admin tenant show")["tenantId"], "acme");
    assert!(
        installation
            .ok("admin audit list --tenant globex")
            .contains("tenant.update")
    );
    let csv = installation.ok("admin audit export --tenant globex --format csv");
    assert!(
        csv.starts_with("seq,") && csv.contains("tenant.create"),
        "{csv}"
    );
    assert!(
        installation
            .ok("admin audit verify --tenant globex")
            .starts_with("Whole: ")
    );
    installation.ok("admin tenant remove globex");
    assert!(!installation.ok("admin tenant list").contains("globex"));

    let session = installation.json("admin session create --customer visitor --ttl 5m");
    assert!(session["token"].is_string());
    installation.ok(&format!(
        "admin session revoke {}",
        session["sessionId"].as_str().unwrap()
    ));

    installation
        .ok("admin event-type add order.paid --schema {\"type\":\"object\"} --example {\"a\":1}");
    assert!(
        installation
            .ok("admin event-type list")
            .contains("order.paid")
    );
    installation.ok("admin event-type remove order.paid");
    assert_eq!(installation.ok("admin event-type list"), "");
    let kinds = installation.ok("admin destination kinds");
    assert!(kinds.contains("webhook"), "{kinds}");
}

#[tokio::test]
async fn what_is_erased_is_listed_and_shown() {
    let installation = installation().await;
    let _turn = QUIET.read().await;
    let made = installation.json("admin erasure create --customer forgotten --subject jane");
    assert_eq!(made["what"], "subject");
    let id = made["erasureId"].as_str().unwrap();
    assert!(installation.ok("admin erasure list").contains(id));
    let shown = installation.ok(&format!("admin erasure show {id}"));
    assert!(
        shown.contains(id) && shown.contains("0 deliveries"),
        "{shown}"
    );
    let refused = installation.refused("admin erasure create --customer ..");
    assert!(
        refused.contains("customerExternalId (--customer)"),
        "{refused}"
    );
}

#[tokio::test]
async fn many_destinations_are_added_once_however_often_it_is_tried() {
    let installation = installation().await;
    let _turn = QUIET.read().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("many.json");
    let document = |customer: usize, url: &str| {
        json!({"customerExternalId": format!("many-{}", customer % 3), "config": {"url": url}})
            .to_string()
    };
    let mut documents: Vec<String> = (0..60)
        .map(|n| document(n, "https://example.com/"))
        .collect();
    documents[40] = document(40, "ftp://example.com/");
    let add = format!("admin destination add --from {}", file.display());
    let count = || {
        let listed = installation.ok("admin destination list");
        listed
            .lines()
            .filter(|line| line.contains("  many-"))
            .count()
    };
    std::fs::write(&file, documents.join("\n")).unwrap();
    let output = installation.command(&add).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        error.contains("destination 41 of the document") && error.contains("config.url (--url)"),
        "{error}"
    );
    let shown = String::from_utf8(output.stdout).unwrap();
    assert_eq!(shown.matches("whsec_").count(), 40);
    assert!((40..60).contains(&count()));
    documents[40] = document(40, "https://example.com/");
    std::fs::write(&file, documents.join("\n")).unwrap();
    let again = installation.ok(&add);
    assert_eq!(again.matches("whsec_").count(), 60);
    assert!(
        again.starts_with(&shown),
        "the same ones, with their secrets"
    );
    assert_eq!(count(), 60);
}

#[tokio::test]
async fn after_a_rotation_nothing_needs_the_old_key() {
    let installation = installation().await;
    let _turn = QUIET.write().await;
    installation.ok("admin destination add --customer rotated --url https://example.com/");
    let old = &installation.env["PUSHRAIL_KEY_RING"];
    let new = installation.ok("key-ring new");
    let both = format!("{},{old}", new.trim());
    let reseal = |ring: &str| {
        installation
            .command("key-ring reseal --json")
            .env("PUSHRAIL_KEY_RING", ring)
            .output()
            .unwrap()
    };
    let first: Value = serde_json::from_slice(&reseal(&both).stdout).unwrap();
    assert!(first["resealed"].as_u64().unwrap() >= 1, "{first}");
    assert_eq!(first["failed"], 0);
    // Back again, so that the other tests find what they sealed; this also shows that the new key alone opens all.
    let back = format!("{old},{}", new.trim());
    let second: Value = serde_json::from_slice(&reseal(&back).stdout).unwrap();
    assert_eq!(second["failed"], 0);
    let without = reseal(new.trim());
    assert!(!without.status.success(), "the old key is needed again");
}

#[tokio::test]
async fn what_kafka_has_forgotten_the_database_tells_again() {
    let installation = installation().await;
    let _turn = QUIET.write().await;
    let added =
        installation.json("admin destination add --customer told --url https://example.com/");
    let before = installation.config_end().await;
    let told = installation.json("admin config rebuild");
    installation.told().await;
    let again: Vec<_> = installation.cluster.read_all("config").await;
    let again: Vec<_> = again
        .iter()
        .filter(|record| record.offset > before)
        .collect();
    assert_eq!(again.len() as u64, told["records"].as_u64().unwrap());
    let id = added["destinationId"].as_str().unwrap();
    let keys = again.iter().filter_map(|record| record.key.as_deref());
    let keys: Vec<_> = keys.map(String::from_utf8_lossy).collect();
    assert!(keys.iter().any(|key| key.ends_with(id)), "{keys:?}");
    assert!(keys.iter().any(|key| key.ends_with("/acme")), "{keys:?}");
}
