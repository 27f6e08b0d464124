"""Tables and result files."""

import datetime
import json
import os
import platform
import sqlite3
import statistics
from collections.abc import Iterable
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.peers.peer import Peer
from benchmarks.scenarios import Column, Row, Scenario, Settings

Rows = dict[str, list[Row]]
"""The rounds of each peer, by its name."""


def describe_machine() -> dict[str, Any]:
    """Return what the figures depend on and what a reader of them must know."""
    cpu = "unknown"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                cpu = line.partition(":")[2].strip()
                break
    return {
        "cores": os.cpu_count(),
        "cpu": cpu,
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "load_1min": round(os.getloadavg()[0], 2),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def collect_versions(peers: Iterable[Peer]) -> dict[str, str]:
    """Return the version of each package and server that takes part."""
    found = {"sqlite": sqlite3.sqlite_version}
    for peer in peers:
        for package in peer.packages:
            try:
                found[package] = metadata.version(package)
            except metadata.PackageNotFoundError:
                found[package] = "not installed as a package"
        version = peer.version()
        if version:
            found[peer.name] = version
    return dict(sorted(found.items()))


def make_table(scenario: Scenario, settings: Settings, rows: Rows, reference: str) -> str:
    """Return a markdown table: medians, the spread of the rounds, ratios to the reference peer."""
    columns = scenario.columns(settings)
    heads = ["peer", "ok"]
    for column in columns:
        heads.append(column.title)
        if column.ratio:
            heads.append(f"x {reference}")
    lines = [
        f"### {scenario.name}: {scenario.describe(settings)}",
        "",
        "| " + " | ".join(heads) + " |",
        "|" + "---|" * len(heads),
    ]
    for name, rounds in rows.items():
        cells = [name, f"{sum(bool(row.get('ok')) for row in rounds)}/{len(rounds)}"]
        for column in columns:
            cells.append(_cell(rounds, column))
            if column.ratio:
                cells.append(_ratio(rounds, rows.get(reference, []), column))
        lines.append("| " + " | ".join(cells) + " |")
    for name, rounds in rows.items():
        errors = [row["error"] for row in rounds if "error" in row]
        if errors:
            lines += ["", f"{name}: {errors[0]}"]
    return "\n".join(lines) + "\n"


def summarise(scenario: Scenario, settings: Settings, rows: Rows) -> dict[str, dict[str, Any]]:
    """Return the median, lowest and highest of each column, by peer."""
    summary: dict[str, dict[str, Any]] = {}
    for name, rounds in rows.items():
        summary[name] = {"ok": all(bool(row.get("ok")) for row in rounds)}
        for column in scenario.columns(settings):
            values = _numbers(rounds, column)
            if values:
                middle = statistics.median(values)
                spread = {"median": middle, "lowest": min(values), "highest": max(values)}
                summary[name][column.key] = spread
    return summary


def write_results(
    folder: Path, scenario: Scenario, settings: Settings, rows: Rows, about: dict[str, Any]
) -> Path:
    """Write all rounds and their summary to `<folder>/<scenario>.json` and return that path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{scenario.name}.json"
    content = {
        "scenario": scenario.name,
        "about": scenario.describe(settings),
        **about,
        "settings": asdict(settings),
        "summary": summarise(scenario, settings, rows),
        "rounds": rows,
    }
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return path


def _numbers(rounds: list[Row], column: Column) -> list[float]:
    values = [row.get(column.key) for row in rounds]
    return [float(value) for value in values if isinstance(value, int | float)]


def _cell(rounds: list[Row], column: Column) -> str:
    numbers = _numbers(rounds, column)
    if not numbers:
        texts = {str(row[column.key]) for row in rounds if row.get(column.key) is not None}
        return " / ".join(sorted(texts)) or "-"
    middle = _short(statistics.median(numbers))
    if len(numbers) == 1 or _short(min(numbers)) == _short(max(numbers)):
        return middle
    return f"{middle} ({_short(min(numbers))}–{_short(max(numbers))})"


def _ratio(rounds: list[Row], reference: list[Row], column: Column) -> str:
    own, other = _numbers(rounds, column), _numbers(reference, column)
    if not own or not other or statistics.median(other) == 0:
        return "-"
    return f"{statistics.median(own) / statistics.median(other):.2f}"


def _short(value: float) -> str:
    """Return a number with three digits that matter, and thousands apart."""
    if abs(value) >= 1000:
        return f"{round(value, -2 if abs(value) >= 100_000 else 0):,.0f}"
    return f"{value:.3g}"
