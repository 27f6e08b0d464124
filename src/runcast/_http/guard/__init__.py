"""Guards of requests: hosts, origins, tokens, sessions, access."""
