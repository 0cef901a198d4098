"""The settings: one table, from which flags, environment, files, `taskq config` and the docs come.

Pure: what the sources hold is read in sources.py. A value is taken from the strongest source that has it: flag, environment
(`TASKQ_NAME`), file, `App(...)` or `configure(...)`, default; each remembers which.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from types import MappingProxyType
from typing import Any

from taskq.address import parse_address
from taskq.errors import InvalidSetting, UnknownSetting, UsageError
from taskq.near import nearest
from taskq.queues import check_group, check_prefix, check_queue
from taskq.running.keyhold import KEY_HOLD

_SECRET_KEY = re.compile(r"password|secret|token|jaas|oauthbearer\.config|\.key(\.pem)?$|\.pem$")
_MASK = "***"


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table."""

    name: str
    type: str
    """For people: `text`, `number`, `seconds`, `yes or no`, `list`, `table`, or the choices."""

    default: Any
    doc: str
    secret: bool
    parse: Callable[[object], Any]
    """Turn what a source holds into the value; raises ValueError with one line."""


@dataclass(frozen=True, slots=True)
class Layer:
    """What one source holds."""

    source: str
    """Begins with `flag`, `environment`, `file` or `code`."""

    values: Mapping[str, object]


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be text")
    return value


def _some_text(value: object) -> str:
    text = _text(value).strip()
    if not text:
        raise ValueError("must not be empty")
    return text


def _number(*, least: int, most: int | None = None) -> Callable[[object], int]:
    bounds = f"{least} or more" if most is None else f"{least} to {most}"
    words = f"must be a whole number, {bounds}"

    def parse(value: object) -> int:
        if isinstance(value, str):
            try:
                value = int(value)
            except ValueError:
                raise ValueError(words) from None
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(words)
        if most is not None and value > most:
            raise ValueError(words)
        return value

    return parse


def _seconds(*, zero: bool) -> Callable[[object], float]:
    words = (
        "must be a number of seconds, 0 or more" if zero else "must be a number of seconds above 0"
    )

    def parse(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise ValueError(words)
        try:
            seconds = float(value)
        except (ValueError, OverflowError):
            raise ValueError(words) from None
        if not math.isfinite(seconds) or seconds < 0 or (seconds == 0 and not zero):
            raise ValueError(words)
        return seconds

    return parse


_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmg])(i?)b?\s*", re.IGNORECASE)
_MOST_BYTES = 2**50  # a pebibyte: more than any machine has


def _size(value: object) -> int:
    """Take a number of bytes with its unit. One without is refused: Celery would count it in KiB."""
    words = "must be a size with its unit, such as 300MB, 512MiB or 1.5GB"
    found = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(words)
    unit = (1024 if found[3] else 1000) ** ("kmg".index(found[2].lower()) + 1)
    size = float(found[1]) * unit
    if not 1 <= size <= _MOST_BYTES:
        raise ValueError(words)
    return int(size)


def _switch(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "yes", "on", "1"):
        return True
    if isinstance(value, str) and value.lower() in ("false", "no", "off", "0"):
        return False
    raise ValueError("must be true or false")


def _list(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, Sequence) or not all(isinstance(item, str) for item in value):
        raise ValueError("must be a list of texts, or one text with commas")
    return tuple(item.strip() for item in value if item.strip())


def _choice(*choices: str) -> Callable[[object], str]:
    def parse(value: object) -> str:
        text = _text(value).strip().lower()
        if text not in choices:
            near = nearest(text, choices)
            hint = f"; did you mean {near!r}?" if near else ""
            raise ValueError(f"must be one of {', '.join(choices)}{hint}")
        return text

    return parse


def _broker(value: object) -> str:
    text = _some_text(value)
    parse_address(text)
    return text


def _checked(check: Callable[[str], str]) -> Callable[[object], str]:
    def parse(value: object) -> str:
        try:
            return check(_text(value))
        except UsageError as error:
            raise ValueError(getattr(error, "why", str(error))) from None

    return parse


def _kafka(value: object) -> Mapping[str, str]:
    """Take librdkafka's own options; TOML nests what has dots in its name."""
    if not isinstance(value, Mapping):
        raise ValueError("must be a table of librdkafka's options")
    flat: dict[str, str] = {}
    for name, item in value.items():
        if not isinstance(name, str):
            raise ValueError("must have texts as names")
        if isinstance(item, Mapping):
            flat.update({f"{name}.{rest}": text for rest, text in _kafka(item).items()})
        elif isinstance(item, bool):
            flat[name] = "true" if item else "false"
        elif isinstance(item, (str, int, float)):
            flat[name] = str(item)
        else:
            raise ValueError(f"{name} must be text, a number, or true or false")
    return flat


