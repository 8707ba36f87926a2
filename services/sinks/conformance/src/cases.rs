//! The cases. Each says in a few words what it did, why the type cannot have it, or what was wrong.

use std::sync::Arc;
use std::time::Duration;

use pushrail_sink_core::{ErasedClient, Record, Verdict};
use tokio::time::Instant;

use crate::declaration;
use crate::proxy::Fault;
use crate::sample::records;
use crate::suite::{Boxed, GRACE, Kind, PATIENCE, Suite};

pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&Suite) -> Boxed<'_, Result<Passed, String>>,
}

pub(crate) enum Passed {
    Did(String),
    NotApplicable(&'static str),
}

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "declaration",
        run: |suite| {
            Box::pin(async {
                let golden = suite.subject().golden();
                declaration::judge(suite.adapter(), &golden).map(Passed::Did)
            })
        },
    },
    Case {
        name: "asks nothing early",
        run: |suite| Box::pin(asks_nothing_early(suite)),
    },
    Case {
        name: "delivers",
        run: |suite| Box::pin(delivers(suite)),
    },
    Case {
        name: "repeats",
        run: |suite| Box::pin(repeats(suite)),
    },
    Case {
        name: "partial failures",
        run: |suite| Box::pin(troubles(suite, Kind::Partial)),
    },
    Case {
        name: "throttled",
        run: |suite| Box::pin(troubles(suite, Kind::Throttled)),
    },
    Case {
        name: "rejected credentials",
        run: |suite| Box::pin(troubles(suite, Kind::Credentials)),
    },
    Case {
        name: "oversized",
        run: |suite| Box::pin(troubles(suite, Kind::Oversized)),
    },
    Case {
        name: "slow drip",
        run: |suite| {
            let drip = Fault::Drip(Duration::from_millis(50));
            Box::pin(cut_at_the_deadline(suite, drip))
        },
    },
    Case {
        name: "hangs",
        run: |suite| Box::pin(cut_at_the_deadline(suite, Fault::Hang)),
    },
    Case {
        name: "huge reply",
        run: |suite| Box::pin(huge_reply(suite)),
    },
    Case {
        name: "cancelled",
        run: |suite| Box::pin(cancelled(suite)),
    },
    Case {
        name: "concurrent",
        run: |suite| Box::pin(concurrent(suite)),
    },
    Case {
        name: "server restarts",
        run: |suite| Box::pin(restarts(suite)),
    },
    Case {
        name: "private address",
        run: |suite| Box::pin(private_address(suite)),
    },
    Case {
        name: "of this type",
        run: |suite| Box::pin(troubles(suite, Kind::Own)),
    },
    // The last: it looks at everything that came out before.
    Case {
        name: "no secret shown",
        run: |suite| {
            Box::pin(async {
                let looked_at = suite.leaks()?;
                Ok(Passed::Did(format!("in {looked_at} outcomes and errors")))
            })
        },
    },
];

/// There may be ten thousand idle destinations.
async fn asks_nothing_early(suite: &Suite) -> Result<Passed, String> {
    let before = suite.proxy.now().opened;
    let _client = suite.client().await?;
    match suite.proxy.now().opened - before {
        0 => Ok(Passed::Did("no connection before the first call".into())),
        opened => Err(format!("{opened} connections before the first call")),
    }
}

async fn delivers(suite: &Suite) -> Result<Passed, String> {
    let client = suite.client().await?;
    let sent = records(suite.some());
    suite.deliver(&client, &sent).await?;
    suite.deliver(&client, &records(1)).await?;
    suite.arrived(&sent, Some(1)).await?;
    let records = sent.len();
    Ok(Passed::Did(format!("{records} a call, read back")))
}

