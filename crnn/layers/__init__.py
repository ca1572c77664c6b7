"""The layers: recurrent ones, those that work step by step, and compositions of layers."""
