"""Runs over HTTP: an ASGI application that mounts anywhere, and a server that makes the most of
it."""
