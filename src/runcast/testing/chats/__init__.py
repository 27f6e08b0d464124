"""Chat platforms for tests: real servers on loopback that keep the published rules."""
