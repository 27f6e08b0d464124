"""Derived tables that save work: lists by label, and the states of long logs.

Both follow from the other tables. Lists change with each checkpoint, in its transaction. States are
written beside the journal: a state that is lost is folded again.
"""

import json
import sqlite3
from collections.abc import Mapping
from typing import Final

from runcast.stores.ledger import Ledger
from runcast.stores.sqlite.schema import LABELS_OF_LOGS

__all__ = (
    "BY_LABEL",
    "add_to_lists",
    "changed_in_lists",
    "choose_label",
    "load_state",
    "save_state",
    "take_from_lists",
)

_OF_THESE: Final = f"{LABELS_OF_LOGS} AND logs.log_id IN (SELECT value FROM json_each(?))"
"""One statement for any number of logs; each further statement would be compiled and cached."""

BY_LABEL: Final = "labelled CROSS JOIN logs ON logs.log_id = labelled.of_log"
"""Joins the logs, in the order of a label's list."""


def changed_in_lists(ledger: Ledger) -> str:
    """Return the ids of logs whose lists must change, as a JSON array."""
    changed = [log_id for log_id, log in ledger.logs.items() if log.listed is not log.info.labels]
    return json.dumps([*changed, *ledger.deleted])


def take_from_lists(connection: sqlite3.Connection, log_ids: str) -> None:
    """Take logs out of the lists, before their rows change."""
    connection.execute(
        "DELETE FROM labelled WHERE (of_kind, name, value, since, of_log) IN "
        f"(SELECT of_kind, name, value, since, of_log FROM ({_OF_THESE}))",
        (log_ids,),
    )


def add_to_lists(connection: sqlite3.Connection, log_ids: str) -> None:
    """List logs by their present rows; logs without a row are left out."""
    connection.execute(f"INSERT INTO labelled {_OF_THESE}", (log_ids,))


def choose_label(labels: Mapping[str, str]) -> str | None:
    """Return the name of the label whose list to read; None without a listed label.

    Other labels are preferred to `function`, because they most likely have fewer runs.
    """
    listed = [name for name in labels if not name.startswith("runcast.")]
    return min(listed, key=lambda name: name == "function", default=None)


def save_state(connection: sqlite3.Connection, key: int, seq: int, state: bytes) -> None:
    """Keep the state after a log's events, replacing an earlier one."""
    connection.execute("INSERT OR REPLACE INTO states VALUES (?, ?, ?)", (key, seq, state))


def load_state(connection: sqlite3.Connection, key: int) -> tuple[int, bytes] | None:
    """Return the last kept state of a log, with its `seq`; None also for a damaged row."""
    row = connection.execute("SELECT seq, state FROM states WHERE key = ?", (key,)).fetchone()
    if row is None or not isinstance(row[0], int) or not isinstance(row[1], bytes):
        return None
    return row[0], row[1]
