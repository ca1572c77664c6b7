"""Pointwise layers: they apply the same function to every step, and have no state."""
