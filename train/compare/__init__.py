"""``kd-train compare``: the same student under several settings and seeds, in one table."""
