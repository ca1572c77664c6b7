"""Layers whose steps read some steps before them: convolutions and attention."""
