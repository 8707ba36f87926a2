//! What a vendor puts into its client to use its access.

use zeroize::Zeroizing;

use crate::{Password, User};

/// Where vendors find Kafka.
#[derive(Clone, Copy, Debug)]
pub struct Listener<'a> {
    /// `host:port`, comma separated.
    pub bootstrap: &'a str,
    /// Whether the listener speaks TLS (`SASL_SSL`), as it must wherever it is more than loopback.
    pub tls: bool,
}

/// A `.properties` file for Java clients and Kafka's own tools.
pub fn java_properties(
    listener: Listener<'_>,
    user: &User,
    password: &Password,
) -> Zeroizing<String> {
    let protocol = if listener.tls {
        "SASL_SSL"
    } else {
        "SASL_PLAINTEXT"
    };
    Zeroizing::new(format!(
        "# Consumer groups must begin with {groups}\n\
         bootstrap.servers={bootstrap}\n\
         security.protocol={protocol}\n\
         sasl.mechanism=SCRAM-SHA-512\n\
         sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \
         username=\"{user}\" password=\"{password}\";\n",
        groups = user.group_prefix(),
        bootstrap = listener.bootstrap,
        password = password.expose(),
    ))
}

/// The same for clients that stand on librdkafka: one property a line.
pub fn librdkafka_properties(
    listener: Listener<'_>,
    user: &User,
    password: &Password,
) -> Zeroizing<String> {
    let protocol = if listener.tls {
        "sasl_ssl"
    } else {
        "sasl_plaintext"
    };
    Zeroizing::new(format!(
        "# group.id must begin with {groups}\n\
         bootstrap.servers={bootstrap}\n\
         security.protocol={protocol}\n\
         sasl.mechanism=SCRAM-SHA-512\n\
         sasl.username={user}\n\
         sasl.password={password}\n",
        groups = user.group_prefix(),
        bootstrap = listener.bootstrap,
        password = password.expose(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_name_the_user_once_and_the_listener_as_it_is() {
        let user = User::parse("psh-acme-0123456789abcdef").unwrap();
        let password = Password::draw().unwrap();
        let listener = |tls| Listener {
            bootstrap: "a:1,b:2",
            tls,
        };
        let java = java_properties(listener(true), &user, &password);
        let jaas = format!("username=\"{user}\" password=\"{}\";\n", password.expose());
        assert!(java.contains("security.protocol=SASL_SSL\n") && java.ends_with(&jaas));
        let native = librdkafka_properties(listener(false), &user, &password);
        assert!(native.contains("security.protocol=sasl_plaintext\n"));
        assert!(native.contains("bootstrap.servers=a:1,b:2\n") && native.contains("psh-acme.\n"));
    }
}
