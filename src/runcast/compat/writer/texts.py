"""What people read where a graph says nothing itself."""

from collections.abc import Mapping
from typing import NamedTuple

from runcast.errors import InvalidValue

__all__ = ("Texts",)


class Texts(NamedTuple):
    """Each text by its name; what is in braces is filled in."""

    tool_call: str = "调用了 {tool_name} 工具"
    section_complete: str = "完成章节: {title}"
    research_found: str = "发现研究资料: {title}"
    interrupt_waiting: str = "等待用户响应"
    interrupt_approved: str = "操作已批准: {action}"
    interrupt_rejected: str = "操作已取消"
    agent_complete: str = "{agent}任务完成"

    @classmethod
    def of(cls, templates: Mapping[str, str] | None) -> "Texts":
        """Return the texts with some of them replaced, by their names.

        Raises:
            InvalidValue: there is no such text, or it cannot be filled in.
        """
        given = dict(templates or {})
        if not given.keys() <= set(cls._fields):
            raise InvalidValue(f"expected texts for {', '.join(cls._fields)}; got {list(given)}")
        for name, text in given.items():
            try:
                text.format(tool_name="", title="", action="", agent="")
            except (LookupError, ValueError, AttributeError) as error:
                raise InvalidValue(f"the text for {name} cannot be filled in: {error!r}") from None
        return cls(**given)
