"""The laws of the fold: what each event type changes in the state of a run."""
