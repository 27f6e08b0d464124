"""Where functions run: on the loop, in threads, or in child processes."""
