//! Runs the cases, and what each of them needs.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use pushrail_sink_core::{
    Context, Destination, ErasedAdapter, ErasedClient, Evidence, Fault, Outcome, Record, Verdict,
};
use serde_json::Value;
use serde_json::value::to_raw_value;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use crate::cases::{CASES, Passed};
use crate::proxy::Proxy;
use crate::report::{Report, Result as Came, Row};
use crate::subject::{Given, Subject, Trouble};

/// Long enough for a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// How much later than its deadline a call may end: what the engine gives it, and what a loaded machine takes.
pub(crate) const GRACE: Duration = Duration::from_millis(1_500);
/// Longest sentence of a fault, in characters.
const DETAIL_LEN_MAX: usize = 1_000;

/// Runs every case for one type, prints and writes the table, and panics when a case failed.
pub async fn run<S: Subject>(subject: S) {
    let suite = Suite::new(subject).await;
    let mut cases = Vec::new();
    for case in CASES {
        let run = AssertUnwindSafe((case.run)(&suite)).catch_unwind();
        let result = match run.await {
            Ok(Ok(Passed::Did(what))) => Came::Passed(what),
            Ok(Ok(Passed::NotApplicable(reason))) => Came::NotApplicable(reason.to_owned()),
            Ok(Err(problem)) => Came::Failed(problem),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
                Came::Failed(format!("panicked: {}", text.unwrap_or_default()))
            }
        };
        cases.push(Row {
            case: case.name,
            result,
        });
    }
    let report = Report {
        kind: suite.adapter().info().kind.to_owned(),
        against: suite.subject().against(),
        cases,
    };
    println!("{}", report.text());
    report.write().expect("the table is written");
    assert_eq!(report.failures(), 0, "{}", report.text());
}

/// What cases work with, without the type.
pub(crate) type Boxed<'a, T> = futures::future::BoxFuture<'a, T>;

/// [`Subject`] without its type, so that cases are plain functions.
pub(crate) trait Tried: Send + Sync {
    fn against(&self) -> String;
    fn arrived(&self) -> Boxed<'_, Vec<Uuid>>;
    fn given(&self, at: std::net::SocketAddr) -> Given;
    fn golden(&self) -> std::path::PathBuf;
    fn guarded(&self) -> Box<dyn ErasedAdapter>;
    fn recognises_repeats(&self) -> crate::Case<()>;
    fn troubles(&self, of: Kind, at: std::net::SocketAddr) -> crate::Case<Vec<Trouble>>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Partial,
    Throttled,
    Credentials,
    Oversized,
    Huge,
    Own,
}

impl<S: Subject> Tried for S {
    fn against(&self) -> String {
        Subject::against(self)
    }

    fn arrived(&self) -> Boxed<'_, Vec<Uuid>> {
        Box::pin(Subject::arrived(self))
    }

    fn given(&self, at: std::net::SocketAddr) -> Given {
        self.destination(at)
    }

    fn golden(&self) -> std::path::PathBuf {
        Subject::golden(self)
    }

    fn guarded(&self) -> Box<dyn ErasedAdapter> {
        Box::new(self.adapter(Context {
            allow_plaintext: true,
            ..Context::default()
        }))
    }

    fn recognises_repeats(&self) -> crate::Case<()> {
        Subject::recognises_repeats(self)
    }

    fn troubles(&self, of: Kind, at: std::net::SocketAddr) -> crate::Case<Vec<Trouble>> {
        match of {
            Kind::Partial => self.partial_failures(at),
            Kind::Throttled => self.throttled(at),
            Kind::Credentials => self.rejected_credentials(at),
            Kind::Oversized => self.oversized(at).map(|one| vec![one]),
            Kind::Huge => self.huge_reply(at).map(|one| vec![one]),
            Kind::Own => Ok(self.own(at)),
        }
    }
}

/// One type under test.
pub(crate) struct Suite {
    subject: Box<dyn Tried>,
    adapter: Box<dyn ErasedAdapter>,
    pub(crate) proxy: Proxy,
    /// Everything that came out, to be searched for secrets.
    texts: Mutex<Vec<String>>,
    secrets: Mutex<Vec<String>>,
}

