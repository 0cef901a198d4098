"""Running one task in a process: the call, its limits, and what follows from its end."""
