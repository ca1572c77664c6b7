"""The version of the package, which pyproject.toml reads; csrc/core/crnn/base.h repeats it."""

__version__ = "0.1.0"
