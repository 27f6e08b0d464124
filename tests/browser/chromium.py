"""A browser, driven by its own protocol through a pipe: no driver to install, no port to find.

Source: https://chromedevtools.github.io/devtools-protocol/
"""

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from tests.waiting import WAIT_S

_NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
_CALL_S: Final = 30.0
"""What the browser may take to answer; its start on a busy machine is in it."""

_FLAGS: Final = (
    "--headless",
    "--remote-debugging-pipe",
    "--no-sandbox",  # which is not to be had in most containers; it sees our own page only
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--hide-scrollbars",
    "--lang=en-GB",
)


def find_browser() -> str | None:
    """Return the path of a Chromium, None if there is none."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


@contextlib.contextmanager
def open_browser(executable: str, profile: Path) -> Iterator["Browser"]:
    """Start a browser; it ends with the block, whatever it is doing."""
    # Killed, it leaves what it put there; and paths of sockets must be short.
    scratch = tempfile.mkdtemp(prefix="browser-")
    # It takes commands on descriptor 3 and answers on 4: kept free of those above until then.
    pipes = (*os.pipe(), *os.pipe())
    theirs_in, ours_out, ours_in, theirs_out = (fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in pipes)
    for descriptor in pipes:
        os.close(descriptor)
    null = (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)
    process = os.posix_spawn(
        executable,
        [executable, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
        {**os.environ, "TZ": "UTC", "TMPDIR": scratch},
        file_actions=[
            (os.POSIX_SPAWN_DUP2, theirs_in, 3),
            (os.POSIX_SPAWN_DUP2, theirs_out, 4),
            null,
        ],
        setpgroup=0,
    )
    for descriptor in (theirs_in, theirs_out):
        os.close(descriptor)
    try:
        yield Browser(ours_in, ours_out)
    finally:
        for descriptor in (ours_in, ours_out):
            os.close(descriptor)
        os.killpg(process, signal.SIGKILL)
        os.waitpid(process, 0)
        shutil.rmtree(scratch, ignore_errors=True)


class Browser:
    """Commands go out, answers and events come in; whoever waits reads them for all."""

    def __init__(self, reading: int, writing: int) -> None:
        self._reading = reading
        self._writing = writing
        self._buffer = b""
        self._calls = 0
        self._answers: dict[int, dict[str, Any]] = {}
        self._pages: dict[str, Page] = {}

    def open_page(self, beside: "Page | None" = None, *, is_window: bool = False) -> "Page":
        """Return a page of its own: it shares neither cookies nor connections with others.

        With `beside` it is another tab of the same user, and shares both. It hides the other tabs,
        unless it is a window.
        """
        if beside is not None:
            context = beside.context
        else:
            context = self.call("Target.createBrowserContext")["browserContextId"]
        options: dict[str, Any] = {"url": "about:blank", "browserContextId": context}
        if is_window:
            options["newWindow"] = True
        target = self.call("Target.createTarget", **options)
        made = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        page = self._pages[made["sessionId"]] = Page(self, made["sessionId"], context)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        return page

    def call(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        """Send a command and return its answer."""
        self._calls += 1
        number = self._calls
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._writing, data) :]
        deadline = time.monotonic() + _CALL_S
        while number not in self._answers:
            self._read(deadline)
        answer = self._answers.pop(number)
        assert "error" not in answer, f"{method}: {answer['error']}"
        result: dict[str, Any] = answer["result"]
        return result

    def _read(self, deadline: float) -> None:
        ready, _, _ = select.select([self._reading], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, f"the browser did not answer in {_CALL_S} s"
        data = os.read(self._reading, 1 << 20)
        assert data, "the browser has ended"
        *messages, self._buffer = (self._buffer + data).split(b"\0")
        for text in messages:
            message = json.loads(text)
            if "id" in message:
                self._answers[message["id"]] = message
            elif (page := self._pages.get(message.get("sessionId", ""))) is not None:
                page.note(message["method"], message["params"])


class Page:
    """One tab, as its user has it."""

    def __init__(self, browser: Browser, session: str, context: str) -> None:
        self._browser = browser
        self._session = session
        self.context = context
        self.complaints: list[str] = []
        """What the console shows as errors and warnings."""
        self.streams: set[str] = set()
        """The open streams of events."""
        self.requested: list[str] = []
        """The address of every request."""
        self.bodies: list[str] = []
        """What was posted."""
        self.expected = ""
        """A pattern of complaints that belong to what is tested."""

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command about this page."""
        return self._browser.call(method, self._session, **parameters)

    def close(self) -> None:
        """Close the tab and forget its cookies."""
        self._browser.call("Target.disposeBrowserContext", browserContextId=self.context)

    def note(self, method: str, told: Mapping[str, Any]) -> None:
        """Take note of an event."""
        match method:
            case "Runtime.exceptionThrown":
                details = told["exceptionDetails"]
                self.complaints.append(
                    details.get("exception", details).get("description", details)
                )
            case "Runtime.consoleAPICalled" if told["type"] in ("error", "warning", "assert"):
                self.complaints.append(json.dumps(told["args"]))
            case "Log.entryAdded" if told["entry"]["level"] in ("error", "warning"):
                self.complaints.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")
            case "Network.requestWillBeSent":
                self.requested.append(told["request"]["url"])
                self.bodies.append(told["request"].get("postData", ""))
                headers = {name.lower(): it for name, it in told["request"]["headers"].items()}
                if "text/event-stream" in headers.get("accept", ""):
                    self.streams.add(told["requestId"])
            case "Page.frameNavigated":
                self.streams.clear()  # what a page leaves open ends without a word
            case "Network.loadingFinished" | "Network.loadingFailed":
                self.streams.discard(told["requestId"])

    def go(self, url: str) -> None:
        """Open an address as if typed into a fresh tab."""
        self.call("Page.navigate", url="about:blank")
        self.until("location.href === 'about:blank'")
        self.call("Page.navigate", url=url)
        self.until(f"document.readyState === 'complete' && location.href === {json.dumps(url)}")

    def get(self, expression: str) -> Any:
        """Return the value of a JavaScript expression."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, expression: str, within_s: float = WAIT_S) -> None:
        """Wait until a JavaScript expression is true."""
        deadline = time.monotonic() + within_s
        found = False
        while not found and time.monotonic() < deadline:
            try:
                found = self.get(_LOOK % (expression, expression))
            except AssertionError as error:
                # A page that is left takes its promises along.
                if "navigated" not in str(error) and "context" not in str(error):
                    raise
        assert found, f"not within {within_s} s: {expression}\nthe page shows:\n{self.text()}"

    def sees(self, text: str, within: str = "body", within_s: float = WAIT_S) -> None:
        """Wait until the page shows a text, in the element of a selector."""
        look = (
            f"document.querySelector({json.dumps(within)})?.innerText.includes({json.dumps(text)})"
        )
        self.until(look, within_s)

    def text(self, within: str = "body") -> str:
        """Return the text that is shown."""
        return str(self.get(f"document.querySelector({json.dumps(within)})?.innerText"))

    def click(self, selector: str, text: str = "") -> None:
        """Click with the mouse on the first element that has the selector and the text."""
        is_meant = f"node.textContent.includes({json.dumps(text)}) && node.checkVisibility()"
        every = f"[...document.querySelectorAll({json.dumps(selector)})]"
        find = f"{every}.find(node => {is_meant})"
        self.until(find)
        box = self.get(
            "(node => (node.scrollIntoView({block: 'center'}), "
            f"node.getBoundingClientRect().toJSON()))({find})"
        )
        at = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **at)

    def type(self, text: str) -> None:
        """Put text where the focus is, in place of what is selected."""
        self.call("Input.insertText", text=text)

    def fill(self, selector: str, text: str) -> None:
        """Replace what an input holds."""
        self.click(selector)
        self.get("document.activeElement.select()")
        if text:
            self.type(text)
        else:
            self.press("Delete", 46)

    def choose(self, selector: str, value: str) -> None:
        """Choose an option of a select, or put a value into a picker, by its value."""
        self.until(f"document.querySelector({json.dumps(selector)})")
        self.get(
            f"(node => {{ node.value = {json.dumps(value)}; for (const type of ['input', 'change'])"
            " node.dispatchEvent(new Event(type, { bubbles: true })); })"
            f"(document.querySelector({json.dumps(selector)}))"
        )

    def hide(self, is_hidden: bool = True) -> None:
        """Have the page believe that its user looks at another tab, or at this one again."""
        state = {"hidden": is_hidden, "visibilityState": "hidden" if is_hidden else "visible"}
        self.get(
            f"for (const [name, value] of Object.entries({json.dumps(state)}))"
            " Object.defineProperty(document, name, { configurable: true, value });"
            "document.dispatchEvent(new Event('visibilitychange'))"
        )

    def press(self, key: str, code: int) -> None:
        """Press a key; `code` is its Windows virtual key code."""
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        fields = {"key": key, "code": key, "windowsVirtualKeyCode": code, "text": text}
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **fields)
        self.call("Input.dispatchKeyEvent", type="keyUp", **{**fields, "text": ""})

    def look(self, *, width: int = 1280, height: int = 860, scheme: str = "light") -> None:
        """Set how large the page is and whether its user likes it dark."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def screenshot(self, path: Path) -> None:
        """Write what is seen as a PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))


_LOOK: Final = """new Promise(tell => {
  const end = performance.now() + 200;
  (function look() {
    let found = false;
    try { found = !!(%s); } catch {}
    if (found || performance.now() > end) tell(found); else setTimeout(look, 10);
  })();
}) // %s"""
