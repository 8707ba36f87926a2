//! What commands make, and what they refuse.

use serde_json::{Value, json};

use crate::installation::{QUIET, installation};

#[tokio::test]
async fn what_is_refused_names_the_way_out_and_changes_nothing() {
    let installation = installation().await;
    let _turn = QUIET.write().await;
    let before = installation.config_end().await;
    const NOBODY: &str = "00000000-0000-0000-0000-000000000000";
    let table = [
        (
            "destination add --url https://example.com/",
            "customerExternalId (--customer)",
        ),
        ("destination add --customer c1", "config (--config)"),
        (
            "destination add --customer c1 --url ftp://example.com/",
            "config.url (--url)",
        ),
        (
            "destination add --customer c1 --url https://10.0.0.1/",
            "config.url (--url)",
        ),
        (
            "destination add --customer c1 --url https://user:hunter2@example.com/",
            "config.url (--url)",
        ),
        (
            "destination add --customer c1 --url https://example.com/ --kind fax",
            "webhook",
        ),
        (
            "destination add --customer c1 --url https://example.com/ --tenant nobody",
            "pushrail tenant add nobody",
        ),
        (
            "destination add --customer c1 --url https://example.com/ --events *.x",
            "eventTypes[0] (--events)",
        ),
        (
            "destination add --customer c1 --url https://example.com/ --filter {}",
            "filter (--filter)",
        ),
        (
            "destination add --customer c1 --url https://example.com/ --filter {",
            "--filter: not valid JSON",
        ),
        (
            "destination add --customer c1 --url https://example.com/ --transform [{\"shout\":1}]",
            "--transform",
        ),
        (
            "destination add --customer c1 --url https://example.com/ --max-attempts 0",
            "retry.maxAttempts (--max-attempts)",
        ),
        (
            "destination add --customer c1 --url https://example.com/ --max-age 48h",
            "retry.maxAgeMs (--max-age)",
        ),
        (
            "destination add --customer c1 --url https://example.com/ --rate-limit 0",
            "rateLimit.perSecond (--rate-limit)",
        ),
        (
            "destination add --customer c1 --url https://example.com/ --timeout 1h",
            "timeoutMs (--timeout)",
        ),
        (
            "destination add --customer c1 --url https://example.com/ --payload-mode some",
            "payloadMode (--payload-mode)",
        ),
        (
            "destination add --customer c1 --url https://example.com/ --config {\"uri\":1}",
            "uri",
        ),
        (
            "destination add --customer c1 --url https://example.com/ --secrets {\"signingSecret\":\"hunter2\"}",
            "secrets.signingSecret",
        ),
        (
            "destination add --customer c1 --url https://example.com/ --key-ring k:hunter2",
            "key ring",
        ),
        (
            "destination add --customer c1 --url https://example.com/ --allow-network 10.0.0.1/8",
            "10.0.0.1/8",
        ),
        ("destination add --from /nowhere.json", "/nowhere.json"),
        (&format!("destination pause {NOBODY}"), NOBODY),
        (&format!("destination remove {NOBODY}"), NOBODY),
        ("destination pause not-an-id", "not-an-id"),
        ("tenant add ACME", "tenantId"),
        ("api-key add --tenant nobody", "pushrail tenant add nobody"),
        ("api-key revoke nobody", "nobody"),
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
        .json("destination add --customer listed --url https://example.com/ --events a.*,b");
    let secret = added["signingSecret"].as_str().unwrap();
    assert!(secret.starts_with("whsec_"));
    let id = added["destination"]["destinationId"]
        .as_str()
        .unwrap()
        .to_owned();
    let list = "destination list --customer listed";
    let listed = installation.json(list);
    assert_eq!(listed["destinationId"], *id);
    assert_eq!(listed["secrets"], "***");
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
        let changed = installation.json(&format!("destination {command} {id}"));
        assert_eq!(changed["state"], state);
        let listed = installation.json(list);
        assert_eq!(
            (&listed["state"], &listed["version"]),
            (&json!(state), &json!(1))
        );
    }
    let rotated = installation.json(&format!("destination rotate-secret {id}"));
    assert_ne!(rotated["signingSecret"], secret);
    let finished = installation.json(&format!("destination rotate-secret {id} --finish"));
    assert_eq!(finished["destination"]["version"], 3);
    assert!(finished.get("signingSecret").is_none());
    installation.ok(&format!("destination remove {id}"));
    assert_eq!(installation.ok(list), "");

    let key = installation.json("api-key add");
    let (key_id, key) = (key["keyId"].as_str().unwrap(), key["key"].as_str().unwrap());
    let keys = installation.ok("api-key list");
    assert!(keys.contains(key_id) && !keys.contains(key));
    installation.ok(&format!("api-key revoke {key_id}"));
    assert!(!installation.ok("api-key list").contains(key_id));
}

#[tokio::test]
async fn many_destinations_are_added_all_or_none() {
    let installation = installation().await;
    let _turn = QUIET.read().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("many.json");
    let document = |customer: usize, url: &str| {
        json!({"customerExternalId": format!("many-{customer}"), "config": {"url": url}})
            .to_string()
    };
    let mut documents: Vec<String> = (0..300)
        .map(|n| document(n, "https://example.com/"))
        .collect();
    documents.push(document(300, "ftp://example.com/"));
    let add = format!("destination add --from {}", file.display());
    let count = || {
        installation
            .ok("destination list")
            .lines()
            .filter(|line| line.contains("/many-"))
            .count()
    };
    std::fs::write(&file, documents.join("\n")).unwrap();
    let error = installation.refused(&add);
    assert!(error.contains("destination 301 of the document"), "{error}");
    assert_eq!(count(), 0);
    documents.pop();
    std::fs::write(&file, documents.join("\n")).unwrap();
    let printed = installation.ok(&add);
    assert_eq!(printed.matches("whsec_").count(), 300);
    assert_eq!(count(), 300);
}

#[tokio::test]
async fn after_a_rotation_nothing_needs_the_old_key() {
    let installation = installation().await;
    let _turn = QUIET.write().await;
    installation.ok("destination add --customer rotated --url https://example.com/");
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
