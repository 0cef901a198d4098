"""A module that starts a thread when it is imported: a process that has it must not be copied."""

from __future__ import annotations

import threading

from tests.support.pool_tasks import app as app

threading.Thread(target=threading.Event().wait, name="leaky", daemon=True).start()
