"""The fault lab: workers under load that are killed, frozen, joined and stopped, and a count of what ran once, never or twice.

`rounds.py` is where to begin reading; `faults.py` says what may go wrong and what each fault may cost.
"""
