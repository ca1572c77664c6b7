"""Generation of sequences, step by step."""

from crnn.generation.feedback import generate

__all__ = ["generate"]
