//! AWS on loopback: moto, which keeps S3, SQS, STS, IAM and many more services in memory.
//!
//! It takes any credentials, until it is told to look: see [`Builder::checked_after`].

use std::path::PathBuf;

use crate::emulator::{Emulator, Spec};
use crate::{Error, Venv};

/// What every script for [`boto3`] begins with: clients of the services by name, and a way to say what was found.
const PRELUDE: &str = r#"
import base64, json, os, sys
import boto3
from botocore.config import Config
def client(service, key="test", secret="test-secret", token=None, region="us-east-1"):
    return boto3.client(service, endpoint_url=os.environ["ENDPOINT"], region_name=region, aws_access_key_id=key,
        aws_secret_access_key=secret, aws_session_token=token, config=Config(retries={"total_max_attempts": 1}))
def say(found): print(json.dumps(found, default=str))
"#;

/// Runs a script with boto3, AWS's stock client, and returns what it said: `client("s3")` makes a client, `say(found)` says,
/// in JSON.
pub async fn boto3(moto: &Emulator, script: &str) -> Result<Vec<u8>, Error> {
    let script = format!("{PRELUDE}\n{script}");
    Venv::find_or_make("moto")?
        .script("boto3", &script, &[("ENDPOINT", &moto.url())])
        .await
}

/// How a moto is to be started.
#[derive(Clone, Debug)]
pub struct Builder {
    folder: PathBuf,
    checked_after: Option<u32>,
}

/// A moto that writes its log into `folder`.
pub fn builder(folder: impl Into<PathBuf>) -> Builder {
    Builder {
        folder: folder.into(),
        checked_after: None,
    }
}

impl Builder {
    /// After this many calls, signatures and policies are checked: what the calls before made (users, roles, policies) is
    /// what counts then.
    pub fn checked_after(mut self, calls: u32) -> Self {
        self.checked_after = Some(calls);
        self
    }

    /// Starts it on a free port. The first time ever, a minute passes while it is installed.
    pub async fn start(self) -> Result<Emulator, Error> {
        let made = tokio::task::spawn_blocking(|| Venv::find_or_make("moto")).await;
        let venv = made.map_err(|error| Error::Io {
            what: "wait for",
            path: "infra/servers/venv".into(),
            source: std::io::Error::other(error),
        })??;
        let checked_after = self.checked_after;
        let command = move |port: u16| {
            let mut command = venv.command("moto_server");
            command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
            if let Some(calls) = checked_after {
                command.env("INITIAL_NO_AUTH_ACTION_COUNT", calls.to_string());
            }
            command
        };
        Emulator::start(Spec {
            server: "moto",
            folder: self.folder,
            command: Box::new(command),
            ready_path: "/moto-api/",
        })
        .await
    }
}
