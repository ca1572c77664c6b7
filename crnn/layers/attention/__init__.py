"""Attention: weighted means over the steps of another sequence."""
