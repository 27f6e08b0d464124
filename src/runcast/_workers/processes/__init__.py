"""Functions in child processes: start them, exchange messages, end them."""
