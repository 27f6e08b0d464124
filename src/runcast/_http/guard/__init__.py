"""Who may ask: hosts, origins, tokens, sessions."""
