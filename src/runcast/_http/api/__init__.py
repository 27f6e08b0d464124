"""The HTTP API: requests, responses, routes and their description."""
