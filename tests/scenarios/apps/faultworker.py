"""What the fault lab's workers import: its tasks in an app, and quiet about each of them."""

from __future__ import annotations

import logging

from taskq import App
from tests.scenarios.apps.faults import register

# A line for each of a hundred thousand tasks would hide what the workers say about faults.
logging.getLogger("taskq.worker.tasks").setLevel(logging.WARNING)

app = App("faults")
register(app)
