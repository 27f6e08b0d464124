"""Sources: what turns a framework's own events into the events of a run."""
