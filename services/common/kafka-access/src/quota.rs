//! How much a user may write and read: Kafka's client quotas, which librdkafka cannot set.
//!
//! Two requests in Kafka's own protocol, to any broker: brokers hand them on to the controller. Only where brokers are reached
//! without TLS and SASL; a second client library with all of their settings would be a high price for two requests.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use kafka_protocol::messages::describe_client_quotas_request::ComponentData;
use kafka_protocol::messages::{
    AlterClientQuotasRequest, AlterClientQuotasResponse, ApiKey, DescribeClientQuotasRequest,
    DescribeClientQuotasResponse, RequestHeader, ResponseHeader,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};
use pushrail_kafka::Connection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{Error, User};

const WITHIN: Duration = Duration::from_secs(10);
/// Of an answer; ours have some hundred bytes.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// Of both requests; brokers have it since Kafka 2.8.
const VERSION: i16 = 1;

const USER: &str = "user";
const WRITE: &str = "producer_byte_rate";
const READ: &str = "consumer_byte_rate";

/// What a user may move, by broker. Kafka delays the answers of a client that exceeds it and loses nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub producer_bytes_per_s: u64,
    pub consumer_bytes_per_s: u64,
}

/// Talks to the brokers.
pub(crate) struct Quotas {
    brokers: Vec<String>,
}

impl Quotas {
    /// `None` where the brokers want more than plaintext.
    pub(crate) fn connect(connection: &Connection) -> Option<Quotas> {
        let protocol = connection.properties.get("security.protocol");
        if protocol.is_some_and(|protocol| !protocol.eq_ignore_ascii_case("plaintext")) {
            return None;
        }
        let brokers = connection.bootstrap.split(',').map(|broker| {
            let broker = broker.trim();
            broker
                .split_once("://")
                .map_or(broker, |(_, address)| address)
                .to_owned()
        });
        Some(Quotas {
            brokers: brokers.filter(|broker| !broker.is_empty()).collect(),
        })
    }

    /// Limits `user`, or lets go of its limits; again is no error.
    pub(crate) async fn set(&self, user: &User, limits: Option<Limits>) -> Result<(), Error> {
        let op = |key: &'static str, value: Option<u64>| {
            OpData::default()
                .with_key(key.into())
                .with_value(value.unwrap_or_default() as f64)
                .with_remove(value.is_none())
        };
        let entry = EntryData::default()
            .with_entity(vec![
                EntityData::default()
                    .with_entity_type(USER.into())
                    .with_entity_name(Some(name(user))),
            ])
            .with_ops(vec![
                op(WRITE, limits.map(|limits| limits.producer_bytes_per_s)),
                op(READ, limits.map(|limits| limits.consumer_bytes_per_s)),
            ]);
        let request = AlterClientQuotasRequest::default().with_entries(vec![entry]);
        let doing = "limit";
        let answer: AlterClientQuotasResponse = self
            .ask(doing, user, ApiKey::AlterClientQuotas, &request)
            .await?;
        answer.entries.iter().try_for_each(|entry| {
            check(doing, user, entry.error_code, entry.error_message.as_ref())
        })
    }

    /// The limits that `user` has.
    pub(crate) async fn get(&self, user: &User) -> Result<Option<Limits>, Error> {
        let component = ComponentData::default()
            .with_entity_type(USER.into())
            // Exactly this name.
            .with_match_type(0)
            .with_match(Some(name(user)));
        let request = DescribeClientQuotasRequest::default().with_components(vec![component]);
        let doing = "read the limits of";
        let answer: DescribeClientQuotasResponse = self
            .ask(doing, user, ApiKey::DescribeClientQuotas, &request)
            .await?;
        check(
            doing,
            user,
            answer.error_code,
            answer.error_message.as_ref(),
        )?;
        // Without client ids beside the user, which we never set.
        let entries = answer.entries.unwrap_or_default();
        let entry = entries.iter().find(|entry| entry.entity.len() == 1);
        let value = |wanted: &str| {
            let mut values = entry?.values.iter();
            values
                .find(|value| &*value.key == wanted)
                .map(|value| value.value as u64)
        };
        Ok(value(WRITE).zip(value(READ)).map(|(write, read)| Limits {
            producer_bytes_per_s: write,
            consumer_bytes_per_s: read,
        }))
    }

    /// Asks the first broker that can be reached.
    async fn ask<Q: Encodable + HeaderVersion, A: Decodable + HeaderVersion>(
        &self,
        doing: &'static str,
        user: &User,
        key: ApiKey,
        request: &Q,
    ) -> Result<A, Error> {
        let failed = |reason: String| Error::NoAnswer {
            doing,
            of: user.name().to_owned(),
            reason,
        };
        let request = encode(key, request).map_err(|error| failed(error.to_string()))?;
        let mut last = "no broker is given".to_owned();
        for broker in &self.brokers {
            let answer = tokio::time::timeout(WITHIN, exchange(broker, &request)).await;
            match answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(answer) => return decode(answer).map_err(|error| failed(error.to_string())),
                Err(error) => last = format!("{broker}: {error}"),
            }
        }
        Err(failed(last))
    }
}

