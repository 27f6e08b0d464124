"""Clients: they watch the runs of another process or machine."""
