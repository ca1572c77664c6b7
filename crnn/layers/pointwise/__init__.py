"""Layers that treat every step alike and have no state."""
