//! What to do next: printed when everything is ready, to be copied line by line.

use std::path::Path;

use crate::progress::line;

/// Where things are, as `dev.env` has it.
pub(crate) struct Ready<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) url: &'a str,
    /// Printed as it is: it is good on this machine alone.
    pub(crate) api_key: &'a str,
    pub(crate) echo_url: &'a str,
    pub(crate) ops_url: &'a str,
    pub(crate) kafka: &'a str,
    pub(crate) registry: &'a str,
    /// Without a password: this is printed.
    pub(crate) database: &'a str,
    pub(crate) seconds: f64,
}

pub(crate) fn print(ready: &Ready<'_>) {
    let env = shown(&ready.folder.join("dev.env"));
    let program =
        std::env::current_exe().map_or_else(|_| "pushrail".to_owned(), |path| shown(&path));
    line(format_args!(
        "
Ready after {seconds:.1} s.

  HTTP API   {url}   (documented at {url}/docs)
  API key    {key}   (of the tenant dev; the operator's: $PUSHRAIL_ADMIN_KEY)
  echo       {echo}   (shows what it received)
  Kafka      {kafka}
  registry   {registry}
  PostgreSQL {database}   (its URL, with the password: $PUSHRAIL_DATABASE_URL)
  metrics    {ops}/metrics

Next, in another shell:

  source {env}

  # 1. A destination of customer c1, at the built-in echo receiver. Its signing secret is shown once.
  curl -sS \"$PUSHRAIL_URL/v1/customers/c1/destinations\" -H \"Authorization: Bearer $PUSHRAIL_API_KEY\" \\
    -H 'Content-Type: application/json' -d '{{\"kind\":\"webhook\",\"config\":{{\"url\":\"'\"$PUSHRAIL_ECHO_URL\"'/ok\"}}}}'

  # 2. An event of that customer, and what arrived.
  curl -sS \"$PUSHRAIL_URL/v1/events\" -H \"Authorization: Bearer $PUSHRAIL_API_KEY\" -H 'Content-Type: application/json' \\
    -d '{{\"eventType\":\"order.completed\",\"customerExternalId\":\"c1\",\"payload\":{{\"total\":42}}}}'
  curl -sS \"$PUSHRAIL_ECHO_URL\"

  # 3. A destination that fails, made from the command line: /fail/503, /flaky/2 (twice, then ok), /slow/2s, /hang.
  {program} admin destination add --customer c2 --url \"$PUSHRAIL_ECHO_URL/flaky/2\"

Ctrl-C drains and stops; started again, it goes on where it was.",
        seconds = ready.seconds,
        url = ready.url,
        key = ready.api_key,
        echo = ready.echo_url,
        kafka = ready.kafka,
        registry = ready.registry,
        database = ready.database,
        ops = ready.ops_url,
    ));
}

/// Relative to where we stand when that is shorter, and quoted when a shell would split it.
fn shown(path: &Path) -> String {
    let relative = std::env::current_dir()
        .ok()
        .and_then(|here| path.strip_prefix(here).ok());
    let text = match relative {
        // A program without a slash would be looked for on the PATH.
        Some(relative) => format!("./{}", relative.display()),
        None => path.display().to_string(),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@".contains(c);
    if text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}
