"""Measurements: how fast taskq is, beside the bare client and its peers in the same run. Not part of the distribution.

`python -m benchmarks --help`; the method stands in README.md beside this file.
"""
