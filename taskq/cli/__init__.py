"""The command line: one file a group of commands. The only package that imports click."""

from __future__ import annotations

from taskq import earlystop

earlystop.begin()  # before the imports of main.py, which ends it
