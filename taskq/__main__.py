"""`python -m taskq` is the command `taskq`."""

from __future__ import annotations

import sys

from taskq.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
