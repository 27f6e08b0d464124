"""Events and their meaning. Pure code: no I/O, clocks or threads."""
