"""`runcast share`, `links` and `unshare`."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import runcast
from tests.cli.inside import run
from tests.http.serving import Server, serving_in_thread
from tests.remote.test_remote_run import FLAVOUR, url_of


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving_in_thread(FLAVOUR, store=f"sqlite:///{tmp_path}/runs.db") as server:
        with runcast.Client(url_of(server)) as client:
            client.result(client.invoke("add", {"a": 1}, run_id="r"))
        yield server


def test_a_link_is_made_listed_and_revoked(server: Server, tmp_path: Path) -> None:
    url = ("--url", url_of(server))
    made = run("share", "r", "--expires", "2h", *url, cwd=tmp_path)
    address = made.stdout.strip()
    assert address.startswith(f"{url_of(server)}/#/s/r/"), made.stderr
    token = address.rpartition("/")[2]
    link_id, _, secret = token.partition(".")

    listed = run("links", "r", *url, cwd=tmp_path)
    as_json = json.loads(run("links", "r", "--json", *url, cwd=tmp_path).stdout)
    assert link_id in listed.stdout
    assert secret not in listed.stdout + json.dumps(as_json)
    assert as_json["expires_at"] == pytest.approx(as_json["created_at"] + 7200)

    revoked = run("unshare", "r", link_id, *url, cwd=tmp_path)
    assert revoked.stdout == f"{link_id} is revoked\n"
    assert run("links", "r", *url, cwd=tmp_path).stdout == "no links to r\n"
    assert run("unshare", "r", link_id, *url, cwd=tmp_path).returncode == 2


def test_a_link_made_in_a_store_is_good_at_its_server(server: Server, tmp_path: Path) -> None:
    made = run("share", "r", "--store", "runs.db", cwd=tmp_path)
    assert made.stdout.startswith("#/s/r/"), made.stderr
    with runcast.Client(url_of(server)) as client:
        (link,) = client.links("r")
        assert (link.run_id, link.token, link.url) == ("r", "", "")
        client.unshare("r", link.link_id)
        other = client.share("r", files=True)
        assert other.url.endswith(f"/#/s/r/{other.token}")
        assert (other.files, other.by) == (True, "")
        assert [each.link_id for each in client.links("r")] == [other.link_id]


@pytest.mark.parametrize("time", ["0", "1w", "-1", "", "7 d", "9999999999d"])
def test_what_is_no_time_is_refused(time: str, tmp_path: Path) -> None:
    done = run("share", "r", "--expires", time, cwd=tmp_path)
    assert done.returncode == 2
    assert "expected a time like" in done.stderr or "one argument" in done.stderr
