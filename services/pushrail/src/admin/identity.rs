//! `pushrail identity`.

use anyhow::Context as _;
use clap::{Args, Subcommand};
use pushrail_google::Identity;
use pushrail_settings::{ConfigFileArgs, Hidden};

/// What an installation is to others that trust its tokens.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Print a new private key, with which this installation signs tokens that say for which customer it comes. It is a secret:
    /// keep it in a file that only sinks read.
    #[command(after_help = "\
Let customers of Google Cloud in without a key of theirs (Workload Identity Federation):
  1. Choose a URL as the issuer, such as https://identity.example.com, and make its key:
       pushrail identity new > identity.pem
  2. Publish what the issuer is, at the URL and two fixed paths, or hand the keys to customers as a file:
       pushrail identity discovery > .well-known/openid-configuration
       pushrail identity keys      > .well-known/jwks.json
  3. Give every sink PUSHRAIL_IDENTITY_ISSUER and PUSHRAIL_IDENTITY_KEY_FILE, and your customers the URL.
To rotate it, publish the new key beside the old one in jwks.json, give it to the sinks a day later, and take the old one off.")]
    New,
    /// Print the public keys (JWKS) that tokens are verified with: /.well-known/jwks.json below the issuer's URL.
    Keys(Own),
    /// Print what the issuer says of itself: /.well-known/openid-configuration below its URL.
    Discovery(Own),
}

#[derive(Args, Debug)]
pub(crate) struct Own {
    /// URL of this installation as an issuer of tokens.
    #[arg(
        long = "issuer",
        id = "identity_issuer",
        env = "PUSHRAIL_IDENTITY_ISSUER",
        value_name = "URL"
    )]
    issuer: String,
    /// Private RSA key in PEM, or @FILE. `pushrail identity new` makes one.
    #[arg(
        long = "key",
        id = "identity_key",
        env = "PUSHRAIL_IDENTITY_KEY",
        value_name = "KEY",
        hide_env_values = true
    )]
    key: Option<Hidden>,
    #[command(flatten)]
    file: ConfigFileArgs,
}

impl Own {
    fn identity(&self) -> anyhow::Result<Identity> {
        let key = self.key.as_ref().context(
            "no key: set PUSHRAIL_IDENTITY_KEY_FILE to the file that `pushrail identity new` made",
        )?;
        Identity::new(&self.issuer, key.expose()).map_err(anyhow::Error::msg)
    }
}

pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::New => {
            let key = Identity::new_key().map_err(anyhow::Error::msg)?;
            out!("{}", key.expose().trim_end());
        }
        Command::Keys(own) => out!("{:#}", own.identity()?.jwks()),
        Command::Discovery(own) => out!("{:#}", own.identity()?.discovery()),
    }
    Ok(())
}
