"""The base classes of layers, and the arguments, parameters, descriptions, tapes and streams."""
