"""The names of events in taskq's log records (`record.event`), and what each means.

Programs and tests look for the name, never for the text of a line. What else a record carries stands behind its meaning. Records of
all `task.` events carry `task` (its name), `id`, `queue`, `partition`, `offset`. With `--log-format json` all of it is in the line.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

EVENTS: Mapping[str, str] = MappingProxyType(
    {
        "beat.clock_set": "The system's clock was set while beat ran. `seconds`: by how much.",
        "beat.started": "Beat sends from now on. `schedules`: how many it knows.",
        "beat.stood_still": "Beat's process did not run for a while. `seconds`: for how long.",
        "beat.stopped": "Beat has ended.",
        "beat.turn_failed": "One turn of beat's loop raised; the next follows.",
        "claim.answered": "The broker answered a claim that had waited long. `queue`.",
        "claim.refused": "The broker refused a claim; its tasks run elsewhere. `queue`.",
        "claim.unanswered": "A claim waits for the broker; its tasks do not run before. `queue`.",
        "command.failed": "The process ends with an error, if it logs JSON. `exit_code`.",
        "dlq.discarded": "A dead letter was discarded. `id`, `task`, `queue`, `reason`, `source`, `by` (USER@HOST), `note`.",
        "dlq.redriven": "A dead letter went back to its queue. `to` (the queue), and all that `dlq.discarded` has.",
        "hook.failed": "A hook raised; the task or worker goes on.",
        "intake.blocked": "A queue's intake has stopped until its dead letters can be written. `queue`.",
        "intake.left": "A full worker left the group, so that others take its partitions. `queue`.",
        "intake.lost": "A queue's intake lost the broker; it tries again. `queue`.",
        "intake.no_partition": "There are more workers than partitions; this one has none. `queue`.",
        "intake.rebalanced": "Partitions came or went. `queue`.",
        "intake.refused": "The broker refuses what a queue's intake asks; it is tried again. `queue`.",
        "intake.rejoined": "A worker that had left is back in the group. `queue`.",
        "occurrence.left_out": "An occurrence is not sent. `schedule`.",
        "occurrence.lost": "Occurrences of a schedule were not sent when beat stopped. `id`, `last`: task ids, `count`.",
        "occurrence.removed": "A schedule went with an occurrence that was due. `schedule`.",
        "occurrence.sent": "An occurrence was acknowledged by the broker.",
        "occurrence.unsent": "An occurrence was not acknowledged; it is tried again.",
        "outbox.failed": "Dead letters or follow-ups were not written; they are tried again. `held`.",
        "outbox.lost": "A dead letter or follow-up was not written before the worker ended.",
        "outbox.refused": "A follow-up can never be sent; the task that asked for it is put aside.",
        "outbox.unknown": "It is not known whether a follow-up was written.",
        "pool.failed": "A thread of the pool raised; it goes on.",
        "pool.interrupted": "SystemExit or KeyboardInterrupt came out of the event loop; it goes on.",
        "pool.preload_refused": "The app cannot be preloaded; each process imports it.",
        "pool.process_died": "A pool process died.",
        "pool.start_failed": "A pool process did not start.",
        "pool.stuck": "A pool did not end in time.",
        "schedule.added": "A load brought a schedule. `schedule`.",
        "schedule.changed": "A load changed a schedule. `schedule`.",
        "schedule.file_usable": "A schedule file that had mistakes is good again.",
        "schedule.load_failed": "A schedule file has mistakes; what ran before goes on.",
        "schedule.removed": "A load removed a schedule. `schedule`.",
        "schedule.unknown_task": "A schedule names a task that the app does not have.",
        "settings.unknown_variable": "A variable TASKQ_* is no setting; ignored. `variable`.",
        "task.expired": "A task came after its `expires`; it did not run.",
        "task.failed": "A task failed for good, or could not be run. In JSON: `error`, `traceback`, `runtime`.",
        "task.ignored": "A task raised `Ignore`. In JSON: `runtime`.",
        "task.lost": "A task was claimed and will not run, or did not end.",
        "task.refused": "A message cannot be run; it goes to the dead letters. `reason`.",
        "task.succeeded": "A task returned. In JSON: `runtime`, its seconds.",
        "task.unconcluded": "A task's end could not be logged, or its dead letter not be made.",
        "timers.cancelled": "A task that was waiting for its time was cancelled. `id`.",
        "timers.dead_letter": "A task could not be sent when its time had come; it is in `taskq.timers.dlq`. `id`.",
        "timers.failed": "The process failed to keep the time of a log's entries; it begins anew.",
        "timers.newer_format": "A newer taskq wrote a timer; this process leaves it untouched.",
        "timers.refused": "The process may not keep the time of a log's entries, or the topic is unfit. `log`.",
        "timers.unreachable": "The process keeps no time as long as no broker answers. `log`.",
        "worker.broken": "The worker cannot go on.",
        "worker.doubtful": "An option is allowed and probably not meant, such as a queue without tasks.",
        "worker.failed": "The worker's own code failed; the worker stops.",
        "worker.killed": "The grace is over; what runs is given up.",
        "worker.no_topic": "The default queue, which no task uses, has no topic. `queue`.",
        "worker.ready": "The worker takes tasks. What the banner says: `worker`, `queues`, `tasks` …",
        "worker.stopped": "The worker has ended.",
        "worker.stopping": "The worker takes no more tasks.",
    }
)
