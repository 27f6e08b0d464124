"""Functions in processes of their own: starting them, talking with them, ending them."""
