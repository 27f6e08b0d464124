"""The server that `runcast serve` starts."""