async fn repeats(suite: &Suite) -> Result<Passed, String> {
    if let Err(reason) = suite.subject().recognises_repeats() {
        return Ok(Passed::NotApplicable(reason));
    }
    let client = suite.client().await?;
    let sent = records(suite.some());
    suite.deliver(&client, &sent).await?;
    // As after a crash: the same call again, and parts of it beside new records.
    suite.deliver(&client, &sent).await?;
    let half = sent.len().div_ceil(2);
    let mixed: Vec<_> = sent[..half]
        .iter()
        .cloned()
        .chain(records(sent.len() - half))
        .collect();
    suite.deliver(&client, &mixed).await?;
    suite.arrived(&sent, Some(1)).await?;
    Ok(Passed::Did("each record is there once".into()))
}

async fn troubles(suite: &Suite, of: Kind) -> Result<Passed, String> {
    let troubles = match suite.subject().troubles(of, suite.proxy.address()) {
        Err(reason) => return Ok(Passed::NotApplicable(reason)),
        Ok(troubles) if troubles.is_empty() && of == Kind::Own => {
            return Ok(Passed::NotApplicable("there is nothing particular"));
        }
        Ok(troubles) if troubles.is_empty() => return Err("nothing is described".into()),
        Ok(troubles) => troubles,
    };
    let mut problems = Vec::new();
    for trouble in &troubles {
        if trouble.expected.len() != trouble.records.len() {
            return Err(format!("{}: one expectation a record", trouble.name));
        }
        problems.extend(suite.trouble(trouble).await.err());
    }
    match problems.is_empty() {
        true => {
            let names: Vec<_> = troubles.iter().map(|trouble| trouble.name).collect();
            Ok(Passed::Did(names.join("; ")))
        }
        false => Err(problems.join("; ")),
    }
}

async fn cut_at_the_deadline(suite: &Suite, fault: Fault) -> Result<Passed, String> {
    const LIMIT: Duration = Duration::from_secs(1);
    let client = suite.client().await?;
    suite.proxy.set(fault);
    let started = Instant::now();
    let outcome = suite.call(&client, &records(suite.some()), LIMIT).await;
    let took = started.elapsed();
    suite.proxy.set(Fault::None);
    let timed_out = |verdict: &Verdict| matches!(verdict, Verdict::Retry { fault, .. } if fault.code == "timeout");
    let outcome = outcome?;
    if !outcome.verdicts.iter().all(timed_out) {
        return Err(format!("not a timeout: {:?}", outcome.verdicts));
    }
    if took + Duration::from_millis(50) < LIMIT || took > LIMIT + GRACE {
        return Err(format!("it took {took:?} with a limit of {LIMIT:?}"));
    }
    recovers(suite, &client).await?;
    Ok(Passed::Did(
        "given up at the deadline, then delivers".into(),
    ))
}

/// The same client delivers again once the trouble is over.
async fn recovers(suite: &Suite, client: &Arc<dyn ErasedClient>) -> Result<(), String> {
    let sent = records(1);
    let delivered = suite.deliver(client, &sent).await;
    delivered.map_err(|problem| format!("afterwards: {problem}"))?;
    suite.arrived(&sent, None).await
}

async fn huge_reply(suite: &Suite) -> Result<Passed, String> {
    /// What the sockets' buffers may hold beside what is read.
    const TAKEN_MAX: usize = 32 << 20;
    let found = suite.subject().troubles(Kind::Huge, suite.proxy.address());
    let trouble = match found {
        Err(reason) => return Ok(Passed::NotApplicable(reason)),
        Ok(mut troubles) => troubles.remove(0),
    };
    let before = suite.proxy.now().taken;
    suite.proxy.set(trouble.fault.clone());
    let client = suite.client().await?;
    let outcome = suite
        .call(&client, &trouble.records, Duration::from_secs(10))
        .await;
    suite.proxy.set(Fault::None);
    let outcome = outcome?;
    for (expected, verdict) in trouble.expected.iter().zip(&outcome.verdicts) {
        if !expected.is(verdict) {
            return Err(format!("{expected:?} expected, {verdict:?} came"));
        }
    }
    let taken = suite.proxy.now().taken - before;
    if taken > TAKEN_MAX {
        return Err(format!("{taken} bytes of it were taken"));
    }
    recovers(suite, &client).await?;
    Ok(Passed::Did(format!("{} KiB of it taken", taken >> 10)))
}

