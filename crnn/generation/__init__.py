"""Sequences that a model writes, step by step."""
