"""Layers that look at other steps."""
