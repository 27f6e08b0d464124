"""Views: which events a watcher sees, and which are joined."""

from runcast.events.view import Streaming, View, ViewSpec, ViewState
from runcast.views.file import load_view, parse_view

__all__ = ("Streaming", "View", "ViewSpec", "ViewState", "load_view", "parse_view")
