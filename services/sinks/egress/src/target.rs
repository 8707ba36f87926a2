//! An address to call, taken apart once.
//!
//! Parsing follows the URL standard, as browsers do, so that `0x7f.1`, `2130706433` and `127.1` are seen as the addresses
//! that they are. What was parsed is what is called: host, port and path never come from the text again.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderValue, Uri};
use rustls_pki_types::ServerName;
use url::{Host, Url};

use pushrail_http::Guard;

/// Longest URL, in bytes.
const URL_LEN_MAX: usize = 2048;

pub struct Target {
    pub host: Peer,
    pub port: u16,
    pub host_header: HeaderValue,
    /// Path and query, as the request line has them.
    pub path: Uri,
    /// The name that the certificate must bear; `None` without TLS.
    pub server_name: Option<ServerName<'static>>,
}

/// Whom to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A name to be resolved, absolute: with a dot at the end, so that no search domain is tried.
    Name(Box<str>),
    Address(SocketAddr),
}

impl Target {
    /// Takes a URL apart, or says in one sentence what is wrong with it. Pure.
    pub fn parse(text: &str, guard: &Guard, allow_plaintext: bool) -> Result<Self, String> {
        if text.len() > URL_LEN_MAX {
            return Err(format!("must have at most {URL_LEN_MAX} characters"));
        }
        // The URL standard drops or rewrites these silently; here they are more likely a mistake or a trick.
        if text.contains(|c: char| c.is_control() || c.is_whitespace() || c == '\\') {
            return Err("must not contain spaces, control characters or backslashes".to_owned());
        }
        let url = Url::parse(text).map_err(|error| {
            format!("is not a URL ({error}); write it like https://example.com/hook")
        })?;
        let tls = match url.scheme() {
            "https" => true,
            "http" if allow_plaintext => false,
            "http" => return Err("must begin with https://".to_owned()),
            _ if allow_plaintext => {
                return Err("must begin with https:// or http://".to_owned());
            }
            _ => return Err("must begin with https://".to_owned()),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(
                "must not contain a user name or password; use `authentication`".to_owned(),
            );
        }
        if url.fragment().is_some() {
            return Err("must not contain a fragment (#...), which is never sent".to_owned());
        }
        let port = url.port_or_known_default().unwrap_or(0);
        if port == 0 {
            return Err("must not use port 0".to_owned());
        }
        let (host, server_name) = peer(&url, port, guard)?;
        Ok(Target {
            host,
            port,
            host_header: host_header(&url)?,
            path: path(&url)?,
            server_name: tls.then_some(server_name),
        })
    }

    /// Refuses a name that is loopback whoever is asked (RFC 6761), so that its owner is told at once. What other names
    /// lead to is judged when they are resolved, which is what the guard rests on.
    pub fn check_name(&self, guard: &Guard) -> Result<(), String> {
        let Peer::Name(name) = &self.host else {
            return Ok(());
        };
        let name = name.trim_end_matches('.');
        if name != "localhost" && !name.ends_with(".localhost") {
            return Ok(());
        }
        let loopback = IpAddr::from([127, 0, 0, 1]);
        guard.check(loopback).map_err(|error| error.to_string())
    }
}

fn peer(url: &Url, port: u16, guard: &Guard) -> Result<(Peer, ServerName<'static>), String> {
    let address = match url.host() {
        Some(Host::Domain(name)) => return named(name),
        Some(Host::Ipv4(address)) => IpAddr::V4(address),
        Some(Host::Ipv6(address)) => IpAddr::V6(address),
        None => return Err("must name a host".to_owned()),
    };
    guard.check(address).map_err(|error| error.to_string())?;
    let peer = Peer::Address(SocketAddr::new(address, port));
    Ok((peer, ServerName::IpAddress(address.into())))
}

fn named(name: &str) -> Result<(Peer, ServerName<'static>), String> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let server_name = ServerName::try_from(name.to_owned())
        .map_err(|_| "must name a host that is a valid DNS name".to_owned())?;
    Ok((Peer::Name(format!("{name}.").into()), server_name))
}

fn host_header(url: &Url) -> Result<HeaderValue, String> {
    let host = url.host_str().unwrap_or_default();
    let text = match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    HeaderValue::try_from(text).map_err(|_| "must name a valid host".to_owned())
}

