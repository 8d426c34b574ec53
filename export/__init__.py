"""From a checkpoint to a deployable graph, with proof that it computes the same."""
