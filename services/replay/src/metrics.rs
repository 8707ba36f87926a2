//! What replays show of themselves.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use pushrail_store::replays::State;

#[derive(Clone)]
pub(crate) struct Metrics {
    jobs: Family<Label, Gauge>,
    pub(crate) copies: Counter,
    pub(crate) read: Counter,
    pub(crate) saves: Counter,
    ended: Family<Label, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Label {
    state: &'static str,
}

impl Metrics {
    pub(crate) fn register(registry: &pushrail_obs::Metrics) -> Self {
        Metrics {
            jobs: registry.family(
                "pushrail_replay_jobs",
                "Jobs of the installation that are not over, by state",
            ),
            copies: registry.counter(
                "pushrail_replay_copies",
                "Deliveries that were put on their way again",
            ),
            read: registry.counter(
                "pushrail_replay_read",
                "Records that were read to find them",
            ),
            saves: registry.counter(
                "pushrail_replay_saves",
                "Times that a job saved where it is",
            ),
            ended: registry.family(
                "pushrail_replay_ended",
                "Times that work on a job ended here, by how",
            ),
        }
    }

    pub(crate) fn show(&self, open: &[(State, i64)]) {
        for state in State::ALL.into_iter().filter(|state| !state.is_over()) {
            let count = open.iter().find(|(found, _)| *found == state);
            let state = state.as_str();
            let gauge = self.jobs.get_or_create(&Label { state });
            gauge.set(count.map_or(0, |(_, count)| *count));
        }
    }

    pub(crate) fn ended(&self, state: &'static str) {
        self.ended.get_or_create(&Label { state }).inc();
    }
}
