"""Measurements: how fast tasks run, beside what the bare client can do. Not part of the distribution."""
