"""Records that no worker can run, of every kind, by a seeded generator; each says which reason its dead letter must have.

And strange ones that must run all the same. Nothing here is written with the product's own code: it is what others might send.
"""

from __future__ import annotations

import json
import pickle
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

Headers = list[tuple[str, "bytes | None"]]
Raw = tuple["bytes | None", "Headers | None", str]
"""Value, headers, reason."""

EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
BODY = json.dumps([["x"], {"k": "é"}, EMBED]).encode()
UNREADABLE, UNKNOWN, BAD, UNSUPPORTED = "unreadable", "unknown_task", "bad_arguments", "unsupported"


@dataclass(frozen=True)
class Hostile:
    """One record and what must become of it."""

    kind: str
    value: bytes | None
    headers: Headers | None
    reason: str


def hostile_records(seed: int, count: int, touched: Path) -> list[Hostile]:
    """Return so many records, the kinds in turn.

    Args:
        seed: The same makes the same records.
        count: How many.
        touched: What the pickles in them would make if anybody loaded them.
    """
    random = Random(seed)

    def pickled(random: Random, id: str) -> Raw:
        return _pickled(touched, id)

    kinds = [*_KINDS, pickled]
    found = []
    for number in range(count):
        kind = kinds[number % len(kinds)]
        value, headers, reason = kind(random, f"hostile-{number}")
        found.append(Hostile(kind.__name__.strip("_"), value, headers, reason))
    for number, (value, headers, reason) in enumerate(_large(random)):
        found[number * 7] = Hostile("large", value, headers, reason)
    return found


def own(id: str, task: str = "wire.note") -> Headers:
    """Return the headers of a good record."""
    return [
        ("task", task.encode()),
        ("id", id.encode()),
        ("content-type", b"application/json"),
        ("content-encoding", b"utf-8"),
    ]


def strange_records(count: int) -> Iterator[tuple[str, bytes, Headers]]:
    """Yield id, value and headers of tasks that must run, whatever else their records carry."""
    additions: Sequence[Headers] = (
        [],
        [("kombu-json", b"absent,other")],
        [("kombu-json", b"")],
        [("tenant", None), ("tenant", b"\x1b[2J\x00\n"), ("", b"no name")],
        [("content-type", None)],
        [("dlq-id", b"forged"), ("dlq-reason", b"failed")],
        [("eta", b""), ("expires", b""), ("retries", b"")],
        [("retries", b"3"), ("timelimit", b"[null, null]"), ("group", b"")],
        [("traceparent", b"x" * 10_000)],
    )
    bodies = (BODY, b"[[NaN, Infinity, 1e999], {}, null]", b'[["\\ud800\\u0000"], {}, {}]')
    for number in range(count):
        id = f"good-{number}"
        more = additions[number % len(additions)]
        yield id, bodies[number % len(bodies)], [*own(id), *more]


def _truncated(random: Random, id: str) -> Raw:
    return BODY[: random.randrange(1, len(BODY))], own(id), UNREADABLE


def _wrong_body(random: Random, id: str) -> Raw:
    bodies = (
        b"{}", b"[]", b"null", b"NaN", b"7", b'"x"', b"true", b"[1, 2, 3]", b"[[], {}]", b"[[], {}, {}, {}]",
        b"[[], [], {}]", b"[{}, {}, {}]", b'["ab", {}, {}]', b"[[], {}, 7]", b"[null, {}, {}]", b"[[], null, {}]",
        b"[NaN, {}, {}]", b'{"args": [], "kwargs": {}}', b"[[], {}, []]", b"hello", b"\x00", b"\xef\xbb\xbf[[],{},{}]",
    )  # fmt: skip
    return random.choice(bodies), own(id), UNREADABLE


def _wrong_embed(random: Random, id: str) -> Raw:
    embeds: tuple[Any, ...] = (
        {"callbacks": 7},
        {"callbacks": [7]},
        {"errbacks": [{"task": 7}]},
        {"chain": "wire.note"},
        {"chain": [{"task": "t", "args": 7}]},
        {"callbacks": [{"task": "t", "kwargs": []}]},
        {"callbacks": [{"task": "t", "options": {"task_id": 7}}]},
        {"callbacks": [_nested(60)]},
    )
    return _body([], {}, random.choice(embeds)), own(id), UNREADABLE


def _unsupported_embed(random: Random, id: str) -> Raw:
    later = {"task": "t", "args": [], "kwargs": {}, "options": {"countdown": 5}}
    group = {"task": "celery.group", "subtask_type": "group", "kwargs": {"tasks": [{"task": "t"}]}}
    embeds: tuple[Any, ...] = (
        {"chord": {"task": "t"}},
        {"chord": 1},
        {"callbacks": [later]},
        {"chain": [{"task": "t"}, group]},
        {"callbacks": [{"task": "celery.chord", "subtask_type": "chord"}]},
        {"surprise": 1},
    )
    return _body([], {}, random.choice(embeds)), own(id), UNSUPPORTED


