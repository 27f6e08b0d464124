"""Appending and fanning out, in one process: everything between a producer and its watchers."""
