//! Values that flags, environment and file write the same way.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use pushrail_kafka::property;
use zeroize::Zeroize;

/// A secret setting: given as it is or as `@path` of a file that holds it. Nothing prints it.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(String);

impl Hidden {
    pub fn new(text: impl Into<String>) -> Self {
        Hidden(text.into())
    }

    /// The secret itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for Hidden {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix('@') {
            None => Ok(Hidden(text.to_owned())),
            Some(path) => read_secret(path.as_ref()).map(Hidden),
        }
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Reads a file that holds one secret; a line end at its end is not part of it.
pub(crate) fn read_secret(path: &std::path::Path) -> Result<String, String> {
    let mut text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    text.truncate(text.trim_end_matches(['\r', '\n']).len());
    Ok(text)
}

/// One line of a file of variables, in the part of the shell's syntax that we write: `NAME=value`, `export`, single or
/// double quotes, comments. `None` for a line that says nothing.
pub(crate) fn assignment(line: &str) -> Result<Option<(String, String)>, ()> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
    let (name, value) = line.split_once('=').ok_or(())?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if name.is_empty() || !name.bytes().all(plain) {
        return Err(());
    }
    let quoted = ['\'', '"'].into_iter().find_map(|quote| {
        let inner = value.strip_prefix(quote)?.strip_suffix(quote)?;
        Some(inner.replace("'\\''", "'"))
    });
    Ok(Some((
        name.to_owned(),
        quoted.unwrap_or_else(|| value.to_owned()),
    )))
}

/// One or several librdkafka properties: `name=value`, or `name=value,name=value` as the environment writes them.
///
/// A comma begins the next property only before a dotted name and `=`, so that values may contain commas
/// (`debug=broker,topic`).
#[derive(Clone, PartialEq, Eq)]
pub struct Property(Vec<(String, String)>);

impl Property {
    pub fn pairs(&self) -> &[(String, String)] {
        &self.0
    }
}

impl FromStr for Property {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for part in text.split(',') {
            match part.split_once('=') {
                Some((name, value)) if pairs.is_empty() || is_property_name(name.trim()) => {
                    pairs.push((name.trim().to_owned(), value.to_owned()));
                }
                _ => match pairs.last_mut() {
                    Some((_, value)) => *value += &format!(",{part}"),
                    None => {
                        return Err("must be name=value, such as security.protocol=SASL_SSL".into());
                    }
                },
            }
        }
        for (name, value) in &pairs {
            if name.is_empty() {
                return Err("has no name before =".into());
            }
            property::check(name, value)?;
        }
        Ok(Property(pairs))
    }
}

fn is_property_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    name.contains('.') && name.bytes().all(plain)
}

/// Whether a librdkafka property holds a credential.
fn is_secret_property(name: &str) -> bool {
    ["password", "secret", "key.pem", "oauthbearer.config"]
        .iter()
        .any(|part| name.contains(part))
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let value = if is_secret_property(name) {
                "***"
            } else {
                value
            };
            write!(f, "{comma}{name}={value}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Reads `host:port,host:port`. For clap's `value_parser`.
pub(crate) fn parse_brokers(text: &str) -> Result<String, String> {
    let is_broker = |part: &str| {
        // librdkafka takes the protocol of a listener in front, as brokers advertise it.
        let address = part.rsplit_once("://").map_or(part, |(_, rest)| rest);
        let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
        let named = address.rsplit_once(':');
        named.is_some_and(|(host, port)| !host.is_empty() && is_port(port))
            && !part.starts_with("http")
    };
    match text.split(',').all(|part| is_broker(part.trim())) {
        true => Ok(text.to_owned()),
        false => Err(
            "must be host:port of one broker or several, comma separated, such as 127.0.0.1:9092"
                .into(),
        ),
    }
}

/// Reads the base URL of a server. For clap's `value_parser`.
pub(crate) fn parse_base_url(text: &str) -> Result<String, String> {
    let rest = ["http://", "https://"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme));
    match rest {
        Some(rest) if !rest.is_empty() && !rest.starts_with(['/', ':']) => Ok(text.to_owned()),
        _ => Err("must be a URL that begins with http:// or https://".into()),
    }
}

/// Reads a share from 0 to 1. For clap's `value_parser`.
pub(crate) fn parse_share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("must be a number from 0 to 1".into()),
    }
}

