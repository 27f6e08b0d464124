"""Streams over HTTP: what they send, how they are kept alive, how they end."""
