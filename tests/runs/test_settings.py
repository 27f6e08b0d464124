"""Settings: whatever their source, each is of its type and in its range, or named as wrong."""

import math
from pathlib import Path
from typing import Any

import pytest

from runcast._settings import Settings
from runcast.errors import InvalidValue


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("threads", "8"),
        ("threads", None),
        ("threads", 8.0),
        ("threads", True),
        ("threads", 0),
        ("lease_s", "15"),
        ("lease_s", True),
        ("lease_s", math.nan),
        ("lease_s", math.inf),
        ("lease_s", -math.inf),
        ("lease_s", 10**400),
        ("sqlite_full_sync", 1),
        ("sqlite_full_sync", "yes"),
        ("secrets_file", Path("secrets.toml")),
        ("workspace_roots", "/srv"),
        ("workspace_roots", ["/srv"]),
        ("workspace_roots", (1,)),
    ],
)
def test_no_settings_are_made_of_a_value_of_another_type(name: str, value: Any) -> None:
    with pytest.raises(InvalidValue, match=name):
        Settings(**{name: value})


@pytest.mark.parametrize(
    "line", ["max_runs = 2.7", "max_runs = 2.0", "lease_s = nan", "lease_s = inf"]
)
def test_no_number_in_a_file_becomes_another(tmp_path: Path, line: str) -> None:
    file = tmp_path / "runcast.toml"
    file.write_text(line, "utf-8")

    with pytest.raises(InvalidValue, match=line.split()[0]):
        Settings.load(file=file, environ={})


@pytest.mark.parametrize("text", ["nan", "inf", "1e999", "2.7.1", ""])
def test_no_text_in_the_environment_becomes_a_number_that_is_none(text: str) -> None:
    with pytest.raises(InvalidValue, match=r"(?i)lease_s"):
        Settings.load(environ={"RUNCAST_LEASE_S": text})


def test_whole_numbers_are_seconds_too_and_texts_are_read() -> None:
    assert Settings(lease_s=15).lease_s == 15
    loaded = Settings.load(
        environ={"RUNCAST_THREADS": "8", "RUNCAST_LEASE_S": "1.5", "RUNCAST_URL_ALLOW": "a, b"},
        sqlite_full_sync="yes",
    )
    assert (loaded.threads, loaded.lease_s, loaded.url_allow) == (8, 1.5, ("a", "b"))
    assert loaded.sqlite_full_sync is True
