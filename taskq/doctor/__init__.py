"""What is wrong with a broker, its topics and queues, for taskq's purposes: pure checks of facts that the command gathered."""

from taskq.doctor.facts import Facts, Stamp, TimersSeen, our_queues
from taskq.doctor.findings import Finding, Level
from taskq.doctor.rounds import examine

__all__ = ["Facts", "Finding", "Level", "Stamp", "TimersSeen", "examine", "our_queues"]
