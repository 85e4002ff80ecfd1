"""Comparisons with peers, run as ``python -m benchmarks NAME``; see README.md beside this file."""
