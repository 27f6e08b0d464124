"""What runcast is measured beside: one file each, the plainest honest application of its kind."""
