"""What tests share: tables, ways to run and compare, models and data, programs, files.

Tests import it as ``from support.runs import StopAt``: the folder ``tests`` is on the path
(``pythonpath`` in pyproject.toml). No test module imports another.
"""
