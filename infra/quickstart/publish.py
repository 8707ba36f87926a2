"""Publishes an event straight to Kafka, as a vendor's backend would: a stock Avro producer, a stock registry client.

The schema is the registered one; nothing of Pushrail's is imported. Run it with dev.env sourced.
"""

import json
import os
import sys

from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

customer = sys.argv[1] if len(sys.argv) > 1 else "c1"
topic = f"events.direct.{os.environ.get('PUSHRAIL_TENANT', 'dev')}"

registry = SchemaRegistryClient({"url": os.environ["PUSHRAIL_REGISTRY"]})
schema = registry.get_latest_version(f"{topic}-value").schema
serialize = AvroSerializer(registry, schema, conf={"auto.register.schemas": False, "use.latest.version": True})

event = {
    "event_type": "order.shipped",
    "customer_external_id": customer,
    "payload": json.dumps({"parcels": 2}).encode(),
    "occurred_at": None,
    "idempotency_key": None,
    "source": "warehouse",
    "metadata": b"{}",
}

producer = Producer({"bootstrap.servers": os.environ["PUSHRAIL_KAFKA"], "acks": "all"})


def acknowledged(error, record):
    if error is not None:
        sys.exit(f"not published: {error}")
    print(f"published to {record.topic()}, partition {record.partition()}, offset {record.offset()}")


value = serialize(event, SerializationContext(topic, MessageField.VALUE))
producer.produce(topic, key=customer, value=value, on_delivery=acknowledged)
sys.exit(1 if producer.flush(30) else 0)
