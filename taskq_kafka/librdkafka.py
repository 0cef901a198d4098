"""Names of librdkafka's own options: which client takes which.

librdkafka warns of a producer's option given to a consumer, and the reverse; a user sets them all in one dict, so they are sorted
here. From its CONFIGURATION.md. An option that is in none of these sets goes to every client; librdkafka itself refuses names
that it does not know.
"""

from __future__ import annotations

from typing import Final

PRODUCER_ONLY: Final = frozenset(
    {
        "batch.num.messages",
        "batch.size",
        "compression.codec",
        "compression.level",
        "compression.type",
        "delivery.report.only.error",
        "enable.gapless.guarantee",
        "linger.ms",
        "message.send.max.retries",
        "queue.buffering.backpressure.threshold",
        "queue.buffering.max.kbytes",
        "queue.buffering.max.messages",
        "queue.buffering.max.ms",
        "queuing.strategy",
        "request.timeout.ms",
        "retries",
        "sticky.partitioning.linger.ms",
        "transaction.timeout.ms",
    }
)

CONSUMER_ONLY: Final = frozenset(
    {
        "auto.commit.interval.ms",
        "check.crcs",
        "client.rack",
        "consume.callback.max.messages",
        "coordinator.query.interval.ms",
        "fetch.error.backoff.ms",
        "fetch.max.bytes",
        "fetch.message.max.bytes",
        "fetch.min.bytes",
        "fetch.queue.backoff.ms",
        "fetch.wait.max.ms",
        "group.protocol.type",
        "group.remote.assignor",
        "max.partition.fetch.bytes",
        "max.poll.interval.ms",
        "queued.min.messages",
    }
)

GROUP_ONLY: Final = frozenset({"group.remote.assignor", "max.poll.interval.ms"})
"""Of a consumer's options those that mean nothing to a reader without a group."""

_COMMON: Final = frozenset(
    {
        "api.version.request",
        "broker.address.family",
        "broker.address.ttl",
        "client.dns.lookup",
        "connections.max.idle.ms",
        "debug",
        "enable.ssl.certificate.verification",
        "https.ca.location",
        "log_level",
        "message.max.bytes",
        "metadata.max.age.ms",
        "receive.message.max.bytes",
        "reconnect.backoff.max.ms",
        "reconnect.backoff.ms",
        "retry.backoff.max.ms",
        "retry.backoff.ms",
        "sasl.kerberos.keytab",
        "sasl.kerberos.principal",
        "sasl.kerberos.service.name",
        "sasl.mechanism",
        "sasl.mechanisms",
        "sasl.oauthbearer.client.id",
        "sasl.oauthbearer.client.secret",
        "sasl.oauthbearer.config",
        "sasl.oauthbearer.extensions",
        "sasl.oauthbearer.method",
        "sasl.oauthbearer.scope",
        "sasl.oauthbearer.token.endpoint.url",
        "sasl.password",
        "sasl.username",
        "security.protocol",
        "socket.connection.setup.timeout.ms",
        "socket.keepalive.enable",
        "socket.nagle.disable",
        "socket.timeout.ms",
        "ssl.ca.location",
        "ssl.ca.pem",
        "ssl.certificate.location",
        "ssl.certificate.pem",
        "ssl.cipher.suites",
        "ssl.crl.location",
        "ssl.endpoint.identification.algorithm",
        "ssl.key.location",
        "ssl.key.password",
        "ssl.key.pem",
        "ssl.keystore.location",
        "ssl.keystore.password",
        "statistics.interval.ms",
        "test.mock.num.brokers",
        "topic.metadata.refresh.interval.ms",
    }
)

KNOWN: Final = PRODUCER_ONLY | CONSUMER_ONLY | _COMMON
"""Names to look for the nearest one among, when librdkafka refuses one."""
