"""The files of runs: what they are given, what they leave, and where both are kept."""