def _wrong_protocol_header(random: Random, id: str) -> Raw:
    wrong: Sequence[Headers] = (
        [("retries", b"many")], [("retries", b"-1")], [("retries", b"true")], [("retries", b"NaN")],
        [("retries", b"1.5")], [("retries", b"[" * 100_000)], [("retries", b"9" * 5000)], [("timelimit", b"{")],
        [("eta", b"tomorrow")], [("eta", b"7"), ("kombu-json", b"eta")], [("expires", b"2026-13-01")],
        [("expires", b"0001-01-01T00:00:00+23:00")], [("stamps", b"\xff")],
    )  # fmt: skip
    return BODY, [*own(id), *random.choice(wrong)], UNREADABLE


def _no_utf8_header(random: Random, id: str) -> Raw:
    headers = own(id)
    name, value = headers[random.randrange(len(headers))]
    bad = bytes([random.randrange(0x80, 0xC0)])
    place = random.randrange(len(headers) + 1)
    headers.insert(place, (random.choice((name, "tenant")), (value or b"") + bad))
    return BODY, headers, UNREADABLE


def _no_utf8_body(random: Random, id: str) -> Raw:
    place = random.randrange(len(BODY))
    return BODY[:place] + b"\xff" + BODY[place:], own(id), UNREADABLE


def _no_value(random: Random, id: str) -> Raw:
    return None, random.choice((own(id), None, [])), UNREADABLE


def _empty(random: Random, id: str) -> Raw:
    return random.choice((b"", b" ", b"\n")), random.choice((own(id), None)), UNREADABLE


