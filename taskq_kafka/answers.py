"""What somebody answered who is there, but is no broker that can be used: told by librdkafka's text, which is all that tells it.

Pure. Nothing here decides what is tried again; it is for the one line that a user reads.
"""

from __future__ import annotations

import re
import struct

_SIZE = re.compile(r"Invalid response size (-?\d+)")
"""librdkafka takes the first four bytes of any answer for a length."""

_TLS_RECORDS = (0x14, 0x15, 0x16)
"""First bytes of an answer in TLS (RFC 8446, section 5.1): change of cipher, alert, handshake."""

_PLAIN_PORT = "it does not speak TLS: use taskq:// in place of taskqs://, or name its port for TLS"
_TLS_PORT = "it speaks TLS: use taskqs:// in place of taskq://, or name its port without TLS"
_ANOTHER = "name the port of a Kafka broker with -b"

_ADVICE = (
    (
        "certificate verify failed",
        "its certificate is not trusted here: set ssl.ca.location to the file of its authority (TASKQ_KAFKA_SSL_CA_LOCATION)",
    ),
    ("PLAINTEXT broker listener", _PLAIN_PORT),
    ("wrong version number", _PLAIN_PORT),
    ("SSL listener", _TLS_PORT),
    (
        "SASL Handshake not supported",
        "it takes no login: leave user and password out, or name its port with a login",
    ),
    (
        "Unsupported SASL mechanism",
        "set sasl.mechanism to one that it has (TASKQ_KAFKA_SASL_MECHANISM)",
    ),
    ("uthentication fail", "check user and password, and sasl.mechanism"),
    (
        "SSL handshake failed",
        "check taskq:// or taskqs://, and the options ssl.* (TASKQ_KAFKA_SSL_…)",
    ),
)
"""A part of librdkafka's text, and what to do then; the first that fits."""


def read_answer(why: str) -> tuple[str, str]:
    """Return the reason in words that help, and what to do about it: empty where nobody is known to have answered."""
    size = _SIZE.search(why)
    if size is not None:
        return _not_kafka(int(size[1]))
    return why, next((advice for part, advice in _ADVICE if part in why), "")


def _not_kafka(size: int) -> tuple[str, str]:
    """Return what the first bytes of an answer tell that were taken for a length."""
    first = struct.pack(">i", size)
    if first[0] in _TLS_RECORDS:
        return "it answers in TLS", _TLS_PORT
    what = " but HTTP" if first == b"HTTP" else ""
    return f"what answers there is not Kafka{what}", _ANOTHER
