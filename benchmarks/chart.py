"""A picture of a run's results: bars, as an SVG that needs nothing but a browser."""

import math
import statistics
from collections.abc import Mapping
from html import escape
from pathlib import Path

from benchmarks.report import Rows

__all__ = ("write_chart",)

_WIDTH, _LABELS, _BARS, _ROW, _TOP = 860, 190, 520, 26, 34
_OURS, _OTHERS, _INK = "#0b6e4f", "#b8c0c8", "#1c2329"

_PANELS = (
    ("sustained", "messages_per_s", True, "Sustained fan-out to 1,000 watchers: messages/s (log)"),
    ("runs500", "cpu_us_per_message", False, "500 runs × 50 events/s: server CPU per message, µs"),
    ("replay", "seconds_1", False, "Replay of 100,000 events to one reader: seconds (log)"),
)
"""Scenario, figure, whether more is better, title."""

_LOGARITHMIC = frozenset({"messages_per_s", "seconds_1"})


def write_chart(path: Path, results: Mapping[str, Rows], about: str) -> None:
    """Draw the figures of one run and write them to a file."""
    parts: list[str] = []
    y = 12
    for scenario, key, more, title in _PANELS:
        values = _medians(results.get(scenario, {}), key)
        if values:
            parts += _panel(
                y, title, sorted(values.items(), key=lambda item: item[1], reverse=more), key
            )
            y += _TOP + _ROW * len(values) + 18
    for line in (*_remark(results), about):
        parts.append(_text(12, y + 12, line, size=12))
        y += 18
    height = y + 12
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" font-family="system-ui, sans-serif" role="img">'
        "<title>runcast beside what one could use instead</title>"
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>'
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([head, *parts, "</svg>", ""]), encoding="utf-8")


def _medians(rows: Rows, key: str) -> dict[str, float]:
    found = {}
    for peer, rounds in rows.items():
        values = [row[key] for row in rounds if row.get("ok") and row.get(key)]
        if values:
            found[peer] = float(statistics.median(values))
    return found


def _panel(y: int, title: str, rows: list[tuple[str, float]], key: str) -> list[str]:
    parts = [_text(12, y + 18, title, size=15, weight="600")]
    values = [value for _, value in rows]
    low, high = min(values) / 2, max(values)
    for number, (peer, value) in enumerate(rows):
        top = y + _TOP + number * _ROW
        share = value / high
        if key in _LOGARITHMIC:
            share = math.log(value / low) / math.log(high / low)
        color = _OURS if peer == "runcast" else _OTHERS
        parts += [
            _text(_LABELS - 10, top + 14, peer, anchor="end"),
            f'<rect x="{_LABELS}" y="{top}" width="{_BARS * share:.0f}" height="18" rx="3" '
            f'fill="{color}"/>',
            _text(_LABELS + _BARS * share + 8, top + 14, _short(value)),
        ]
    return parts


def _remark(results: Mapping[str, Rows]) -> list[str]:
    """Say what of the distance is not ours: anybody can write what waits at once."""
    rates = _medians(results.get("sustained", {}), "messages_per_s")
    joined, single, own = (rates.get(name) for name in ("starlette-join", "starlette", "runcast"))
    if not (joined and single and own):
        return []
    return [
        f"Writing what waits at once, five lines in any application, is {joined / single:.1f} × of "
        f"the {own / single:.1f} × over plain queues;",
        f"the cursors over one log are the other {own / joined:.1f} ×. Only runcast stores "
        "events, before it shows them.",
    ]


def _text(
    x: float, y: float, text: str, *, size: int = 13, weight: str = "400", anchor: str = "start"
) -> str:
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" font-weight="{weight}" '
        f'text-anchor="{anchor}" fill="{_INK}">{escape(text)}</text>'
    )


def _short(value: float) -> str:
    if value >= 1_000_000:
        return f"{value / 1e6:.2f} M"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