def _optional(parse: Callable[[object], Any]) -> Callable[[object], Any]:
    def parse_optional(value: object) -> Any:
        return None if value is None or value == "" else parse(value)

    return parse_optional


def _row(
    type: str, parse: Callable[[object], Any], default: Any, doc: str, *, secret: bool = False
) -> Any:
    metadata = {"type": type, "parse": parse, "doc": doc, "secret": secret}
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=metadata)
    return field(default=default, metadata=metadata)


_CLAIM_AHEAD = 64  # tasks that a killed worker loses with each slot: more of them buy no speed
_LOG_LEVELS = ("debug", "info", "warning", "error", "critical")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings of one app, checked. Built once at the entry point and passed down; any thread may read it."""

    broker: str = _row(
        "text",
        _broker,
        "localhost:9092",
        "HOST:PORT[,...], or taskq://, taskqs:// (TLS), memory://.",
        secret=True,
    )
    prefix: str = _row(
        "text", _checked(check_prefix), "", "Stands before the name of every topic and group."
    )
    app: tuple[str, ...] = _row("list", _list, (), "MODULE[:APP] to import, as -A.")
    schedule: tuple[str, ...] = _row(
        "list", _list, (), "Schedule files of beat; relative to the file that names them."
    )
    namespace: str | None = _row(
        "text",
        _optional(_some_text),
        None,
        "Where ids of schedules are unique; default: the schedule file's name without its ending.",
    )
    default_queue: str = _row(
        "text", _checked(check_queue), "taskq", "Queue of tasks that name none."
    )
    serializer: str = _row(
        "text", _some_text, "json", "How arguments are written; a name of kombu's."
    )
    accept_content: tuple[str, ...] = _row(
        "list",
        _list,
        ("json",),
        "Serializers whose messages are read; pickle runs code of the sender.",
    )
    concurrency: int | None = _row(
        "number",
        _optional(_number(least=1)),
        None,
        "Tasks at a time; default: the CPUs the process may use (asyncio: 100).",
    )
    pool: str = _row(
        "prefork, threads, asyncio or solo",
        _choice("prefork", "threads", "asyncio", "solo"),
        "prefork",
        "What runs the tasks of a worker.",
    )
    name: str | None = _row(
        "text",
        _optional(_some_text),
        None,
        "The process's name at the broker and in dead letters; default: the host's name.",
    )
    grace: float = _row(
        "seconds", _seconds(zero=True), 25.0, "Time for what runs to finish when a worker stops."
    )
    claim_ahead: int = _row(
        "number",
        _number(least=0, most=_CLAIM_AHEAD),
        _CLAIM_AHEAD,
        "Most tasks a slot may hold before it is free; 0: none, 64 at most.",
    )
    key_hold: float = _row(
        "seconds",
        _seconds(zero=True),
        KEY_HOLD,
        "Longest time that retries of a task with a key hold up the others of its key.",
    )
    max_tasks_per_child: int | None = _row(
        "number",
        _optional(_number(least=1)),
        None,
        "Tasks after which a pool process is replaced; default: never.",
    )
    max_memory_per_child: int | None = _row(
        "size",
        _optional(_size),
        None,
        "Memory above which a pool process is replaced after its task, as 300MB; default: never.",
    )
    group: str = _row("text", _checked(check_group), "taskq", "Consumer group of the workers.")
    group_protocol: str = _row(
        "auto, consumer or classic",
        _choice("auto", "consumer", "classic"),
        "auto",
        "Kafka's group protocol; consumer is KIP-848.",
    )
    session_timeout: float = _row(
        "seconds", _seconds(zero=False), 6.0, "Silence after which a worker counts as dead."
    )
    connect_timeout: float = _row(
        "seconds",
        _seconds(zero=False),
        10.0,
        "How long a start waits for the broker; unless it is set, commands wait 2 s where nobody listens.",
    )
    publish_timeout: float = _row(
        "seconds", _seconds(zero=False), 10.0, "How long sending waits for the acknowledgement."
    )
    auto_create: bool = _row("yes or no", _switch, True, "Whether missing topics are made.")
    partitions: int = _row("number", _number(least=1), 12, "Partitions of a queue that is made.")
    replication: int | None = _row(
        "number",
        _optional(_number(least=1)),
        None,
        "Replicas of a topic that is made; default: the cluster's.",
    )
    keep_finished: float = _row(
        "seconds",
        _seconds(zero=True),
        86400.0,
        "How long after its sending a finished task stays in its topic; 0: for ever.",
    )
    dlq_retention: float = _row(
        "seconds", _seconds(zero=False), 90 * 86400.0, "How long dead letters are kept."
    )
    log_level: str = _row(
        ", ".join(_LOG_LEVELS), _choice(*_LOG_LEVELS), "info", "Least level that is logged."
    )
    log_format: str = _row(
        "text or json",
        _choice("text", "json"),
        "text",
        "How worker and beat log; json is one object a line.",
    )
    kafka: Mapping[str, str] = _row(
        "table",
        _kafka,
        {},
        "librdkafka's own options; in the environment TASKQ_KAFKA_SASL_USERNAME is sasl.username.",
        secret=True,
    )

    sources: Mapping[str, str] = field(default_factory=dict, compare=False, metadata={"row": False})
    """Where each value came from; of `kafka`, under `kafka.OPTION`. What is missing is the default."""

    directory: str = field(default="", compare=False, metadata={"row": False})
    """Directory of the configuration file; empty if there is none."""

    def source(self, name: str) -> str:
        """Return where a value came from."""
        return self.sources.get(name, "default")

    def shown(self) -> dict[str, Any]:
        """Return all values by name with secrets masked."""
        values = {name: getattr(self, name) for name in SETTINGS}
        values["broker"] = _shown_broker(self.broker)
        values["kafka"] = {
            name: _MASK if _SECRET_KEY.search(name) else text for name, text in self.kafka.items()
        }
        return values

    def __repr__(self) -> str:
        changed = {name: value for name, value in self.shown().items() if name in self.sources}
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in changed.items())})"


def _table() -> Iterable[Setting]:
    for row in fields(Settings):
        if row.metadata.get("row", True):
            default = {} if row.default is MISSING else row.default
            metadata = row.metadata
            yield Setting(
                row.name,
                metadata["type"],
                default,
                metadata["doc"],
                metadata["secret"],
                metadata["parse"],
            )


SETTINGS: Mapping[str, Setting] = MappingProxyType({row.name: row for row in _table()})
"""The table, by name, in the order of the docs."""


def resolve(layers: Sequence[Layer], *, directory: str = "") -> Settings:
    """Merge sources into settings.

    Args:
        layers: Strongest first. A value None in `flag` layers means that the flag was not given.
        directory: Where the configuration file stands.

    Raises:
        UnknownSetting: A layer has a name that is not in the table.
        InvalidSetting: A value cannot be taken.
    """
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    kafka: dict[str, str] = {}
    for layer in layers:
        for name, raw in layer.values.items():
            setting = _setting(name, layer.source)
            parsed = _parsed(setting, raw, layer.source)
            if name == "kafka":
                for option, text in parsed.items():
                    if option not in kafka:
                        kafka[option] = text
                        sources[f"kafka.{option}"] = layer.source
            elif name not in values:
                values[name] = parsed
                sources[name] = layer.source
    if kafka:
        values["kafka"] = kafka
        sources["kafka"] = ", ".join(sorted({sources[f"kafka.{option}"] for option in kafka}))
    return Settings(**values, sources=sources, directory=directory)


def _setting(name: str, source: str) -> Setting:
    try:
        return SETTINGS[name]
    except KeyError:
        raise UnknownSetting(name, nearest(name, SETTINGS), source=source) from None


def _parsed(setting: Setting, raw: object, source: str) -> Any:
    try:
        return setting.parse(raw)
    except ValueError as error:
        raise InvalidSetting(
            setting.name,
            raw,
            str(error),
            source=place_of(setting.name, source),
            secret=setting.secret,
        ) from None


def place_of(name: str, source: str) -> str:
    """Return a source with the name that the setting has there: `flag --claim-ahead`, `environment TASKQ_CLAIM_AHEAD`."""
    if source == "flag":
        return f"flag --{name.replace('_', '-')}"
    if source == "environment":
        return f"environment TASKQ_{re.sub('[.-]', '_', name).upper()}"
    return source


def _shown_broker(broker: str) -> str:
    """Return the broker as it was written, with its password masked."""
    scheme, separator, rest = broker.rpartition("://")
    credentials, at, hosts = rest.rpartition("@")
    username = credentials.partition(":")[0]
    return f"{scheme}{separator}{username}:{_MASK}@{hosts}" if at else broker
