//! What a customer says about a webhook. One declaration: parsing, form, docs.

use std::collections::BTreeMap;

use pushrail_sink_core::Secret;
use schemars::JsonSchema;
use serde::Deserialize;

/// Where events are posted, and how we say who we are.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Address that each event is posted to, such as `https://example.com/hooks/orders`. Must be `https`, and must not
    /// carry a user name, a password or a fragment.
    #[schemars(length(min = 1, max = 2048), extend("format" = "uri"))]
    pub url: Box<str>,
    /// Headers that are sent with every event. Values that are credentials belong into the secrets.
    #[serde(default)]
    pub headers: BTreeMap<Box<str>, Box<str>>,
    /// How requests authenticate, beside the signature that they always carry.
    #[serde(default)]
    pub authentication: Authentication,
    /// Certificate authorities (PEM) that are trusted for this destination beside the public ones.
    #[serde(default)]
    pub ca_certificates: Option<Box<str>>,
    /// Client certificate and its chain (PEM), shown to a server that asks for one. Its key belongs into the secrets.
    #[serde(default)]
    pub client_certificate: Option<Box<str>>,
}

/// What goes into the `Authorization` header.
// `None` and `Bearer` have braces because serde overlooks unknown fields beside a variant without them.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(
    tag = "type",
    rename_all = "snake_case",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum Authentication {
    /// Nothing: the signature is enough.
    None {},
    /// User name and password; the password is the secret `password`.
    Basic { username: Box<str> },
    /// A fixed token, the secret `bearerToken`.
    Bearer {},
    /// OAuth 2.0 client credentials (RFC 6749, 4.4); the client's secret is the secret `clientSecret`.
    Oauth2(OAuth2),
}

impl Default for Authentication {
    fn default() -> Self {
        Authentication::None {}
    }
}

/// Where an access token comes from.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OAuth2 {
    /// The authorization server's token endpoint. The rules of `url` apply.
    #[schemars(length(min = 1, max = 2048), extend("format" = "uri"))]
    pub token_url: Box<str>,
    pub client_id: Box<str>,
    /// Scopes to ask for, separated by spaces.
    #[serde(default)]
    pub scope: Option<Box<str>>,
    /// The API that the token is for, where the authorization server wants to know.
    #[serde(default)]
    pub audience: Option<Box<str>>,
    /// How the client proves itself to the token endpoint.
    #[serde(default)]
    pub client_authentication: ClientAuthentication,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuthentication {
    /// `Authorization: Basic` (what every authorization server must support).
    #[default]
    Basic,
    /// `client_id` and `client_secret` in the form.
    Post,
}

/// What nobody may read back.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Secrets {
    /// Signs every request: `whsec_` and 24 to 64 random bytes in base64.
    pub signing_secret: Secret,
    /// Secrets that are being replaced: requests are signed with these as well, until every receiver knows the new one.
    #[serde(default)]
    pub previous_signing_secrets: Vec<Secret>,
    /// Password of basic authentication.
    #[serde(default)]
    pub password: Option<Secret>,
    /// Token of bearer authentication.
    #[serde(default)]
    pub bearer_token: Option<Secret>,
    /// Client secret of OAuth 2.0.
    #[serde(default)]
    pub client_secret: Option<Secret>,
    /// Private key (PEM: PKCS #8, PKCS #1 or SEC 1) of the client certificate.
    #[serde(default)]
    pub client_key: Option<Secret>,
    /// Headers whose values are credentials, such as `X-Api-Key`.
    #[serde(default)]
    pub headers: BTreeMap<Box<str>, Secret>,
}
