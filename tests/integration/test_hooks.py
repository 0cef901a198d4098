"""Hooks with a sender and a worker in processes of their own: headers cross Kafka, and a hook that exits ends nothing."""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from taskq.message import new_task_id
from tests.support import hook_tasks
from tests.support.kafka import Kafka
from tests.support.scene import Scene


def test_a_trace_goes_through_workers_whose_hooks_exit(scene: Scene, kafka: Kafka) -> None:
    inner_id = new_task_id()
    worker = scene.ready_worker(app="tests.support.hook_tasks")
    provider = TracerProvider(shutdown_on_exit=False)

    hook_tasks.app.configure(broker=kafka.bootstrap)
    try:
        with provider.get_tracer("test").start_as_current_span("request") as span:
            sent = hook_tasks.outer.options(queue=scene.queue).delay(inner_id)
    finally:
        hook_tasks.app.close()
    outer, inner = (scene.wait_ended(id)[0].detail.split() for id in (sent.id, inner_id))
    code = worker.stop()

    trace_id = trace.format_trace_id(span.get_span_context().trace_id)
    assert (outer[1], inner[1]) == (trace_id, trace_id)
    assert (outer[2], inner[2]) == ("nobody", "outer")
    assert outer[0] == inner[0], "the pool process did not live on"
    assert code == 0
