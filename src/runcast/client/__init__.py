"""Clients: what watches the runs of another process or another machine."""
