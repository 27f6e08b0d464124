"""Records the calls of LangChain in one run: plain data in, events out. No package is imported.

Every call has an id and a parent. A call is a chain (a node of a graph is one), a model, or a tool.
The calls of all threads and tasks of a run come here, in the order in which they happen.
"""

import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from runcast._producing.writer import Writer
from runcast.errors import EventTooLarge
from runcast.events.model import Place
from runcast.events.plain import cut
from runcast.events.vocabulary import as_text
from runcast.sources._chain_calls import NOWHERE, ModelCall, OpenCall, ToolCall, is_signal, sign_of
from runcast.sources._chain_values import messages_in, result_of
from runcast.sources._graph_chunks import Call, Message, Usage, read_message, texts_of
from runcast.sources._graph_places import GraphPlaces, Spot, spot_of
from runcast.sources._graph_reader import SeenKeys, digest_of
from runcast.sources._plain import as_plain
from runcast.sources._recorded_calls import RecordedCall
from runcast.sources._telling import tell, warn_once

__all__ = ("ChainRecorder",)

_MAX_OPEN: Final = 4096
"""Most open calls that are remembered: a call may never end, if its process forks or is left."""

_PIECE_CHARS: Final = 64 * 1024
"""Longest piece of a text that comes at once, and of a tool's result that is too long."""

_HOOKS: Final = (".before_agent", ".before_model", ".after_model", ".after_agent")
"""Ends of the names of nodes that belong to middleware, and not to what the user has built."""

_QUIET_TAGS: Final = frozenset({"nostream", "langsmith:nostream"})
"""Tags of model calls whose text a program does not want to be streamed."""