fn path(url: &Url) -> Result<Uri, String> {
    let text = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    Uri::try_from(text).map_err(|_| "must have a path and query of valid characters".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Target, String> {
        Target::parse(text, &Guard::default(), false)
    }

    #[test]
    fn an_address_in_disguise_is_still_refused() {
        for host in [
            "127.0.0.1",
            "127.1",
            "0x7f.1",
            "0x7f000001",
            "2130706433",
            "0177.0.0.1",
            "017700000001",
            "127.0.0.1.",
            "１２７.０.０.１",
            "0",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[64:ff9b::7f00:1]",
            "10.0.0.8",
            "169.254.169.254",
            "0xa9fea9fe",
            "100.100.100.200",
            "[fd00:ec2::254]",
        ] {
            let error = parse(&format!("https://{host}/x")).err().expect(host);
            assert!(error.contains("not a public address"), "{host}: {error}");
        }
    }

    #[test]
    fn an_allowed_network_lets_the_disguised_address_through() {
        let guard = Guard::new(["127.0.0.0/8"]).unwrap();
        let target = Target::parse("http://0x7f.1:8080/a", &guard, true).unwrap();
        let address = "127.0.0.1:8080".parse().unwrap();
        assert_eq!(target.host, Peer::Address(address));
        assert_eq!(target.host_header, "127.0.0.1:8080");
        assert!(target.server_name.is_none());
    }

    #[test]
    fn a_name_that_is_always_loopback_is_refused_unless_loopback_is_allowed() {
        let allowed = Guard::new(["127.0.0.0/8"]).unwrap();
        for host in ["localhost", "LOCALHOST.", "hooks.localhost"] {
            let target = parse(&format!("https://{host}/")).unwrap();
            let error = target.check_name(&Guard::default()).unwrap_err();
            assert!(error.contains("not a public address"), "{host}: {error}");
            assert_eq!(target.check_name(&allowed), Ok(()));
        }
        for host in [
            "example.com",
            "localhost.example.com",
            "notlocalhost",
            "192.0.2.1",
        ] {
            if let Ok(target) = parse(&format!("https://{host}/")) {
                assert_eq!(target.check_name(&Guard::default()), Ok(()), "{host}");
            }
        }
    }

    #[test]
    fn every_bad_url_says_why() {
        let table = [
            ("", "not a URL"),
            ("example.com/hook", "not a URL"),
            ("http://example.com/", "must begin with https://"),
            ("ftp://example.com/", "must begin with https://"),
            ("file:///etc/passwd", "must begin with https://"),
            ("https://", "not a URL"),
            ("https://:443/", "not a URL"),
            ("https://user@example.com/", "user name or password"),
            ("https://user:pw@example.com/", "user name or password"),
            ("https://example.com/#part", "fragment"),
            ("https://example.com:0/", "port 0"),
            ("https://example.com:99999/", "not a URL"),
            ("https://exa mple.com/", "spaces"),
            ("https://example.com/\r\nX: y", "control characters"),
            ("https:\\\\example.com\\", "backslashes"),
            ("https://[::1/", "not a URL"),
            ("https://256.256.256.256/", "not a URL"),
        ];
        for (text, part) in table {
            let error = parse(text).err().expect(text);
            assert!(error.contains(part), "{text}: {error}");
        }
        let long = format!("https://example.com/{}", "a".repeat(2048));
        assert!(parse(&long).err().unwrap().contains("2048"));
    }

    #[test]
    fn a_name_is_absolute_and_keeps_path_query_and_port() {
        let target = parse("https://Bücher.example:8443/a%20b/ü?q=<1>&r=|").unwrap();
        assert_eq!(target.host, Peer::Name("xn--bcher-kva.example.".into()));
        assert_eq!(target.port, 8443);
        assert_eq!(target.host_header, "xn--bcher-kva.example:8443");
        assert_eq!(target.path.to_string(), "/a%20b/%C3%BC?q=%3C1%3E&r=|");
        let plain = parse("https://example.com").unwrap();
        assert_eq!((plain.port, plain.path.to_string().as_str()), (443, "/"));
        assert_eq!(plain.host_header, "example.com");
    }
}
