"""Files: atomic replacement, archives of arrays without pickle, models."""
