"""Time, memory and energy of contenders on this machine, and whether they got worse."""
