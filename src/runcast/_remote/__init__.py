"""Runs that are written over HTTP into a server elsewhere: the writer's side."""
