"""What an event is, what a log of them means: pure, without I/O, clocks or threads."""
