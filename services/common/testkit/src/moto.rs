//! AWS as moto has it, and the stock client that looks at it.

use pushrail_servers::Emulator;
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::folder::Folder;

/// A moto of this process.
#[derive(Debug)]
pub struct Moto {
    server: Emulator,
    _folder: Folder,
}

/// The one that all tests of a process share; it takes any credentials. Use buckets, queues and roles that are yours alone.
pub async fn moto() -> &'static Moto {
    static SHARED: OnceCell<Moto> = OnceCell::const_new();
    SHARED.get_or_init(|| Moto::private(None)).await
}

impl Moto {
    /// One of your own, to stop and kill; or to have signatures and policies checked after that many calls.
    pub async fn private(checked_after: Option<u32>) -> Moto {
        let folder = Folder::new();
        let builder = pushrail_servers::moto::builder(folder.path());
        let builder = match checked_after {
            Some(calls) => builder.checked_after(calls),
            None => builder,
        };
        Moto {
            server: builder.start().await.expect("moto starts"),
            _folder: folder,
        }
    }

    pub fn url(&self) -> String {
        self.server.url()
    }

    pub fn server(&mut self) -> &mut Emulator {
        &mut self.server
    }

    /// A name that nobody else uses and that any service takes.
    pub fn unique(&self, hint: &str) -> String {
        format!("{hint}-{}", uuid::Uuid::new_v4().simple())
    }

    /// Runs a script with boto3, and returns what it said: `client("s3")` makes a client, `say(found)` says.
    pub async fn boto3(&self, script: &str) -> Value {
        let said = pushrail_servers::moto::boto3(&self.server, script).await;
        let said = said.unwrap_or_else(|error| panic!("{script}\n{error}"));
        match said.is_empty() {
            true => Value::Null,
            false => serde_json::from_slice(&said).expect("what was said is JSON"),
        }
    }
}