impl Suite {
    async fn new<S: Subject>(subject: S) -> Suite {
        let adapter = Box::new(subject.adapter(Context {
            allowed_networks: vec!["127.0.0.0/8".into(), "::1/128".into()],
            allow_plaintext: true,
        }));
        Suite {
            proxy: Proxy::start_on(subject.proxy_port(), subject.server()).await,
            adapter,
            subject: Box::new(subject),
            texts: Mutex::default(),
            secrets: Mutex::default(),
        }
    }

    pub(crate) fn subject(&self) -> &dyn Tried {
        &*self.subject
    }

    pub(crate) fn adapter(&self) -> &dyn ErasedAdapter {
        &*self.adapter
    }

    /// How many records a call of this type carries in a case that is about something else.
    pub(crate) fn some(&self) -> usize {
        self.adapter.info().batch_max.records.min(10)
    }

    pub(crate) async fn client(&self) -> Result<Arc<dyn ErasedClient>, String> {
        let given = self.subject.given(self.proxy.address());
        let client = self.connect(&*self.adapter, &given).await;
        client.map_err(|fault| format!("no client was made: {fault:?}"))
    }

    pub(crate) async fn connect(
        &self,
        adapter: &dyn ErasedAdapter,
        given: &Given,
    ) -> Result<Arc<dyn ErasedClient>, Fault> {
        collect(&given.secrets, &mut lock(&self.secrets));
        let raw = |value: &Value| to_raw_value(value).expect("a value is JSON");
        let (config, secrets) = (raw(&given.config), raw(&given.secrets));
        let made = adapter.connect(Destination {
            config: &config,
            secrets: &secrets,
        });
        let made = made.await;
        if let Err(fault) = &made {
            self.note(format!("{fault:?} {fault}"));
        }
        made
    }

    /// What the adapter says of a configuration.
    pub(crate) fn check(&self, adapter: &dyn ErasedAdapter, given: &Given) -> Result<(), String> {
        let raw = |value: &Value| to_raw_value(value).expect("a value is JSON");
        let (config, secrets) = (raw(&given.config), raw(&given.secrets));
        let context = Context {
            allow_plaintext: true,
            ..Context::default()
        };
        let given = Destination {
            config: &config,
            secrets: &secrets,
        };
        adapter.check(given, &context).map_err(|errors| {
            let text = format!("{errors:?}");
            self.note(text.clone());
            text
        })
    }

    /// One call, judged by what holds for every call.
    pub(crate) async fn call(
        &self,
        client: &Arc<dyn ErasedClient>,
        records: &[Arc<Record>],
        limit: Duration,
    ) -> Result<Outcome, String> {
        let started = Instant::now();
        let batch = records.iter().cloned().collect();
        let attempt = Arc::clone(client).attempt(batch, started + limit);
        let outcome = timeout(limit + GRACE, attempt).await;
        let outcome = outcome.map_err(|_| "the call did not end at its deadline".to_owned())?;
        self.judge(&outcome, records.len())?;
        Ok(outcome)
    }

    fn judge(&self, outcome: &Outcome, sent: usize) -> Result<(), String> {
        self.note(format!("{outcome:?}"));
        if outcome.verdicts.len() != sent {
            let given = outcome.verdicts.len();
            return Err(format!("{given} verdicts for {sent} records"));
        }
        let excerpt = outcome.evidence.excerpt.len();
        if excerpt > Evidence::EXCERPT_LEN_MAX {
            return Err(format!("{excerpt} bytes of the answer are kept"));
        }
        for verdict in &outcome.verdicts {
            let Some(fault) = verdict.fault() else {
                continue;
            };
            self.note(format!("{fault}"));
            let declared = self.adapter.info().failures;
            let declared = declared.iter().find(|failure| failure.code == fault.code);
            let class = verdict.class();
            match declared {
                None => return Err(format!("{} is not declared: {fault:?}", fault.code)),
                Some(declared) if declared.class != class => {
                    let (code, said) = (&fault.code, declared.class.as_str());
                    return Err(format!("{code} is declared {said}, and was {verdict:?}"));
                }
                Some(_) => {}
            }
            let length = fault.detail.chars().count();
            if !(1..=DETAIL_LEN_MAX).contains(&length) {
                return Err(format!("a detail of {length} characters"));
            }
        }
        Ok(())
    }

