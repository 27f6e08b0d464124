"""Running functions: what they are, where they run, what they may do, and how they end."""
