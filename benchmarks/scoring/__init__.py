"""Contenders over sequences: their result files, their figures, and submissions."""
