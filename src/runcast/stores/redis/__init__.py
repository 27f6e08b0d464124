"""Logs in a server that speaks Redis' protocol: Redis 6.2 or Valkey 7.2, and newer ones."""
