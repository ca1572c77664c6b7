"""What all of crnn uses and no layer is needed for: checks, nested states, configuration."""