    /// A call that must deliver everything.
    pub(crate) async fn deliver(
        &self,
        client: &Arc<dyn ErasedClient>,
        records: &[Arc<Record>],
    ) -> Result<(), String> {
        let outcome = self.call(client, records, PATIENCE).await?;
        let undelivered = |verdict: &&Verdict| **verdict != Verdict::Delivered;
        match outcome.verdicts.iter().find(undelivered) {
            None => Ok(()),
            Some(verdict) => Err(format!("not delivered: {verdict:?}")),
        }
    }

    /// Each record has arrived, `times` times where that is known.
    pub(crate) async fn arrived(
        &self,
        records: &[Arc<Record>],
        times: Option<usize>,
    ) -> Result<(), String> {
        let there = self.subject.arrived().await;
        for record in records {
            let id = record.event.event_id();
            let found = there.iter().filter(|one| **one == id).count();
            if found == 0 || times.is_some_and(|times| times != found) {
                return Err(format!("{id} is there {found} times"));
            }
        }
        Ok(())
    }

    /// A call that goes wrong as it should.
    pub(crate) async fn trouble(&self, trouble: &Trouble) -> Result<(), String> {
        let given = match &trouble.given {
            Some(given) => given.clone(),
            None => self.subject.given(self.proxy.address()),
        };
        let what = |problem: String| format!("{}: {problem}", trouble.name);
        self.proxy.set(trouble.fault.clone());
        let outcome = match self.connect(&*self.adapter, &given).await {
            Ok(client) => self.call(&client, &trouble.records, PATIENCE).await,
            // As the engine takes it.
            Err(fault) => {
                let suspend = |_: &Arc<Record>| Verdict::Suspend {
                    fault: fault.clone(),
                };
                Ok(Outcome {
                    verdicts: trouble.records.iter().map(suspend).collect(),
                    evidence: Evidence::default(),
                })
            }
        };
        self.proxy.set(crate::proxy::Fault::None);
        let outcome = outcome.map_err(what)?;
        let verdicts = &outcome.verdicts;
        let pairs = trouble.expected.iter().zip(verdicts);
        for (at, (expected, verdict)) in pairs.enumerate() {
            if !expected.is(verdict) {
                let problem = format!("record {at}: {expected:?} expected, {verdict:?} came");
                return Err(what(problem));
            }
        }
        // What was called delivered is there, and what was not is not.
        let there = self.subject.arrived().await;
        for (at, (record, verdict)) in trouble.records.iter().zip(verdicts).enumerate() {
            match (verdict, there.contains(&record.event.event_id())) {
                (Verdict::Delivered, false) => {
                    return Err(what(format!("record {at} was delivered and is not there")));
                }
                (Verdict::Reject { .. }, true) => {
                    return Err(what(format!("record {at} was rejected and is there")));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn note(&self, text: String) {
        lock(&self.texts).push(text);
    }

    /// Whether a secret is in anything that came out; how much was looked at.
    pub(crate) fn leaks(&self) -> Result<usize, String> {
        let (texts, secrets) = (lock(&self.texts), lock(&self.secrets));
        for text in texts.iter() {
            if secrets.iter().any(|secret| text.contains(secret.as_str())) {
                // Not the text: this goes to a log.
                let start: String = text.chars().take(40).collect();
                return Err(format!("a secret is in what begins with {start:?}"));
            }
        }
        Ok(texts.len())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Every string that is long enough to be recognised.
fn collect(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::String(text) if text.len() >= 6 && !into.contains(text) => into.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| collect(item, into)),
        Value::Object(members) => members.values().for_each(|member| collect(member, into)),
        _ => {}
    }
}
