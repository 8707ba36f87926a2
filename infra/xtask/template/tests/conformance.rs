//! The suite that every adapter passes.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use pushrail_conformance::proxy::Fault;
use pushrail_conformance::{Case, Given, Subject, Trouble, records, reject, retry, run, suspend};
use pushrail_{module}::{Type};
use pushrail_sink_core::Context;
use serde_json::json;
use tokio::net::TcpListener;
use uuid::Uuid;

/// TODO A real server, or the best emulator: see `common/servers` and `common/testkit`.
struct Server {
    _listener: TcpListener,
    address: SocketAddr,
}

/// TODO Let the server, or the suite's proxy, make the trouble, and say what the verdict must be.
fn trouble(name: &'static str) -> Trouble {
    Trouble::new(name, records(1), Fault::None, reject("todo"))
}

impl Subject for Server {
    type Adapter = {Type};

    fn against(&self) -> String {
        "TODO nothing yet".to_owned()
    }

    fn adapter(&self, context: Context) -> {Type} {
        {Type}::new(&context)
    }

    fn server(&self) -> SocketAddr {
        self.address
    }

    fn destination(&self, at: SocketAddr) -> Given {
        Given {
            config: json!({ "url": format!("http://{at}") }),
            secrets: json!({ "token": "a-token-that-nobody-may-see" }),
        }
    }

    fn golden(&self) -> PathBuf {
        concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/{kind}/declaration.json"
        )
        .into()
    }

    async fn arrived(&self) -> Vec<Uuid> {
        // TODO Read back by a stock client of the service, and not by this crate.
        Vec::new()
    }

    fn recognises_repeats(&self) -> Case<()> {
        // TODO Or Err with how the receiver tells repeats.
        Ok(())
    }

    fn partial_failures(&self, _: SocketAddr) -> Case<Vec<Trouble>> {
        Ok(vec![trouble("TODO one record of several is refused")])
    }

    fn throttled(&self, _: SocketAddr) -> Case<Vec<Trouble>> {
        let expected = vec![retry("throttled")];
        let name = "TODO the service wants less, and says how long";
        Ok(vec![Trouble { expected, ..trouble(name) }])
    }

    fn rejected_credentials(&self, _: SocketAddr) -> Case<Vec<Trouble>> {
        let expected = vec![suspend("credentials_rejected")];
        let name = "TODO each way in which the service says no";
        Ok(vec![Trouble { expected, ..trouble(name) }])
    }

    fn oversized(&self, _: SocketAddr) -> Case<Trouble> {
        Ok(trouble("TODO a record that is too large"))
    }

    fn huge_reply(&self, _: SocketAddr) -> Case<Trouble> {
        Ok(trouble("TODO an answer without end"))
    }
}

#[tokio::test]
async fn a_{kind}_destination_conforms() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    run(Server {
        _listener: listener,
        address,
    })
    .await;
}
