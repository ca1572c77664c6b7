"""What every layer has: the protocol, arguments, parameters, descriptions, tapes, streams."""
