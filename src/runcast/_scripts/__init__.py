"""Any script as a run: the process that owns the run, and what it puts into the script's process.

The script is a child process. Its standard output and error are pipes, so that nothing is missed
that it, its C code or its own children print. `logging`, bars, `input()` and calls of `runcast` go
through a socket. Marks in the pipes say what was written first; see marks.py.
"""
