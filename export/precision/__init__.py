"""Lower precision, where measurement allows it."""
