"""What ``kd-run`` does when things go wrong."""

from __future__ import annotations

from benchmarks.faults.measure import FAULTS, faults_markdown, measure_faults, print_faults

__all__ = ["FAULTS", "faults_markdown", "measure_faults", "print_faults"]
