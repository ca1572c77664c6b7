"""Helpers without layers that all of crnn uses: checks, nested states, configuration."""