/// Reads `250ms`, `30s`, `5m`, `24h`; a number needs its unit. For clap's `value_parser`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split_unit(text);
    let number: u64 = number.parse().map_err(|_| DURATION.to_owned())?;
    let ms_per_unit = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(DURATION.to_owned()),
    };
    let ms = number.checked_mul(ms_per_unit).ok_or(DURATION)?;
    Ok(Duration::from_millis(ms))
}

const DURATION: &str = "must be a duration such as 250ms, 30s, 5m or 24h";

/// Reads `512`, `64KiB`, `10MiB`, `1GiB` as bytes. For clap's `value_parser`.
pub fn parse_bytes(text: &str) -> Result<usize, String> {
    let (number, unit) = split_unit(text);
    let number: usize = number.parse().map_err(|_| BYTES.to_owned())?;
    let bytes_per_unit = match unit {
        "" | "B" => 1,
        "KiB" | "K" | "k" => 1 << 10,
        "MiB" | "M" => 1 << 20,
        "GiB" | "G" => 1 << 30,
        _ => return Err(BYTES.to_owned()),
    };
    number.checked_mul(bytes_per_unit).ok_or(BYTES.to_owned())
}

const BYTES: &str = "must be a size such as 512, 64KiB or 10MiB";

fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    (&text[..end], text[end..].trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_inside_a_property_is_not_the_next_one() {
        let read = |text: &str| text.parse::<Property>().unwrap().pairs().to_vec();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(read("acks=all"), [pair("acks", "all")]);
        assert_eq!(
            read("security.protocol=SASL_SSL,sasl.username=u"),
            [
                pair("security.protocol", "SASL_SSL"),
                pair("sasl.username", "u")
            ]
        );
        assert_eq!(read("debug=broker,topic"), [pair("debug", "broker,topic")]);
        assert_eq!(
            read("ssl.cipher.suites=a=1,b=2"),
            [pair("ssl.cipher.suites", "a=1,b=2")]
        );
        assert!("nonsense".parse::<Property>().is_err());
        assert!("=x".parse::<Property>().is_err());
    }

    #[test]
    fn a_server_is_a_url_and_a_share_at_most_all() {
        for url in ["http://127.0.0.1:8081", "https://registry.example/base"] {
            assert_eq!(parse_base_url(url).as_deref(), Ok(url));
        }
        for text in [
            "registry.internal",
            "127.0.0.1:4318",
            "http://",
            "https:///x",
            "ftp://a",
        ] {
            assert!(parse_base_url(text).is_err(), "{text}");
        }
        for (text, share) in [("0", 0.0), ("0.01", 0.01), ("1", 1.0)] {
            assert_eq!(parse_share(text), Ok(share));
        }
        for text in ["2", "-0.1", "NaN", "half", ""] {
            assert!(parse_share(text).is_err(), "{text}");
        }
    }

    #[test]
    fn credentials_among_the_properties_are_masked() {
        let property: Property = "sasl.username=u,sasl.password=hunter2".parse().unwrap();
        assert_eq!(property.to_string(), "sasl.username=u,sasl.password=***");
        assert_eq!(format!("{property:?}"), property.to_string());
        assert_eq!(format!("{:?}", Hidden::new("hunter2")), "***");
    }

    #[test]
    fn units_are_asked_for() {
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("24 h"), Ok(Duration::from_secs(86_400)));
        assert_eq!(parse_bytes("10MiB"), Ok(10 << 20));
        for bad in ["", "5", "s", "-1s", "1.5s", "99999999999999999999d"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
        for bad in ["", "x", "1TB", "-1"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }
}
