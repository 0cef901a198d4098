"""What is wrong with a broker, its topics and queues, for taskq's purposes: pure checks of facts that the command gathered."""

from taskq.doctor.facts import Facts, SchedulesSeen, Stamp, TimersSeen, our_queues
from taskq.doctor.findings import Finding, Level
from taskq.doctor.rounds import examine
from taskq.doctor.schedules import schedules_seen

__all__ = [
    "Facts",
    "Finding",
    "Level",
    "SchedulesSeen",
    "Stamp",
    "TimersSeen",
    "examine",
    "our_queues",
    "schedules_seen",
]
