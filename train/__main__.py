"""``python -m train``: ``kd-train`` for launchers of several processes, such as ``torchrun``."""

from train.cli import main

main()
