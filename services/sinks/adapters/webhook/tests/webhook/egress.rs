//! Where an event may not go.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pushrail_sink_core::{Adapter, Context};
use pushrail_webhook::Webhook;
use serde_json::json;
use tokio::net::UdpSocket;

use super::support::{SECRET, accepting, connect, loopback, send, verdict};

fn nothing_private() -> Context {
    Context {
        allowed_networks: vec![],
        allow_plaintext: true,
    }
}

#[tokio::test]
async fn a_name_that_leads_to_loopback_is_refused_unless_allowed() {
    let server = accepting().await;
    let config = json!({ "url": format!("http://localhost:{}/", server.address.port()) });
    let secrets = json!({ "signingSecret": SECRET });
    let refused = connect(
        &Webhook::new(nothing_private()),
        config.clone(),
        secrets.clone(),
    )
    .await;
    let outcome = send(&refused).await;
    assert_eq!(verdict(&outcome), "suspend address_blocked");
    let detail = &outcome.verdicts[0].fault().unwrap().detail;
    assert!(
        !detail.contains("127."),
        "it does not tell what the name resolved to: {detail}"
    );
    assert_eq!(server.now().opened, 0);
    let allowed = connect(&Webhook::new(loopback()), config, secrets).await;
    assert_eq!(verdict(&send(&allowed).await), "delivered");
}

#[tokio::test]
async fn an_address_is_judged_before_it_is_saved() {
    let secrets = || serde_json::from_value(json!({ "signingSecret": SECRET })).unwrap();
    for host in [
        "0x7f.1",
        "[::ffff:127.0.0.1]",
        "2130706433",
        "10.1.2.3",
        "169.254.169.254",
    ] {
        let config =
            || serde_json::from_value(json!({ "url": format!("https://{host}/") })).unwrap();
        let context = Context::default();
        let errors = Webhook::check(&config(), &secrets(), &context).unwrap_err();
        assert_eq!(errors[0].field, "config.url", "{host}");
        assert!(
            errors[0].message.contains("not a public address"),
            "{}",
            errors[0].message
        );
        let fault = Webhook::new(context)
            .connect(config(), secrets())
            .await
            .err()
            .unwrap();
        assert_eq!(fault.code, "invalid_configuration");
    }
}

/// A name server that answers its nth A query with the nth list of addresses (the last one for ever), valid for no time
/// at all, and every other query with nothing.
async fn name_server(answers: Vec<Vec<Ipv4Addr>>) -> (SocketAddr, Arc<AtomicUsize>) {
    const A: u8 = 1;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    tokio::spawn(async move {
        let mut query = [0u8; 512];
        loop {
            let (len, from) = socket.recv_from(&mut query).await.unwrap();
            // The question: labels up to an empty one, type and class.
            let name_len = query[12..len].iter().position(|b| *b == 0).unwrap() + 1;
            let question = &query[12..12 + name_len + 4];
            let addresses = if question[name_len + 1] == A {
                let nth = count.fetch_add(1, Ordering::Relaxed);
                answers[nth.min(answers.len() - 1)].clone()
            } else {
                Vec::new()
            };
            let mut reply = query[..2].to_vec();
            reply.extend([0x81, 0x80, 0, 1, 0, addresses.len() as u8, 0, 0, 0, 0]);
            reply.extend(question);
            for address in addresses {
                // Name as in the question, type A, class IN, time to live 0, four bytes.
                reply.extend([0xc0, 12, 0, A, 0, 1, 0, 0, 0, 0, 0, 4]);
                reply.extend(address.octets());
            }
            socket.send_to(&reply, from).await.unwrap();
        }
    });
    (address, asked)
}

fn only_one() -> Context {
    Context {
        allowed_networks: vec!["127.0.0.1".into()],
        allow_plaintext: true,
    }
}

#[tokio::test]
async fn the_address_that_was_vetted_is_the_one_connected_to() {
    let server = accepting().await;
    // The second look-up would lead to another machine, as in a rebinding attack.
    let answers = vec![
        vec![Ipv4Addr::new(127, 0, 0, 1)],
        vec![Ipv4Addr::new(127, 0, 0, 2)],
    ];
    let (dns, asked) = name_server(answers).await;
    let webhook = Webhook::new(only_one()).with_name_servers(vec![dns]);
    let config = json!({ "url": format!("http://rebind.example:{}/", server.address.port()) });
    let client = connect(&webhook, config, json!({ "signingSecret": SECRET })).await;
    assert_eq!(verdict(&send(&client).await), "delivered");
    assert_eq!(asked.load(Ordering::Relaxed), 1, "one look-up a connection");
    // A new connection asks again, and the answer is vetted again.
    server.stop().await;
    assert_eq!(verdict(&send(&client).await), "suspend address_blocked");
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn of_several_addresses_only_the_allowed_ones_are_called() {
    let server = accepting().await;
    let addresses = vec![
        Ipv4Addr::new(10, 0, 0, 1),
        Ipv4Addr::LOCALHOST,
        Ipv4Addr::new(127, 0, 0, 2),
    ];
    let (dns, _) = name_server(vec![addresses]).await;
    let webhook = Webhook::new(only_one()).with_name_servers(vec![dns]);
    let config = json!({ "url": format!("http://mixed.example:{}/", server.address.port()) });
    let client = connect(&webhook, config, json!({ "signingSecret": SECRET })).await;
    assert_eq!(verdict(&send(&client).await), "delivered");
}

#[tokio::test]
async fn a_dead_address_does_not_hide_a_living_one() {
    let server = accepting().await;
    // Nobody listens on the first; the kernel refuses at once.
    let addresses = vec![Ipv4Addr::new(127, 0, 0, 9), Ipv4Addr::LOCALHOST];
    let (dns, _) = name_server(vec![addresses]).await;
    let webhook = Webhook::new(loopback()).with_name_servers(vec![dns]);
    let config = json!({ "url": format!("http://two.example:{}/", server.address.port()) });
    let client = connect(&webhook, config, json!({ "signingSecret": SECRET })).await;
    assert_eq!(verdict(&send(&client).await), "delivered");
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_retried() {
    let (dns, _) = name_server(vec![vec![]]).await;
    let webhook = Webhook::new(loopback()).with_name_servers(vec![dns]);
    let config = json!({ "url": "http://nothing.example/" });
    let client = connect(&webhook, config, json!({ "signingSecret": SECRET })).await;
    assert_eq!(verdict(&send(&client).await), "retry dns_failed");
}

#[tokio::test]
async fn a_silent_name_server_is_given_up_at_the_deadline() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let webhook = Webhook::new(loopback()).with_name_servers(vec![silent.local_addr().unwrap()]);
    let config = json!({ "url": "http://silent.example/" });
    let client = connect(&webhook, config, json!({ "signingSecret": SECRET })).await;
    let outcome = super::support::send_within(&client, Duration::from_millis(300)).await;
    assert_eq!(verdict(&outcome), "retry timeout");
}
