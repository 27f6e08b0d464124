"""Views: which events a watcher sees, and which are joined."""
