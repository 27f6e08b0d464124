"""Events as bytes: Server-Sent Events and dialects, without any I/O."""
