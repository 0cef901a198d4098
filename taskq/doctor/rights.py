"""What the user that this command logged in as may do, as far as the brokers tell."""

from __future__ import annotations

from collections.abc import Iterator

from taskq.doctor.facts import Facts
from taskq.doctor.findings import Finding, note, ok, problem

AUTHORIZER = "authorizer.class.name"

_OF_KIND = {
    "topic": (
        ("Describe", "Read", "Write"),
        "a worker cannot take from it, or a program not send to it",
    ),
    "group": (("Describe", "Read"), "a worker cannot join it"),
}
_ADVICE = "'taskq doctor --acls' prints what each command needs."


def rights(facts: Facts) -> Iterator[Finding]:
    """Name what a worker needs and this user may not do."""
    if facts.unseen:
        yield note(
            "unseen",
            f"this user may not look at: {', '.join(facts.unseen)}",
            "What is wrong there is not found.",
            _ADVICE,
        )
    settings = facts.cluster.settings
    if settings is not None and not settings.get(AUTHORIZER):
        yield ok("rights", "the cluster has no access rules: everybody may do everything")
        return
    if not facts.rights:
        yield note(
            "rights",
            "not known: the broker does not tell them",
            "It may be an embedded one ('taskq dev').",
            _ADVICE,
        )
        return
    missing = 0
    for (kind, name), allowed in facts.rights.items():
        needed, meaning = _OF_KIND.get(kind, ((), ""))
        lacking = [operation for operation in needed if operation not in allowed]
        missing += len(lacking)
        if lacking:
            yield problem(
                f"rights on {kind} {name}",
                f"this user may not {', '.join(lacking)}",
                f"As this user {meaning}.",
                _ADVICE,
            )
    if not missing:
        yield ok("rights", "this user may run workers on the queues that were looked at")
