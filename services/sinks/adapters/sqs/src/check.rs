//! From a configuration to everything that a client needs, or to everything that is wrong with it. Pure.

use pushrail_aws::{Access, Place, Secrets};
use pushrail_egress::{Rules, Target};
use pushrail_sink_core::FieldError;

use crate::config::{Config, Deduplication};

/// A configuration that holds.
pub(crate) struct Plan {
    pub(crate) queue_url: Box<str>,
    /// `None`: a standard queue.
    pub(crate) fifo: Option<Deduplication>,
    pub(crate) place: Place,
    pub(crate) access: Access,
    /// Account and name, for policies.
    pub(crate) arn: String,
}

pub(crate) fn plan(
    config: &Config,
    secrets: &Secrets,
    rules: &Rules,
) -> Result<Plan, Vec<FieldError>> {
    let mut errors = Vec::new();
    let queue = queue(&config.queue_url, rules, &mut errors);
    let named = queue.as_ref().and_then(|queue| queue.region);
    let region = match (config.region.as_deref(), named) {
        (Some(region), Some(named)) if region != named => {
            let message = format!("is not the region in the queue's URL, {named}; leave it out");
            errors.push(FieldError::new("config.region", message));
            region
        }
        (Some(region), _) => region,
        (None, Some(named)) => named,
        (None, None) => {
            if queue.is_some() {
                let message = "is needed: the queue's URL does not name its region";
                errors.push(FieldError::new("config.region", message));
            }
            // Whatever is right, so that nothing is said twice.
            "us-east-1"
        }
    };
    // A queue that is not AWS's is where its URL says.
    let own = queue.as_ref().filter(|queue| queue.region.is_none());
    let endpoint = config.endpoint.as_deref().or(own.map(|queue| queue.origin));
    let place = pushrail_aws::place(region, endpoint, rules, &mut errors);
    let access = pushrail_aws::access(&config.authentication, secrets, &mut errors);
    match (queue, place, access) {
        (Some(queue), Some(place), Some(access)) if errors.is_empty() => Ok(Plan {
            queue_url: config.queue_url.clone(),
            fifo: queue
                .name
                .ends_with(".fifo")
                .then_some(config.deduplication),
            arn: format!(
                "arn:aws:sqs:{}:{}:{}",
                place.region, queue.account, queue.name
            ),
            place,
            access,
        }),
        _ => Err(errors),
    }
}

struct Queue<'a> {
    origin: &'a str,
    account: &'a str,
    name: &'a str,
    region: Option<&'a str>,
}

/// Takes `https://HOST/ACCOUNT/NAME` apart.
fn queue<'a>(url: &'a str, rules: &Rules, errors: &mut Vec<FieldError>) -> Option<Queue<'a>> {
    let mut wrong = |message: String| {
        errors.push(FieldError::new("config.queueUrl", message));
        None
    };
    if let Err(message) = Target::parse(url, &rules.guard, rules.allow_plaintext) {
        return wrong(message);
    }
    let shape =
        "must end in the account's number and the queue's name, such as /123456789012/events";
    let from = url.find("://").map_or(0, |at| at + 3);
    let Some(slash) = url[from..].find('/').map(|at| at + from) else {
        return wrong(shape.to_owned());
    };
    let (origin, path) = url.split_at(slash);
    let Some((account, name)) = path[1..].split_once('/') else {
        return wrong(shape.to_owned());
    };
    let is_account = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
    let stem = name.strip_suffix(".fifo").unwrap_or(name);
    let is_name = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if !is_account || stem.is_empty() || name.len() > 80 || !stem.bytes().all(is_name) {
        return wrong(shape.to_owned());
    }
    Some(Queue {
        origin,
        account,
        name,
        region: region(&origin[from..]),
    })
}

/// The region in `sqs.REGION.amazonaws.com` (or `.cn`, or `sqs-fips.`).
fn region(host: &str) -> Option<&str> {
    let host = host.strip_suffix(".cn").unwrap_or(host);
    let rest = host.strip_suffix(".amazonaws.com")?;
    let rest = rest
        .strip_prefix("sqs.")
        .or(rest.strip_prefix("sqs-fips."))?;
    (!rest.contains('.')).then_some(rest)
}

#[cfg(test)]
mod tests {
    use pushrail_sink_core::Context;
    use serde_json::{Value, json};

    use super::*;

    fn checked(changes: Value) -> Result<Plan, String> {
        let mut config = json!({
            "queueUrl": "https://sqs.eu-central-1.amazonaws.com/123456789012/events",
            "authentication": {"type": "assume_role", "roleArn": "arn:aws:iam::123456789012:role/pushrail"},
        });
        let fields = config.as_object_mut().unwrap();
        fields.extend(changes.as_object().unwrap().clone());
        let config = serde_json::from_value(config).unwrap();
        let rules = Rules::new(&Context::default());
        plan(&config, &Secrets::default(), &rules).map_err(|errors| {
            let told = |e: &FieldError| format!("{}: {}", e.field, e.message);
            errors.iter().map(told).collect::<Vec<_>>().join("\n")
        })
    }

    #[test]
    fn each_mistake_names_its_field() {
        let table = [
            (json!({}), ""),
            (json!({"queueUrl": "events"}), "config.queueUrl"),
            (
                json!({"queueUrl": "http://sqs.eu-central-1.amazonaws.com/123456789012/events"}),
                "config.queueUrl: must begin with https",
            ),
            (
                json!({"queueUrl": "https://sqs.eu-central-1.amazonaws.com/events"}),
                "config.queueUrl: must end",
            ),
            (
                json!({"queueUrl": "https://sqs.eu-central-1.amazonaws.com"}),
                "config.queueUrl: must end",
            ),
            (
                json!({"queueUrl": "https://sqs.eu-central-1.amazonaws.com/123456789012/a b"}),
                "config.queueUrl",
            ),
            (
                json!({"queueUrl": "https://10.1.2.3/123456789012/events"}),
                "config.queueUrl: 10.1.2.3 is private",
            ),
            (
                json!({"queueUrl": "https://queue.example/123456789012/events"}),
                "config.region: is needed",
            ),
            (
                json!({"region": "us-east-1"}),
                "config.region: is not the region",
            ),
            (json!({"endpoint": "https://127.1"}), "config.endpoint"),
        ];
        for (changes, expected) in table {
            let told = checked(changes.clone()).err().unwrap_or_default();
            assert_eq!(told.is_empty(), expected.is_empty(), "{changes}: {told}");
            assert!(told.contains(expected), "{changes}: {told}");
        }
    }

    #[test]
    fn a_url_says_region_kind_and_account() {
        let plan = checked(json!({})).unwrap();
        assert_eq!((&*plan.place.region, plan.fifo), ("eu-central-1", None));
        assert_eq!(plan.place.endpoint, None);
        assert_eq!(plan.arn, "arn:aws:sqs:eu-central-1:123456789012:events");
        let fifo =
            json!({"queueUrl": "https://sqs.eu-central-1.amazonaws.com/123456789012/events.fifo"});
        assert_eq!(checked(fifo).unwrap().fifo, Some(Deduplication::EventId));
        let other = json!({"queueUrl": "https://queue.example:9324/123456789012/events", "region": "us-east-1"});
        let endpoint = checked(other).unwrap().place.endpoint;
        assert_eq!(endpoint.as_deref(), Some("https://queue.example:9324"));
    }
}