def _deep(random: Random, id: str) -> Raw:
    opening, closing = random.choice(((b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]")))
    depth = 100_000
    whole = opening * depth + b"1" + closing * depth
    body = random.choice((opening * depth, whole, b"[[" + whole + b"], {}, {}]"))
    return body, random.choice((own(id), None)), UNREADABLE


def _huge_number(random: Random, id: str) -> Raw:
    return b"[[" + b"9" * random.randrange(5000, 50_000) + b"], {}, {}]", own(id), UNREADABLE


def _marked(random: Random, id: str) -> Raw:
    values = (
        '{"__type__": "uuid", "__value__": 1}',
        '{"__type__": "datetime", "__value__": "never"}',
        '{"__type__": "decimal", "__value__": "one"}',
        '{"__type__": "os.system", "__value__": "true"}',
        '{"__type__": [], "__value__": {}}',
        '{"__type__": "base64", "__value__": 5}',
    )
    return f"[[{random.choice(values)}], {{}}, {{}}]".encode(), own(id), UNREADABLE


def _duplicated(random: Random, id: str) -> Raw:
    return random.choice(
        (
            (BODY, [*own(id), ("task", b"wire.nite")], UNKNOWN),
            (BODY, [*own(id), ("task", b"\xff")], UNREADABLE),
            (BODY, [*own(id), ("id", b"")], UNREADABLE),
            (BODY, [*own(id), ("content-type", b"text/plain")], UNREADABLE),
            (BODY, [("task", b"a"), *own(id), ("task", None)], UNREADABLE),
        )
    )


def _null_header(random: Random, id: str) -> Raw:
    name = random.choice(("task", "id"))
    return BODY, [(n, None if n == name else v) for n, v in own(id)], UNREADABLE


def _missing_header(random: Random, id: str) -> Raw:
    name = random.choice(("task", "id"))
    return BODY, [(n, v) for n, v in own(id) if n != name], UNREADABLE


def _content(random: Random, id: str) -> Raw:
    types = (
        b"application/x-yaml",
        b"application/x-msgpack",
        b"text/plain",
        b"\x1b[31m",
        b"json",
        b"x" * 9000,
    )
    encodings = (b"idna", b"zlib_codec", b"utf-99", b"utf-7", b"rot13", b"\x00", b"punycode")
    content_type, encoding = random.choice(
        ((random.choice(types), b"utf-8"), (b"application/json", random.choice(encodings)))
    )
    headers = [("content-type", content_type), ("content-encoding", encoding)]
    return BODY, [*own(id)[:2], *headers], UNREADABLE


def _compressed(random: Random, id: str) -> Raw:
    packed = zlib.compress(BODY)
    value, packing = random.choice(
        (
            (BODY, b"application/x-gzip"),
            (BODY, b"application/x-bz2"),
            (BODY, b"application/x-lzma"),
            (packed[:-5], b"application/x-gzip"),
            (packed, b"application/x-lzma"),
            (packed, b"snappy"),
            (packed, b"\x1b[31m"),
        )
    )
    return value, [*own(id), ("compression", packing)], UNREADABLE


def _json_names(random: Random, id: str) -> Raw:
    names = random.choice((b"task", b"absent,id,task", b",,task", b"task" * 1 + b"," * 1000))
    return BODY, [*own(id), ("kombu-json", names)], UNREADABLE


def _strange_id(random: Random, id: str) -> Raw:
    ids = (
        "x" * 1001,
        "x" * 100_000,
        "\x1b[2J\x1b[1;1H",
        "a\nINFO forged",
        "a\rb",
        "\x00",
        "\x7f",
        "\x9b31m",
        "\u202egnp",
    )
    return BODY, own(random.choice(ids)), UNREADABLE


def _unknown_task(random: Random, id: str) -> Raw:
    names = (
        "wire.nite",
        "os.system",
        "\x1b[2J",
        "a\nb",
        "x" * 100_000,
        "é",
        "__import__",
        "\x00",
        "../../etc",
    )
    return BODY, own(id, random.choice(names)), UNKNOWN


def _no_eta(random: Random, id: str) -> Raw:
    etas = (
        b"10000-01-01T00:00:00Z",
        b"2099-01-01T25:00:00Z",
        b"2099-02-30",
        b"in a week",
    )
    return BODY, [*own(id), ("eta", random.choice(etas))], UNREADABLE


def _wrong_arguments(random: Random, id: str) -> Raw:
    calls: Sequence[tuple[Any, Any]] = (
        ([1, 2, 3], {}), ([], {}), ([1], {"x": 1}), ([1], {"z": 1}), ([1], {"\x1b[2J": 1}), ([1], {"\ud800": 1}),
        ([1], {"": 1}), ([1], {"self": 1}), ([1], {"x" * 50_000: 1}),
    )  # fmt: skip
    args, kwargs = random.choice(calls)
    return _body(args, kwargs, EMBED), own(id, "wire.add"), BAD


def _plain(random: Random, id: str) -> Raw:
    texts: Sequence[tuple[str, str]] = (
        ('{"task": "wire.note"', UNREADABLE),
        ('{"args": []}', UNREADABLE),
        ('{"task": 7}', UNREADABLE),
        ('{"task": ["wire.note"]}', UNREADABLE),
        ('{"task": "wire.note", "args": {}}', UNREADABLE),
        ('{"task": "wire.note", "kwargs": [1]}', UNREADABLE),
        ('{"task": "wire.note", "id": 7}', UNREADABLE),
        ('{"task": "wire.note", "id": "\\u001b[2J"}', UNREADABLE),
        ('{"task": "\\u001b[2J"}', UNKNOWN),
        ('{"task": "wire.add", "args": [1, 2, 3]}', BAD),
        ('{"task": "wire.note", "eta": "2099-01-01T00:00:00Z"}', UNSUPPORTED),
        ('{"task": "wire.note", "\\ud800": 1}', UNSUPPORTED),
        ('[{"task": "wire.note"}]', UNREADABLE),
        ("task=wire.note", UNREADABLE),
    )
    text, reason = random.choice(texts)
    others: Sequence[Headers | None] = (None, [], [("source", b"\x01")])
    return text.encode(), random.choice(others), reason


def _noise(random: Random, id: str) -> Raw:
    value = b"\xfe" + random.randbytes(random.randrange(2000))
    return value, random.choice((own(id), None)), UNREADABLE


_KINDS: list[Callable[[Random, str], Raw]] = [
    _truncated, _wrong_body, _wrong_embed, _unsupported_embed, _wrong_protocol_header, _no_utf8_header, _no_utf8_body,
    _no_value, _empty, _deep, _huge_number, _marked, _duplicated, _null_header, _missing_header, _content, _compressed,
    _json_names, _strange_id, _unknown_task, _no_eta, _wrong_arguments, _plain, _noise,
]  # fmt: skip


class _Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, touched: Path) -> None:
        self._touched = touched

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self._touched), "w")


def _pickled(touched: Path, id: str) -> Raw:
    headers = [
        *own(id)[:2],
        ("content-type", b"application/x-python-serialize"),
        ("content-encoding", b"binary"),
    ]
    return pickle.dumps([[_Trap(touched)], {}, EMBED]), headers, UNREADABLE


def _large(random: Random) -> Iterator[Raw]:
    """Yield a few as large as a topic takes, and some that would become larger."""
    megabyte = 1_000_000
    yield random.randbytes(megabyte), own("large-noise"), UNREADABLE
    yield b'"' + b"x" * megabyte, None, UNREADABLE
    yield _body(["x" * megabyte] * 1 + [2, 3], {}, EMBED), own("large-call", "wire.add"), BAD
    yield b"[" * megabyte, own("large-deep"), UNREADABLE
    yield BODY, [*own("large-header"), ("tenant", b"\xff" * 900_000)], UNREADABLE
    yield BODY, own("large-name", "n" * 900_000), UNKNOWN
    bomb = zlib.compress(b" " * 70_000_000 + BODY, 1)
    yield bomb, [*own("bomb"), ("compression", b"application/x-gzip")], UNREADABLE


def _body(args: Any, kwargs: Any, embed: Any) -> bytes:
    return json.dumps([args, kwargs, embed]).encode()


def _nested(depth: int) -> dict[str, Any]:
    signature: dict[str, Any] = {"task": "t"}
    for _ in range(depth):
        signature = {"task": "t", "options": {"link": [signature]}}
    return signature
