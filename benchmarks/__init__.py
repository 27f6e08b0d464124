"""Load generator, peers and driver: how fast runcast is, beside what else one could use."""