fn name(user: &User) -> StrBytes {
    StrBytes::from_string(user.name().to_owned())
}

fn check(
    doing: &'static str,
    user: &User,
    code: i16,
    message: Option<&StrBytes>,
) -> Result<(), Error> {
    match ResponseError::try_from_code(code) {
        None => Ok(()),
        Some(error) => Err(Error::Refused {
            doing,
            of: user.name().to_owned(),
            code: format!("{error:?}"),
            reason: message.map_or_else(|| error.to_string(), ToString::to_string),
        }),
    }
}

/// A request with its length before it.
fn encode<Q: Encodable + HeaderVersion>(key: ApiKey, request: &Q) -> Result<Bytes, impl ToString> {
    let header = RequestHeader::default()
        .with_request_api_key(key as i16)
        .with_request_api_version(VERSION)
        .with_client_id(Some("pushrail-kafka-access".into()));
    let mut body = BytesMut::zeroed(4);
    header
        .encode(&mut body, Q::header_version(VERSION))
        .and_then(|()| request.encode(&mut body, VERSION))
        .map(|()| {
            let len = (body.len() - 4) as u32;
            body[..4].copy_from_slice(&len.to_be_bytes());
            body.freeze()
        })
}

fn decode<A: Decodable + HeaderVersion>(mut answer: Bytes) -> Result<A, impl ToString> {
    ResponseHeader::decode(&mut answer, A::header_version(VERSION))
        .and_then(|_| A::decode(&mut answer, VERSION))
}

/// Sends a request on a connection of its own, and reads its answer.
async fn exchange(broker: &str, request: &[u8]) -> io::Result<Bytes> {
    let mut stream = TcpStream::connect(broker).await?;
    stream.write_all(request).await?;
    let len = stream.read_u32().await? as usize;
    if len > ANSWER_BYTES_MAX {
        return Err(io::Error::other("not an answer of Kafka"));
    }
    let mut answer = vec![0; len];
    stream.read_exact(&mut answer).await?;
    Ok(answer.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_that_want_more_than_plaintext_are_left_alone() {
        let mut connection = Connection::new("PLAINTEXT://a:1, b:2");
        assert_eq!(
            Quotas::connect(&connection).unwrap().brokers,
            ["a:1", "b:2"]
        );
        for (protocol, ours) in [("plaintext", true), ("SASL_SSL", false), ("ssl", false)] {
            let property = ("security.protocol".to_owned(), protocol.to_owned());
            connection.properties.extend([property]);
            assert_eq!(Quotas::connect(&connection).is_some(), ours, "{protocol}");
        }
    }

    #[tokio::test]
    async fn a_broker_that_is_gone_is_named_and_the_next_one_asked() {
        let quotas = Quotas::connect(&Connection::new("127.0.0.1:1,127.0.0.1:2")).unwrap();
        let user = User::draw("acme").unwrap();
        let error = quotas.get(&user).await.unwrap_err().to_string();
        assert!(
            error.contains("127.0.0.1:2") && error.contains(user.name()),
            "{error}"
        );
    }
}
