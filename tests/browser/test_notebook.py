"""Runs in a real JupyterLab, in a real browser: live, resumed, answered, cancelled."""

import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

import pytest

from tests.browser.chromium import Browser, Page
from tests.documents import ROOT

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(240)]

PYTHON = ROOT / ".venv-notebook" / "bin" / "python"
LAB_S = 60.0
KERNEL = "jupyterapp.shell.currentWidget.sessionContext.session.kernel"
SHOWN = "[...document.querySelectorAll('runcast-run')]"

OPEN = """
import threading, time
import runcast

go = threading.Event()

def report(pages: int) -> str:
    for page in range(1, pages + 1):
        runcast.progress(page, pages, f"page {page}")
    answer = runcast.ask("Print it?")
    runcast.log(f"printed: {answer.approved}")
    for message in runcast.inbox():
        runcast.content(f"read {message.data}. ")
        if message.data == "enough":
            break
    return f"{pages} pages"

def busy(pages: int) -> str:
    for page in range(1, pages + 1):
        runcast.progress(page, pages, f"page {page}")
        time.sleep(0.05)
    return f"{pages} pages at once"

hub = runcast.OpenHubInThread(runcast.OpenHub(functions=[report, busy])).open()
"""


@contextmanager
def jupyter_lab(folder: Path, *cells: str) -> Iterator[str]:
    """Start JupyterLab in a folder with a notebook of these cells; give the notebook's address."""
    if not PYTHON.exists():
        pytest.skip("there is no JupyterLab (python3 dev.py test --all installs it)")
    code = [
        {
            **{"cell_type": "code", "execution_count": None, "id": f"cell-{number}"},
            **{"metadata": {}, "outputs": [], "source": source.strip()},
        }
        for number, source in enumerate(cells)
    ]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    document = {
        **{"cells": code, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    }
    (folder / "runs.ipynb").write_text(json.dumps(document), "utf-8")
    homes = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "HOME")
    environment = {**os.environ, **{name: str(folder / name.lower()) for name in homes}}
    environment["JUPYTERLAB_SETTINGS_DIR"] = str(folder / "settings")
    set_up(folder, "notification", {"fetchNews": "false"})  # it would ask, above what is shown
    options = [
        *("--no-browser", "--allow-root", "--expose-app-in-browser"),
        *("--IdentityProvider.token=t", "--ServerApp.port=0", f"--ServerApp.root_dir={folder}"),
    ]
    process = subprocess.Popen(
        [PYTHON, "-m", "jupyterlab", *options],
        cwd=folder,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    addresses: SimpleQueue[str] = SimpleQueue()
    reading = threading.Thread(target=_read_log, args=(process, addresses))
    reading.start()
    try:
        yield f"{addresses.get(timeout=LAB_S)}/lab/tree/runs.ipynb?token=t&reset"
    finally:
        process.terminate()
        process.wait(LAB_S)
        reading.join(LAB_S)


def set_up(folder: Path, plugin: str, values: dict[str, str]) -> None:
    """Write the settings of a plugin of JupyterLab."""
    settings = folder / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True, exist_ok=True)
    (settings / f"{plugin}.jupyterlab-settings").write_text(json.dumps(values), "utf-8")


def _read_log(process: subprocess.Popen[str], addresses: SimpleQueue[str]) -> None:
    """Read what a server says to its end, and pass its address on."""
    assert process.stderr is not None
    with process.stderr as log:
        for line in log:
            if found := re.search(r"(http://127\.0\.0\.1:\d+)/lab", line):
                addresses.put(found[1])


@pytest.fixture
def lab(browser: Browser) -> Iterator[Page]:
    """A page that JupyterLab may complain in."""
    page = browser.open_page()
    page.look(width=1200, height=900)
    yield page
    page.close()


def opened(page: Page, url: str) -> None:
    page.call("Page.navigate", url=url)
    page.until("jupyterapp && document.querySelector('.jp-Notebook .jp-Cell')", LAB_S)
    page.until(f"{KERNEL}.status === 'idle'", LAB_S)


def run_all(page: Page) -> None:
    """Run all cells; the command itself ends when they have."""
    page.get("void jupyterapp.commands.execute('notebook:run-all-cells')")


def sees(page: Page, text: str, view: int = 0) -> None:
    shown = f"{SHOWN}[{view}]?.shadowRoot?.querySelector('section')?.textContent"
    try:
        page.until(f"{shown}.includes({json.dumps(text)})", 20.0)
    except AssertionError:
        raise AssertionError(f"expected {text!r}, got {page.get(shown)!r}") from None


def click(page: Page, label: str, view: int = 0) -> None:
    find = f"[...{SHOWN}[{view}].shadowRoot.querySelectorAll('button')].find"
    find = f"{find}(it => it.textContent === {label!r} && !it.hidden)"
    page.until(f"{find} !== undefined")
    page.get(f"{find}.click()")


def write(page: Page, text: str) -> None:
    page.get(
        f"(form => {{ form.querySelector('input').value = {text!r}; form.requestSubmit(); }})"
        "(document.querySelector('.runcast-message'))"
    )


def test_a_run_is_shown_live_resumed_after_a_reload_answered_and_written_to(
    lab: Page, tmp_path: Path
) -> None:
    cells = OPEN, "run = hub.start(report, {'pages': 3})\nrun", "run"
    with jupyter_lab(tmp_path, *cells) as url:
        opened(lab, url)
        run_all(lab)
        for view in (0, 1):  # it is displayed twice
            sees(lab, "page 3", view)
            sees(lab, "Print it?", view)

        lab.get("jupyterapp.commands.execute('docmanager:save')")
        lab.call("Page.reload")
        lab.until("!globalThis.jupyterapp || document.readyState !== 'complete'")
        sees(lab, "Print it?", 1)
        click(lab, "Approve")
        for view in (0, 1):
            sees(lab, "printed: True", view)
        write(lab, "hello")
        sees(lab, "read hello.", 1)
        write(lab, "enough")
        sees(lab, "3 pages")
        lab.until("document.querySelector('.runcast-message').hidden")


def test_a_run_can_be_cancelled_and_one_of_a_coroutine_hub_is_shown_too(
    lab: Page, tmp_path: Path
) -> None:
    begin = "shared = await runcast.OpenHub(functions=[report]).open()"
    cells = OPEN, begin, "await shared.start(report, {'pages': 2})"
    with jupyter_lab(tmp_path, *cells) as url:
        opened(lab, url)
        run_all(lab)
        sees(lab, "Print it?")
        click(lab, "Cancel the run")
        click(lab, "Click again to cancel")
        sees(lab, "cancelled")


@pytest.mark.parametrize("has_subshells", [True, False])
def test_a_run_is_shown_while_its_kernel_is_at_work(
    lab: Page, tmp_path: Path, has_subshells: bool
) -> None:
    if not has_subshells:  # then a kernel reads nothing of a page until its cell is over
        set_up(tmp_path, "kernels-settings", {"commsOverSubshells": "disabled"})
    work = "run = hub.start(busy, {'pages': 200})\ndisplay(run)\nrun.result()"
    with jupyter_lab(tmp_path, OPEN, work) as url:
        opened(lab, url)
        run_all(lab)
        shown = f"{SHOWN}[0]?.shadowRoot?.textContent"
        ended = "document.querySelectorAll('.jp-OutputArea-executeResult').length"
        lab.until(f"/page [1-9]/.test({shown}) && !{ended}", 20.0)
        sees(lab, "200 pages at once")
