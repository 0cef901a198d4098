"""`taskq dev`: broker, worker and beat in one terminal. The loop is in runner.py, one of its processes in child.py."""
