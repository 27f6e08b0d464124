"""Running functions: runs, their room and their recovery."""
