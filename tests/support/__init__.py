"""Modules that tests share: tables, helpers to run and compare, models, data, programs, files.

Tests import it as ``from support.runs import StopAt``: the folder ``tests`` is on the path
(``pythonpath`` in pyproject.toml). No test module imports another.
"""
