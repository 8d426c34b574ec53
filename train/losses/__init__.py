"""Losses: small functions, each with its paper."""
