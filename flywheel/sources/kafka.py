"""Events from a Kafka topic: a message is a JSON object.

The cursor is the offsets, committed with the events in one transaction. No consumer group is
joined, and no offset is committed to the broker.

Options: `servers`, `topic`; `settings`, a table of librdkafka's own; `password_env`, the
environment variable that holds `sasl.password`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from flywheel.errors import SourceUnavailable
from flywheel.protocols import Batch, Source
from flywheel.sources.rows import checked, event_of_line, from_environment, library

_FIRST_S = 3.0  # timeout of the first poll, which connects
_REST_S = 0.05  # that a batch is filled for, once its first message is there
_LOOK_S = 10.0  # timeout of the request for the topic's partitions


def source() -> Source:
    """The built-in source `kafka`."""
    return Kafka()


class Kafka:
    """Every partition of one topic."""

    def __init__(self) -> None:
        self._consumer: Any = None
        self._patience_s = _FIRST_S  # for the first poll, which connects
        self._next: dict[str, int] = {}  # offset to read next, by partition

    def open(self, options: Mapping[str, Any], cursor: str | None) -> None:
        """Go to the offsets of the last commit, or to the beginning."""
        checked("kafka", options, ["servers", "topic"], ["settings", "password_env"])
        kafka = library("confluent_kafka", "kafka")
        settings = {
            **dict(options.get("settings", {})),
            "bootstrap.servers": str(options["servers"]),
            "group.id": "flywheel",  # must be named, and is not used
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "fetch.wait.max.ms": 100,
            "auto.offset.reset": "earliest",
            "log_level": 0,
        }
        if options.get("password_env"):
            name = str(options["password_env"])
            settings["sasl.password"] = from_environment("kafka", "password_env", name)
        self._consumer = kafka.Consumer(settings)
        self._next = json.loads(cursor) if cursor else {}
        self._assign(kafka, str(options["topic"]))

    def poll(self, limit: int, timeout: float) -> Batch | None:
        """Return the messages that are there within the timeout."""
        kafka = library("confluent_kafka", "kafka")
        try:
            messages = self._consumer.consume(1, max(timeout, self._patience_s))
            if messages and limit > 1:  # a full batch is not waited for
                messages += self._consumer.consume(limit - 1, _REST_S)
        except kafka.KafkaException as error:
            raise SourceUnavailable(f"Kafka does not answer: {error}") from error
        self._patience_s = 0.0
        for message in messages:
            if message.error():
                raise SourceUnavailable(f"Kafka does not answer: {message.error()}")
            self._next[str(message.partition())] = message.offset() + 1
        events = [event_of_line(message.value()) for message in messages]
        return Batch(events=events, cursor=json.dumps(self._next)) if events else None

    def ack(self, cursor: str) -> None:
        """Nothing to do: the daemon keeps the offsets."""

    def close(self) -> None:
        """Disconnect."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def _assign(self, kafka: Any, topic: str) -> None:
        try:
            metadata = self._consumer.list_topics(topic, timeout=_LOOK_S).topics[topic]
        except kafka.KafkaException as error:
            raise SourceUnavailable(f"Kafka does not answer: {error}") from error
        if metadata.error or not metadata.partitions:
            raise SourceUnavailable(f"the topic {topic} cannot be read: {metadata.error}")
        self._consumer.assign(
            [
                kafka.TopicPartition(
                    topic, number, self._next.get(str(number), kafka.OFFSET_BEGINNING)
                )
                for number in metadata.partitions
            ]
        )
