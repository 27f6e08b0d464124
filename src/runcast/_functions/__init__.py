"""What a function is: the decorator, its inputs, its manifest, its secrets and files."""
