//! PostgreSQL as dev and tests use it: durable, alone on its folder, closed to others, and gone when stopped.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use pushrail_servers::Postgres;
use sqlx::{Connection, PgConnection};

async fn start(folder: &Path) -> Postgres {
    Postgres::builder(folder).start().await.unwrap()
}

async fn connect(postgres: &Postgres) -> PgConnection {
    PgConnection::connect(&postgres.url()).await.unwrap()
}

async fn notes(postgres: &Postgres) -> Vec<String> {
    let mut connection = connect(postgres).await;
    sqlx::query_scalar("SELECT note FROM notes ORDER BY note")
        .fetch_all(&mut connection)
        .await
        .unwrap()
}

/// Every process of the server works in its data folder.
fn processes(folder: &Path) -> usize {
    let place = |path: &Path| {
        let folder = std::fs::metadata(path).ok()?;
        Some((folder.dev(), folder.ino()))
    };
    let data = place(&folder.join("data"));
    assert!(data.is_some());
    std::fs::read_dir("/proc")
        .unwrap()
        .filter(|entry| place(&entry.as_ref().unwrap().path().join("cwd")) == data)
        .count()
}

async fn gone(folder: &Path) {
    let gone = async {
        while processes(folder) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), gone)
        .await
        .expect("no process is left");
}

#[tokio::test]
async fn what_was_committed_survives_a_kill_a_stop_and_a_new_start() {
    let folder = tempfile::tempdir().unwrap();
    let mut postgres = start(folder.path()).await;
    let url = postgres.url();
    let mut connection = connect(&postgres).await;
    for sql in [
        "CREATE TABLE notes (note text)",
        "INSERT INTO notes VALUES ('é')",
    ] {
        sqlx::query(sql).execute(&mut connection).await.unwrap();
    }
    // Its processes need a moment to notice; the next start must not trip over them, nor over this client.
    postgres.kill().await;
    postgres.restart().await.unwrap();
    assert_eq!(notes(&postgres).await, ["é"]);
    postgres.stop().await;
    postgres.restart().await.unwrap();
    assert_eq!(
        (notes(&postgres).await, postgres.url()),
        (vec!["é".to_owned()], url.clone())
    );
    let port = postgres.port();
    drop(postgres);
    let again = Postgres::builder(folder.path())
        .port(port)
        .start()
        .await
        .unwrap();
    assert_eq!(
        (notes(&again).await, again.url()),
        (vec!["é".to_owned()], url)
    );
}

#[tokio::test]
async fn the_database_is_empty_unicode_and_durable() {
    let folder = tempfile::tempdir().unwrap();
    let postgres = start(folder.path()).await;
    let mut connection = connect(&postgres).await;
    let one: i32 = sqlx::query_scalar("SELECT 1")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    let (name, owner, encoding, upper): (String, String, String, String) = sqlx::query_as(
        "SELECT datname::text, pg_get_userbyid(datdba)::text, pg_encoding_to_char(encoding)::text, upper('é')
         FROM pg_database WHERE datname = current_database()",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    assert_eq!(one, 1);
    assert_eq!(
        [&*name, &*owner, &*encoding, &*upper],
        ["pushrail", "pushrail", "UTF8", "É"]
    );
    for (setting, wanted) in [
        ("fsync", "on"),
        ("listen_addresses", "127.0.0.1"),
        ("unix_socket_directories", ""),
        ("password_encryption", "scram-sha-256"),
    ] {
        let value: String = sqlx::query_scalar("SELECT current_setting($1)")
            .bind(setting)
            .fetch_one(&mut connection)
            .await
            .unwrap();
        assert_eq!(value, wanted, "{setting}");
    }
}

#[tokio::test]
async fn nobody_gets_in_without_the_password() {
    let folder = tempfile::tempdir().unwrap();
    let postgres = start(folder.path()).await;
    let password = std::fs::read_to_string(folder.path().join("password")).unwrap();
    assert!(password.len() >= 32 && postgres.url().contains(&password));
    for wrong in ["", "wrong"] {
        let url = postgres.url().replace(&password, wrong);
        assert!(PgConnection::connect(&url).await.is_err(), "{wrong:?}");
    }
    let log = std::fs::read_to_string(folder.path().join("postgres.log")).unwrap();
    assert!(!log.contains(&password) && !format!("{postgres:?}").contains(&password));
    let data = std::fs::metadata(folder.path().join("data")).unwrap();
    assert_eq!(data.mode() & 0o777, 0o700);
}

#[tokio::test]
async fn a_second_server_on_a_folder_is_told_who_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let first = start(folder.path()).await;
    let error = Postgres::builder(folder.path()).start().await.unwrap_err();
    let (error, us) = (error.to_string(), format!("process {}", std::process::id()));
    assert!(
        error.contains("another pushrail") && error.contains(&us),
        "{error}"
    );
    first.alive().unwrap();
    let other = folder.path().join("other");
    let error = Postgres::builder(&other)
        .port(first.port())
        .start()
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains(&first.port().to_string()),
        "{error}"
    );
}

#[tokio::test]
async fn a_stop_ends_open_sessions_and_leaves_no_process() {
    let folder = tempfile::tempdir().unwrap();
    let mut postgres = start(folder.path()).await;
    let mut open = connect(&postgres).await;
    assert!(processes(folder.path()) > 1);
    postgres.stop().await;
    assert_eq!(processes(folder.path()), 0);
    assert!(sqlx::query("SELECT 1").execute(&mut open).await.is_err());
    let log = std::fs::read_to_string(folder.path().join("postgres.log")).unwrap();
    assert!(
        log.contains("fast shutdown") && log.contains("database system is shut down"),
        "{log}"
    );
}

#[tokio::test]
async fn one_that_is_dropped_or_dies_is_gone_and_said_to_be() {
    let folder = tempfile::tempdir().unwrap();
    let postgres = start(folder.path()).await;
    drop(postgres);
    gone(folder.path()).await;
    let postgres = start(folder.path()).await;
    let pid = nix::unistd::Pid::from_raw(postgres.pid().unwrap() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    let died = async {
        while postgres.alive().is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), died)
        .await
        .expect("it is noticed");
    let error = postgres.alive().unwrap_err().to_string();
    assert!(
        error.contains("PostgreSQL") && error.contains("postgres.log"),
        "{error}"
    );
}

#[tokio::test]
async fn a_lost_password_is_named_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    start(folder.path()).await.stop().await;
    std::fs::remove_file(folder.path().join("password")).unwrap();
    let error = Postgres::builder(folder.path())
        .start()
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("password") && error.contains("remove the database"),
        "{error}"
    );
}

/// What a crash left while the database was being made is no database.
#[tokio::test]
async fn half_a_database_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("data.new/base")).unwrap();
    let postgres = start(folder.path()).await;
    connect(&postgres).await;
    assert!(!folder.path().join("data.new").exists());
}
