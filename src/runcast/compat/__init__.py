"""Names that other projects' streaming code is written against, on top of runcast.

| module | stands in for |
|---|---|
| `stream_writer_util` | frames pushed from deep inside a task to the response that began it |
| `stream_manager` | one stream per task id, published to from threads, read as SSE |
| `writer` | the flat messages of multi-agent graphs, and what reads a graph's chunks |

What is written through them is a run in a hub: stored, replayed, seen by any number of watchers in
any dialect. `use_hub` says in which. docs/migrating.md shows old code beside new.
"""

from runcast.compat.hubs import close_hub, use_hub, using_hub

__all__ = ("close_hub", "use_hub", "using_hub")
