"""Appending and fanning out, in one process: all that is between a producer and its watchers."""
