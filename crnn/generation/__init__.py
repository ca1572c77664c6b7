"""Sequences that a model writes, step by step."""

from crnn.generation.feedback import generate

__all__ = ["generate"]