async fn cancelled(suite: &Suite) -> Result<Passed, String> {
    suite.proxy.until(|counts| counts.open == 0).await?;
    let client = suite.client().await?;
    suite.proxy.set(Fault::Hang);
    let before = suite.proxy.now().sent;
    let batch = records(suite.some()).into_iter().collect();
    let attempt = Arc::clone(&client).attempt(batch, Instant::now() + PATIENCE);
    tokio::select! {
        _ = attempt => return Err("it ended although nobody answered".into()),
        sent = suite.proxy.until(|counts| counts.sent > before) => { sent?; }
    }
    let closed = suite.proxy.until(|counts| counts.open == 0).await;
    suite.proxy.set(Fault::None);
    closed.map_err(|problem| format!("its connection stays: {problem}"))?;
    recovers(suite, &client).await?;
    Ok(Passed::Did(
        "its connection is closed, the next call delivers".into(),
    ))
}

async fn concurrent(suite: &Suite) -> Result<Passed, String> {
    const CALLS: usize = 16;
    let client = suite.client().await?;
    let batches: Vec<Vec<Arc<Record>>> = (0..CALLS).map(|_| records(suite.some())).collect();
    let calls = batches.iter().map(|batch| suite.deliver(&client, batch));
    let results = futures::future::join_all(calls).await;
    results.into_iter().collect::<Result<Vec<()>, String>>()?;
    suite.arrived(&batches.concat(), Some(1)).await?;
    let opened = suite.proxy.now().open;
    Ok(Passed::Did(format!(
        "{CALLS} calls at once, {opened} connections after them"
    )))
}

async fn restarts(suite: &Suite) -> Result<Passed, String> {
    let client = suite.client().await?;
    suite.deliver(&client, &records(1)).await?;
    suite.proxy.stop().await;
    let outcome = suite.call(&client, &records(1), PATIENCE).await;
    suite.proxy.restart().await;
    match &outcome?.verdicts[..] {
        [Verdict::Retry { .. }] => {}
        other => return Err(format!("while it was away: {other:?}")),
    }
    recovers(suite, &client).await?;
    // Idle connections that have died without anybody's noticing may cost a call, and no more.
    suite.proxy.stop().await;
    suite.proxy.restart().await;
    let sent = records(1);
    let outcome = suite.call(&client, &sent, PATIENCE).await?;
    match &outcome.verdicts[0] {
        Verdict::Delivered => {}
        Verdict::Retry { .. } => suite.deliver(&client, &sent).await?,
        other => return Err(format!("after a restart: {other:?}")),
    }
    Ok(Passed::Did(
        "retried while it is away, delivered when it is back".into(),
    ))
}

/// Without the operator's leave nothing private is called.
async fn private_address(suite: &Suite) -> Result<Passed, String> {
    let adapter = suite.subject().guarded();
    let given = suite.subject().given(suite.proxy.address());
    let before = suite.proxy.now().opened;
    let checked = suite.check(&*adapter, &given);
    let suspended = match suite.connect(&*adapter, &given).await {
        Err(_) => true,
        Ok(client) => {
            let outcome = suite.call(&client, &records(1), PATIENCE).await?;
            matches!(&outcome.verdicts[..], [Verdict::Suspend { .. }])
        }
    };
    if suite.proxy.now().opened != before {
        return Err("a connection was opened".into());
    }
    match (checked, suspended) {
        (Err(_), true) => Ok(Passed::Did("refused at the check and at the call".into())),
        (Ok(()), _) => Err("the check lets it pass".into()),
        (_, false) => Err("the destination is not suspended".into()),
    }
}
