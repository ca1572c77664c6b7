"""Files: replaced in one step, trees of arrays without pickle, models."""
