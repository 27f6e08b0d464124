"""The names of other projects' streaming modules, implemented with runcast.

| module | stands in for |
|---|---|
| `stream_writer_util` | frames pushed from deep inside a task to the response that began it |
| `stream_manager` | one stream per task id, published to from threads, read as SSE |
| `streaming_handler` | one chat message that is edited while tokens arrive |
| `writer` | the flat messages of multi-agent graphs, and the reader of a graph's chunks |

Everything written through these modules is a run in a hub: stored, replayed, seen by any number of
watchers in any dialect. `use_hub` chooses the hub. docs/migrating.md shows old code beside new.
"""

from runcast.compat.hubs import close_hub, use_hub, using_hub

__all__ = ("close_hub", "use_hub", "using_hub")