class ChainRecorder:
    """Writes the calls of one run to the run. Its methods may be called from any thread.

    They raise nothing but `Cancelled`, in the code of a run that was cancelled.
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = weakref.ref(writer)  # who holds the recorder must not hold the run
        self._places = GraphPlaces()
        self._open: OrderedDict[object, OpenCall] = OrderedDict()
        self._seen = SeenKeys()

    def is_open(self, call: object) -> bool:
        """Return whether a call has begun and not ended."""
        return call in self._open

    # Chains: the nodes of graphs are steps.

    def chain_started(
        self, call: object, parent: object, name: str, metadata: Mapping[str, Any], inputs: object
    ) -> None:
        """Record that a chain begins; as a step, if it is a node of a graph."""
        spot = spot_of(metadata)
        above = self._open.get(parent)
        if spot.node and not spot.task:
            warn_once(
                "this version of langgraph names the tasks of nodes in a way that runcast does not "
                "know, so steps and agents are not shown; use a newer runcast"
            )
        is_node = spot.task and name == spot.node and not name.startswith("__")  # LangGraph's own
        if not is_node or (above is not None and above.spot.task == spot.task):
            # A part of a node. An agent in a node also bears the node's metadata.
            self._add(call, OpenCall(parent, spot, NOWHERE))
            return
        chain = OpenCall(parent, spot, self._place(spot))
        self._add(call, chain)
        for message in messages_in(inputs):
            self._is_new(message)
        if not name.endswith(_HOOKS):
            chain.step_id = spot.task_id
            self._write(lambda writer: self._begin_step(writer, chain, name))
        else:
            chain.step_id = ""

    def _begin_step(self, writer: Writer, chain: OpenCall, name: str) -> None:
        chain.began = writer.clock.monotonic()
        data = {"message": name, "step_id": chain.step_id}
        writer.emit_at(chain.place, "step_start", data)

    def chain_ended(self, call: object, outputs: object) -> None:
        """Record that a chain has ended, with the messages that no model or tool has written."""
        chain = self._open.pop(call, None)
        if chain is None or chain.step_id is None:
            return
        for message in messages_in(outputs):
            if self._is_new(message):
                self._show(chain, message)
        if chain.step_id:
            self._write(lambda writer: self._end_step(writer, chain))

    def _end_step(self, writer: Writer, chain: OpenCall) -> None:
        node, agent, path, _ = chain.place
        place = (node, agent, path, writer.clock.monotonic() - chain.began)
        writer.emit_at(place, "step_complete", {"message": "", "step_id": chain.step_id})

    def chain_failed(self, call: object, error: BaseException) -> None:
        """Record that a chain has failed: as an error, if a node failed by itself."""
        chain = self._open.pop(call, None)
        if chain is not None and not is_signal(error):
            if chain.step_id is not None and chain.failure != sign_of(error):
                self._report(chain, error, "node_failed")
            if chain.step_id is not None or chain.failure == sign_of(error):
                self._pass_up(chain, error)

    # Models.

    def model_started(
        self,
        call: object,
        parent: object,
        hearer: object,
        metadata: Mapping[str, Any],
        tags: Iterable[str],
    ) -> None:
        """Record that a model is called; from now on its client's calls count as recorded.

        Args:
            hearer: gets the pieces of the answer; the same pieces from others are left out.
        """
        spot = spot_of(metadata)
        model = ModelCall(parent, spot, self._place(spot), f"lc_run--{call}")
        model.model = as_text(metadata.get("ls_model_name"))
        model.is_quiet = not _QUIET_TAGS.isdisjoint(tags)
        model.hearer = hearer
        model.mark = RecordedCall()
        self._add(call, model)

    def token(self, call: object, hearer: object, token: object, message: object) -> None:
        """Record a piece of a model's answer: of a message, or a text."""
        model = self._speaker(call, hearer, "token")
        if model is None:
            return
        content = token if message is None else getattr(message, "content", None)
        if type(content) is str and not getattr(message, "additional_kwargs", None):
            text, thought = content, ""  # nearly always
        elif message is None:
            text, thought = texts_of(content)
        else:
            read = read_message(message)
            text, thought = (read.text, read.thought) if read is not None else ("", "")
        self._speak(model, text, thought)
        for part in getattr(message, "tool_call_chunks", None) or ():
            if isinstance(part, Mapping):
                self._argue(
                    model, part.get("index"), part.get("id"), part.get("name"), part.get("args")
                )

    def block(self, call: object, hearer: object, event: object) -> None:
        """Record an event of a model's answer that comes in blocks."""
        model = self._speaker(call, hearer, "block")
        if model is None or not isinstance(event, Mapping):
            return
        kind = event.get("event")
        block = event.get("content" if kind == "content-block-start" else "delta")
        if kind not in ("content-block-start", "content-block-delta") or block is None:
            return
        text, thought = texts_of([block])
        self._speak(model, text, thought)
        if isinstance(block, Mapping) and "args" in block:
            self._argue(
                model, event.get("index"), block.get("id"), block.get("name"), block["args"]
            )

    def _speaker(self, call: object, hearer: object, form: str) -> ModelCall | None:
        """Return the model whose piece comes; None if the piece is not to be recorded.

        Where an answer comes in two forms at once, only the form that began is recorded.
        """
        model = self._open.get(call)
        if not isinstance(model, ModelCall) or model.is_quiet or model.hearer is not hearer:
            return None
        model.form = model.form or form
        return model if model.form == form else None

    def _speak(self, model: ModelCall, text: str, thought: str) -> None:
        if thought:
            model.has_thought = True
            self._say(model, model.message_id, "thinking", thought)
        if text:
            model.has_text = True
            self._say(model, model.message_id, "content", text)

    def _say(self, call: OpenCall, message_id: str, kind: str, text: str) -> None:
        node, agent, path, _ = call.place
        for start in range(0, len(text), _PIECE_CHARS):
            piece = text[start : start + _PIECE_CHARS]
            if kind == "content":
                self._write(
                    lambda writer, piece=piece: writer.content(  # type: ignore[misc]
                        piece, message_id=message_id, node=node, agent=agent, path=path
                    )
                )
            else:
                self._write(
                    lambda writer, piece=piece: writer.thinking(  # type: ignore[misc]
                        piece, message_id=message_id, node=node, agent=agent, path=path
                    )
                )

    def _argue(
        self,
        model: ModelCall,
        index: object,
        call_id: object,
        tool: object,
        args: object,
    ) -> None:
        """Record a piece of a call's arguments; only the first piece names the call."""
        key = index if isinstance(index, int | str) else None
        if call_id:
            model.args_of[key] = (as_text(call_id), as_text(tool))
        known = model.args_of.get(key)
        if known is None or not isinstance(args, str) or not args:
            return
        node, agent, path, _ = model.place
        self._write(
            lambda writer: writer.tool_call_delta(
                args, call_id=known[0], tool=known[1], node=node, agent=agent, path=path
            )
        )

    def model_ended(self, call: object, message: object, model_name: str, usage: Any) -> None:
        """Record the end of a model's answer: what did not come as pieces, its calls, its usage.

        Args:
            message: the whole message; of a model without messages, its text.
        """
        model = self._open.pop(call, None)
        if not isinstance(model, ModelCall):
            return
        if model.mark is not None:
            model.mark.end()
        read = read_message(message)
        if read is None and isinstance(message, str):
            read = Message("ai", False, "", message, "", (), "", "")
        if read is not None and not model.is_quiet:
            if read.message_id:
                self._seen.remember(("message", read.message_id), 0)
            self._speak(
                model,
                "" if model.has_text else read.text,
                "" if model.has_thought else read.thought,
            )
            for asked in read.calls:
                self._call(model, asked)
        if isinstance(usage, Usage):
            self._use(model, model_name or model.model or "unknown", usage)

    def _use(self, model: ModelCall, name: str, usage: Usage) -> None:
        node, agent, path, _ = model.place
        self._write(
            lambda writer: writer.usage(
                name,
                usage.input_tokens,
                usage.output_tokens,
                cached_tokens=usage.cached_tokens,
                reasoning_tokens=usage.reasoning_tokens,
                node=node,
                agent=agent,
                path=path,
            )
        )

    def model_failed(self, call: object, error: BaseException) -> None:
        """Record that a model's answer broke off; its pieces stay."""
        model = self._open.pop(call, None)
        if not isinstance(model, ModelCall):
            return
        if model.mark is not None:
            model.mark.end()
        if not is_signal(error):
            self._report(model, error, "model_failed", message_id=model.message_id)
            self._pass_up(model, error)

    # Tools.

    def tool_started(
        self,
        call: object,
        parent: object,
        metadata: Mapping[str, Any],
        asked: Call,
    ) -> None:
        """Record that a tool is called, unless the model's call was recorded with these args."""
        spot = spot_of(metadata)
        call_id = asked.call_id or str(call)
        begun = ToolCall(parent, spot, self._place(spot), asked.tool, call_id)
        self._add(call, begun)
        self._call(begun, Call(call_id, asked.tool, asked.args))

    def tool_ended(self, call: object, output: object) -> None:
        """Record what a tool returned."""
        tool = self._open.pop(call, None)
        if isinstance(tool, ToolCall):
            read, ok = result_of(output, tool.call_id)
            self._result(tool, tool.tool, tool.call_id, read, ok)

    def tool_failed(self, call: object, error: BaseException) -> None:
        """Record that a tool raised; watchers see the class of the error."""
        tool = self._open.pop(call, None)
        if isinstance(tool, ToolCall) and not is_signal(error):
            self._result(tool, tool.tool, tool.call_id, type(error).__name__, False)
            self._pass_up(tool, error)

    def _call(self, place: OpenCall, asked: Call) -> None:
        args = as_plain({} if asked.args is None else asked.args)
        if not self._seen.is_new("call", asked.call_id, digest_of(as_text(args))):
            return
        node, agent, path, _ = place.place
        self._write(
            lambda writer: writer.tool_call(
                asked.tool, args, call_id=asked.call_id, node=node, agent=agent, path=path
            )
        )

    def _result(
        self, place: OpenCall, tool: str, call_id: str, result: object, ok: bool | None
    ) -> None:
        self._seen.remember(("result", call_id), 0)
        node, agent, path, _ = place.place

        def write(writer: Writer, value: object) -> None:
            writer.tool_result(
                tool, value, call_id=call_id, ok=ok, node=node, agent=agent, path=path
            )

        value = as_plain(result)

        def write_or_cut(writer: Writer) -> None:
            try:
                write(writer, value)
            except EventTooLarge:
                write(writer, cut(as_text(value), _PIECE_CHARS))

        self._write(write_or_cut)

    # What else happens.

    def custom(self, metadata: Mapping[str, Any], name: str, data: object) -> None:
        """Record an event that the program dispatched itself."""
        place, value = self._place(spot_of(metadata)), as_plain(data)
        self._write(lambda writer: writer.emit_at(place, "custom", {"name": name, "data": value}))

    def _show(self, chain: OpenCall, message: Message) -> None:
        """Record a message that a node returned, and that no model or tool has written."""
        if message.kind == "tool":
            self._result(chain, message.tool, message.call_id, message.text, message.ok)
            return
        message_id = message.message_id
        if message.thought:
            self._say(chain, message_id, "thinking", message.thought)
        if message.text:
            self._say(chain, message_id, "content", message.text)
        for asked in message.calls:
            self._call(chain, asked)

    def _is_new(self, message: Message) -> bool:
        """Return whether a message was never seen, and remember it."""
        if message.kind == "tool" and message.call_id:
            return self._seen.is_new("result", message.call_id)
        words = ("words", message.kind, digest_of(message.text), str(message.calls))
        if not message.message_id:
            self._seen.remember(words, 0)  # it gets an id when the graph takes it
            return True
        is_new = self._seen.is_new("message", message.message_id)
        return not self._seen.forget(words) and is_new

    def _report(self, call: OpenCall, error: BaseException, code: str, **more: str) -> None:
        data = {"message": type(error).__name__, "code": code, **more}
        self._write(lambda writer: writer.emit_at(call.place, "error", data))

    def _pass_up(self, call: OpenCall, error: BaseException) -> None:
        above = self._open.get(call.parent)
        if above is not None:
            above.failure = sign_of(error)

    def _place(self, spot: Spot) -> Place:
        self._places.name(spot.graph, spot.agent)
        return self._places.place(spot.graph, spot.node)

    def _add(self, call: object, begun: OpenCall) -> None:
        self._open[call] = begun
        if len(self._open) > _MAX_OPEN:
            self._open.popitem(last=False)

    def _write(self, write: Callable[[Writer], None]) -> None:
        writer = self._writer()
        if writer is not None:
            tell(writer, lambda: write(writer))
