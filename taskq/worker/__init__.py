"""The worker: takes records from queues and runs their tasks. `supervisor.py` is where to begin reading."""
