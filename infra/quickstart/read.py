"""Reads a topic from its beginning to its end with a stock Kafka client, through the registry, and prints a line a record.

    python read.py audit.attempts      every attempt, and every reason why none was made
    python read.py dlq.webhook         what was given up, its original event and why
"""

import os
import sys

from confluent_kafka import Consumer, KafkaError, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

topic = sys.argv[1] if len(sys.argv) > 1 else "audit.attempts"
deserialize = AvroDeserializer(SchemaRegistryClient({"url": os.environ["PUSHRAIL_REGISTRY"]}))
consumer = Consumer(
    {
        "bootstrap.servers": os.environ["PUSHRAIL_KAFKA"],
        "group.id": "quickstart",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
    }
)
partitions = consumer.list_topics(topic).topics[topic].partitions
consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])

records, left = [], set(partitions)
while left:
    record = consumer.poll(10)
    if record is None:
        sys.exit("Kafka does not answer")
    if record.error() is None:
        records.append(record)
    elif record.error().code() == KafkaError._PARTITION_EOF:
        left.discard(record.partition())
    else:
        sys.exit(f"{record.error()}")
consumer.close()


def show(value):
    return value.decode() if isinstance(value, bytes) else value


for record in sorted(records, key=lambda record: record.timestamp()):
    value = deserialize(record.value(), SerializationContext(topic, MessageField.VALUE))
    if topic == "audit.attempts":
        wanted = ("event_type", "attempt", "outcome", "class", "status_code", "latency_us", "error", "delivery_id")
        print({name: show(value[name]) for name in wanted if value.get(name) is not None})
    else:
        headers = {name: show(content) for name, content in record.headers() or []}
        wanted = ("delivery_id", "attempt", "failure_reason", "failure_code", "failure_detail")
        print({name: headers[name] for name in wanted if name in headers}, "payload:", show(value["payload"]))
