//! A real PostgreSQL, and an empty database of one's own in it.

use pushrail_servers::Postgres;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::sync::OnceCell;

use crate::folder::Folder;

const DATABASE_URL: &str = "PUSHRAIL_TEST_DATABASE_URL";

/// A server that tests share.
#[derive(Debug)]
struct Server {
    /// Of a superuser.
    url: String,
    /// Only of one that we started.
    _own: Option<(Postgres, Folder)>,
}

/// The URL of a new, empty database that nobody else uses, owned by the superuser whom the URL names. It is made on the
/// server that all tests of a run share: the one that `PUSHRAIL_TEST_DATABASE_URL` names, else one that this process starts
/// and that ends with it. The database stays when the test is over; it goes with the server.
pub async fn database() -> String {
    let server = server().await;
    let name = format!("test_{}", uuid::Uuid::new_v4().simple());
    let mut connection = PgConnection::connect(&server.url)
        .await
        .expect("PostgreSQL takes connections");
    // The name is ours: nothing in it needs quotes.
    sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}")))
        .execute(&mut connection)
        .await
        .expect("a new database");
    connection.close().await.expect("PostgreSQL says goodbye");
    in_database(&server.url, &name)
}

async fn server() -> &'static Server {
    static SHARED: OnceCell<Server> = OnceCell::const_new();
    SHARED
        .get_or_init(async || match std::env::var(DATABASE_URL) {
            Ok(url) => Server { url, _own: None },
            Err(_) => {
                let folder = Folder::new();
                let postgres = Postgres::builder(folder.path().join("postgres"))
                    .start()
                    .await
                    .expect("PostgreSQL starts");
                Server {
                    url: postgres.url(),
                    _own: Some((postgres, folder)),
                }
            }
        })
        .await
}

/// `url` with another database in it: what stands behind the last slash of its path.
fn in_database(url: &str, name: &str) -> String {
    let (path, options) = match url.split_once('?') {
        Some((path, options)) => (path, format!("?{options}")),
        None => (url, String::new()),
    };
    let (server, _) = path.rsplit_once('/').expect("a URL that names a database");
    format!("{server}/{name}{options}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_database_of_a_url_is_replaced() {
        for (url, wanted) in [
            (
                "postgres://u:p@127.0.0.1:1/a",
                "postgres://u:p@127.0.0.1:1/x",
            ),
            (
                "postgres://u@h/a?sslrootcert=/a/b",
                "postgres://u@h/x?sslrootcert=/a/b",
            ),
        ] {
            assert_eq!(in_database(url, "x"), wanted);
        }
    }
}
