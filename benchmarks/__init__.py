"""Measuring a tracker: accuracy against ground truth, latency on this machine, and the report."""
