"""Training of teachers and distillation of students: models, losses, data, and ``kd-train``."""
