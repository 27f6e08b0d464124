"""Stands before httptools on the path of processes that are to do without it."""

raise ImportError("the tests want h11")
