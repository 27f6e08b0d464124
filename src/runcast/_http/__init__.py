"""Runs over HTTP: an ASGI application that mounts anywhere, and a fast server for it."""
