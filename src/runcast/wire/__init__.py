"""How events look as bytes: SSE frames and NDJSON lines, encoded and decoded without any I/O."""
