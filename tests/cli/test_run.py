"""`runcast run`, with real scripts in real processes."""

import contextlib
import os
import pty
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import runcast
from runcast.events.model import Event
from runcast.testing import ModelServer
from tests.environment import environment
from tests.waiting import WAIT_S, look_again

RUNCAST = str(Path(sys.executable).with_name("runcast"))
STORE = "sqlite:///runs.db"
KEPT = ("--store", STORE)
"""Options for where the run is kept."""
_END_S = 30.0
"""Processes import packages first, on a machine that may be busy."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads what Linux tells")


def command(*arguments: str) -> list[str]:
    return [RUNCAST, "run", "--quiet", *KEPT, *arguments]


def run(
    folder: Path, *arguments: str, env: Mapping[str, str] | None = None, given: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a script to its end as a run."""
    return finish(command(*arguments), folder, env, given)


def finish(
    words: list[str],
    folder: Path,
    env: Mapping[str, str] | None = None,
    given: str | None = None,
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words,
        cwd=folder,
        env=environment(env),
        input=given,
        stdin=None if given is not None else subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_END_S,
        check=False,
    )


@contextlib.contextmanager
def started(
    folder: Path, *arguments: str, words: list[str] | None = None, **options: Any
) -> Iterator[subprocess.Popen[str]]:
    """Start a script as a run, and see to its end."""
    process = subprocess.Popen(
        words or command(*arguments),
        cwd=folder,
        env=environment(),
        text=True,
        stderr=subprocess.PIPE,
        **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, **options},
    )
    guard = threading.Timer(_END_S, process.kill)
    guard.start()
    try:
        yield process
    finally:
        guard.cancel()
        process.kill()
        process.communicate(timeout=WAIT_S)


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def events_of(folder: Path) -> list[Event]:
    with runcast.open_hub(f"sqlite:///{folder}/runs.db") as hub:
        (info,) = hub.runs()
        return list(hub.watch(info.log_id))


def logs_of(events: list[Event]) -> list[tuple[str, str, str]]:
    return [
        (event.data["logger"], event.data["level"], event.data["message"])
        for event in events
        if event.type == "log"
    ]


def script(folder: Path, text: str, name: str = "script.py") -> str:
    (folder / name).write_text(text, "utf-8")
    return name


# --- what it records ------------------------------------------------------------------------------


def test_everything_is_recorded_once_and_in_the_order_it_was_written(tmp_path: Path) -> None:
    name = script(
        tmp_path,
        """
import logging, os, subprocess, sys, threading
logging.basicConfig(level="INFO")
for turn in range(3):
    print("out", turn)
    print("err", turn, file=sys.stderr)
    logging.getLogger("shop").info("log %d", turn)
    subprocess.run(["echo", "child", str(turn)])
    print("between")
    subprocess.run(["sh", "-c", f"echo child err {turn} >&2"])
    os.write(2, b"raw\\n")
    thread = threading.Thread(target=logging.warning, args=("thread",))
    thread.start(); thread.join()
print("no end of line", end="")
""",
    )

    ended = run(tmp_path, name)

    assert ended.returncode == 0, ended.stderr
    turns = [
        line
        for turn in range(3)
        for line in (
            ("stdout", "info", f"out {turn}"),
            ("stderr", "warning", f"err {turn}"),
            ("shop", "info", f"log {turn}"),
            ("stdout", "info", f"child {turn}"),
            ("stdout", "info", "between"),
            ("stderr", "warning", f"child err {turn}"),
            ("stderr", "warning", "raw"),
            ("root", "warning", "thread"),
        )
    ]
    events = events_of(tmp_path)
    assert logs_of(events) == [*turns, ("stdout", "info", "no end of line")]
    assert (events[0].type, events[-1].type) == ("started", "done")


def test_calls_of_models_are_events(tmp_path: Path) -> None:
    name = script(
        tmp_path,
        """
import sys
import openai, anthropic
url = sys.argv[1]
ask = [{"role": "user", "content": "Say it"}]
client = openai.OpenAI(base_url=url + "/v1", api_key="none")
for chunk in client.chat.completions.create(model="m", messages=ask, stream=True):
    pass
anthropic.Anthropic(base_url=url, api_key="none").messages.create(
    model="m", max_tokens=9, messages=ask
)
""",
    )

    with ModelServer() as server:
        ended = run(tmp_path, name, server.url)

    assert ended.returncode == 0, ended.stderr
    events = [it for it in events_of(tmp_path) if it.type in ("content", "usage")]
    assert [it.data.get("text", it.data.get("model")) for it in events] == [
        *("Say ", "it", "Say it", "m")
    ]


def test_bars_of_tqdm_and_rich_are_progress_and_no_lines(tmp_path: Path) -> None:
    name = script(
        tmp_path,
        """
import time
from tqdm import tqdm
from rich.progress import track
for _ in tqdm(range(3), desc="pages"):
    tqdm.write("a line between")
for _ in track([1, 2], "words", update_period=0.01):
    pass
""",
    )

    ended = run(tmp_path, name)

    assert ended.returncode == 0, ended.stderr
    events = events_of(tmp_path)
    last = {e.data["task"]: e.data["current"] for e in events if e.type == "progress"}
    assert last == {"pages": 3, "words": 2}
    assert [text for _, _, text in logs_of(events)] == ["a line between"] * 3
    assert "100%" in ended.stderr
    assert "words" in ended.stdout


def test_bars_of_child_processes_are_understood_from_what_they_print(tmp_path: Path) -> None:
    script(
        tmp_path,
        """
import sys
for n in range(0, 101, 20):
    sys.stderr.write(f"\\r{n:3}%|###   |"); sys.stderr.flush()
sys.stderr.write("\\n\\x1b[31mred\\x1b[0m\\n")
""",
        "child.py",
    )
    name = script(tmp_path, "import subprocess, sys\nsubprocess.run([sys.executable, 'child.py'])")

    run(tmp_path, name)

    events = events_of(tmp_path)
    progress = [event.data for event in events if event.type == "progress"]
    assert progress[-1] == {"percent": 100.0, "message": "100%|###   |", "task": "stderr"}
    assert logs_of(events) == [("stderr", "warning", "\x1b[31mred\x1b[0m")]


def test_a_script_that_knows_runcast_writes_to_its_run(tmp_path: Path) -> None:
    name = script(
        tmp_path,
        """
import runcast
print("before")
runcast.emit("shop.sold", {"n": 1}, node="till")
print("after")
print(runcast.flush().seq)
""",
    )

    ended = run(tmp_path, name, "--label")

    events = events_of(tmp_path)
    assert [event.type for event in events] == [
        *("started", "log", "shop.sold", "log", "log", "done")
    ]
    assert ended.stdout == "before\nafter\n4\n"


def test_labels_and_the_runs_id_are_the_given_ones(tmp_path: Path) -> None:
    name = script(tmp_path, "print(1)")

    run(tmp_path, "--run-id", "r1", "--label", "user=ada", name)
    again = run(tmp_path, "--run-id", "r1", name)

    with runcast.open_hub(f"sqlite:///{tmp_path}/runs.db") as hub:
        info = hub.info("r1")
    assert info.labels == {"user": "ada", "function": "script.py"}
    assert again.returncode == 2
    assert "r1" in again.stderr
    assert run(tmp_path, "--label", "user", name).returncode == 2
    assert run(tmp_path, "nothing.py").returncode == 2


def test_it_says_where_to_watch(tmp_path: Path) -> None:
    script(tmp_path, "print(1)")
    words = [RUNCAST, "run", "script.py"]

    ended = finish(words, tmp_path)

    assert ended.stdout == "1\n"
    # From whatever folder the other terminal is in.
    assert f"runcast serve --store sqlite:///{tmp_path}/.runcast/runs.db, then" in ended.stderr
    assert (tmp_path / ".runcast" / "runs.db").is_file()


def test_a_missing_script_is_the_only_thing_that_is_asked_for(tmp_path: Path) -> None:
    ended = finish([RUNCAST, "run"], tmp_path)

    assert ended.returncode == 2
    assert ended.stderr.endswith("the following arguments are required: SCRIPT\n")


# --- as without it --------------------------------------------------------------------------------

SCRIPTS = {
    "argv": "import sys\nprint(sys.argv, __name__, __file__, sys.path[0])\nprint(__spec__)",
    "exit code": "import sys\nprint('x')\nsys.exit(3)",
    "exit text": "import sys\nsys.exit('no more')",
    "exception": "def f():\n    raise ValueError('oh')\nf()",
    "chained": "try:\n    1/0\nexcept Exception as e:\n    raise RuntimeError('b') from e",
    "syntax": "print(1\n",
    "hook": "import sys\nsys.excepthook = lambda k, e, t: print('mine', k, t.tb_lineno)\n1/0",
    "atexit": "import atexit\natexit.register(print, 'bye')\nprint('hi')",
    "finally": "try:\n    raise KeyError(1)\nfinally:\n    print('clean')",
    "thread": "import threading, time\n"
    "threading.Thread(target=lambda: (time.sleep(0.1), print('late'))).start()\nprint('main')",
    "fork": "import os\nprint('a')\nif os.fork():\n    os.wait()\n    print('parent')\n"
    "else:\n    import logging; logging.warning('x'); print('child')",
    "spawn": "import multiprocessing as m\ndef f(n):\n    print('in', n); return n * 2\n"
    "if __name__ == '__main__':\n    with m.get_context('spawn').Pool(1) as p:\n"
    "        print(p.map(f, [1, 2]))",
    "pickle": "import pickle\nclass A: pass\nprint(type(pickle.loads(pickle.dumps(A()))).__name__)",
    "logging": "import logging\nlogging.warning('last resort')\nlogging.basicConfig()\n"
    "logging.error('e')\nprint(len(logging.getLogger().handlers))",
    "signal death": "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)",
    "close": "import sys\nprint('x')\nsys.stdout.close()",
    "redirect": "import os\nfd = os.open('file', os.O_CREAT | os.O_RDWR)\nprint('a')\n"
    "os.dup2(fd, 1)\nprint('into the file')\nos.lseek(fd, 0, 0)\nos.write(2, os.read(fd, 99))",
    "unicode": "print('\\u2603 \\U0001f600')\nimport sys; sys.stdout.buffer.write(b'\\xff\\n')",
    "stdin": "import sys\nprint(sys.stdin.read(), input.__name__)",
    "eof": "print(input('? '), input())",
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_script_does_what_it_does_without_runcast(name: str, tmp_path: Path) -> None:
    script(tmp_path, SCRIPTS[name])
    given = "one\n" if name in ("stdin", "eof") else None

    def binary(words: list[str]) -> tuple[int, str, str]:
        ended = subprocess.run(
            words,
            cwd=tmp_path,
            env=environment({"PYTHONUNBUFFERED": "1"}),  # as at a terminal
            stdin=subprocess.DEVNULL if given is None else None,
            input=given and given.encode(),
            capture_output=True,
            timeout=_END_S,
            check=False,
        )
        out, err = (text.decode("utf-8", "replace") for text in (ended.stdout, ended.stderr))
        return ended.returncode, out, err

    plain = binary([sys.executable, "script.py", "a", "-b"])
    watched = binary(command("script.py", "a", "-b"))

    assert watched == plain
    events = events_of(tmp_path)
    assert events[-1].type == ("done" if plain[0] == 0 else "failed")


def test_a_module_is_run_as_python_does(tmp_path: Path) -> None:
    (tmp_path / "pack").mkdir()
    script(tmp_path, "", "pack/__init__.py")
    script(tmp_path, "import sys\nprint(__name__, __package__, sys.argv[1:])", "pack/tool.py")

    plain = finish([sys.executable, "-m", "pack.tool", "x"], tmp_path)
    watched = run(tmp_path, "-m", "pack.tool", "x")

    assert (watched.returncode, watched.stdout) == (0, plain.stdout)


def test_nothing_in_the_working_directory_stands_for_runcasts_own_modules(tmp_path: Path) -> None:
    script(tmp_path, "raise SystemExit('the wrong one')", "msgspec.py")
    (tmp_path / "sub").mkdir()
    script(tmp_path, "print('ok')", "sub/script.py")

    assert run(tmp_path, "sub/script.py").stdout == "ok\n"


def test_a_script_that_closes_all_descriptors_finds_only_its_own_data_in_its_files(
    tmp_path: Path,
) -> None:
    name = script(
        tmp_path,
        """
import logging, os, runcast, sys
os.closerange(3, 64)
files = [open(f"file{number}", "w") for number in range(8)]
print("printed")
print("warned", file=sys.stderr)
logging.warning("logged")
try:
    runcast.log("emitted")
except runcast.errors.RunClosed as error:
    print(error)
for file in files:
    file.write("mine")
    file.close()
""",
    )

    ended = run(tmp_path, name)

    assert [(tmp_path / f"file{number}").read_text() for number in range(8)] == ["mine"] * 8
    refused = "this process has closed the connection to the server"
    assert (ended.returncode, ended.stdout) == (0, f"printed\n{refused}\n")
    assert ended.stderr == "warned\nWARNING:root:logged\n"
    lines = {message for _, _, message in logs_of(events_of(tmp_path))}
    assert lines >= {"printed", "warned", refused}


def test_a_pipe_that_is_full_and_does_not_block_gets_everything(tmp_path: Path) -> None:
    name = script(
        tmp_path,
        """
import fcntl, pathlib, sys, termios
print("end" * 1000)
# What is left when the line was read is at most its mark.
while int.from_bytes(fcntl.ioctl(1, termios.FIONREAD, bytes(4)), sys.byteorder) > 1000:
    pass
pathlib.Path("news").write_text("was read")
""",
    )
    os.mkfifo(tmp_path / "news")
    news = os.open(tmp_path / "news", os.O_RDONLY | os.O_NONBLOCK)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b".")
    with started(tmp_path, name, stdout=writing):
        os.close(writing)
        select.select([news], [], [], _END_S)
        with open(reading, encoding="utf-8") as output:
            text = output.read()
    os.close(news)

    assert text.strip(".") == "end" * 1000 + "\n"


def test_a_reader_that_goes_away_ends_the_script_as_without(tmp_path: Path) -> None:
    script(tmp_path, "while True:\n    print('on')")
    ends = []

    for words in ([sys.executable, "script.py"], command("script.py")):
        with started(tmp_path, words=words) as process:
            first_line(process)
            assert process.stdout is not None
            process.stdout.close()
            assert process.stderr is not None
            ends.append(("BrokenPipeError" in process.stderr.read(), process.wait(_END_S) > 0))

    assert ends == [(True, True)] * 2


def test_ctrl_c_in_the_middle_of_printing_prints_nothing_twice(tmp_path: Path) -> None:
    script(tmp_path, "n = 0\nwhile True:\n    print(n)\n    n += 1")

    with started(tmp_path, "script.py", start_new_session=True) as process:
        assert process.stdout is not None
        assert os.read(process.stdout.fileno(), 2) == b"0\n"  # a line reader may take more
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=_END_S)

    assert out.splitlines() == [str(n + 1) for n in range(len(out.splitlines()))]
    events = events_of(tmp_path)
    lines = [int(text) for name, _, text in logs_of(events) if name == "stdout"]
    assert lines == list(range(len(lines)))


# --- signals --------------------------------------------------------------------------------------

SLOW = """
import signal, sys, time
try:
    print("begun", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print("interrupted")
    raise
"""


def test_a_script_that_is_killed_has_failed_and_we_end_as_it_did(tmp_path: Path) -> None:
    script(tmp_path, "import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(60)")

    with started(tmp_path, "script.py") as process:
        os.kill(int(first_line(process)), signal.SIGKILL)
        assert process.wait(WAIT_S) == -signal.SIGKILL

    assert events_of(tmp_path)[-1].data == {
        **{"message": "the script was killed by SIGKILL", "code": "killed", "retryable": False}
    }


def test_if_we_are_killed_the_script_is_too_and_the_run_is_lost(tmp_path: Path) -> None:
    script(tmp_path, "import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(60)")

    with started(tmp_path, "script.py") as process:
        pid = int(first_line(process))
        handle = os.pidfd_open(pid)
        process.kill()
        ready, _, _ = select.select([handle], [], [], WAIT_S)
        os.close(handle)

    assert ready
    end = events_of(tmp_path)[-1]
    assert (end.type, end.data["code"]) == ("failed", "lost")


@pytest.mark.parametrize(
    ("number", "code", "reason"),
    [
        (signal.SIGTERM, -signal.SIGTERM, "ended by SIGTERM"),
        (signal.SIGINT, -signal.SIGINT, "interrupted"),
    ],
)
def test_signals_reach_the_script_and_end_us_in_the_same_way(
    tmp_path: Path, number: signal.Signals, code: int, reason: str
) -> None:
    script(tmp_path, SLOW)

    with started(tmp_path, "script.py", start_new_session=True) as process:
        assert first_line(process) == "begun"
        process.send_signal(number)
        assert process.wait(WAIT_S) == code
        rest = process.stdout.read() if process.stdout is not None else ""

    assert rest == ("interrupted\n" if number == signal.SIGINT else "")
    end = events_of(tmp_path)[-1]
    assert (end.type, end.data) == ("cancelled", {"reason": reason})


def test_a_script_that_handles_sigterm_ends_as_it_likes(tmp_path: Path) -> None:
    handler = "import signal, sys\nsignal.signal(15, lambda *_: sys.exit(0))\n"
    script(tmp_path, handler + SLOW)

    with started(tmp_path, "script.py") as process:
        first_line(process)
        process.terminate()
        assert process.wait(WAIT_S) == 0

    assert events_of(tmp_path)[-1].type == "done"


def test_a_watcher_cancels_and_the_script_cleans_up(tmp_path: Path) -> None:
    script(tmp_path, SLOW)

    with started(tmp_path, "--run-id", "r1", "script.py") as process:
        first_line(process)
        with runcast.open_hub(f"sqlite:///{tmp_path}/runs.db") as hub:
            hub.cancel("r1", "enough")
        process.wait(WAIT_S)

    events = events_of(tmp_path)
    assert ("stdout", "info", "interrupted") in logs_of(events)
    assert (events[-1].type, events[-1].data) == ("cancelled", {"reason": "enough"})


# --- questions ------------------------------------------------------------------------------------


def test_a_watcher_answers_input(tmp_path: Path) -> None:
    script(
        tmp_path,
        "print('hello', input('who? '), input())\n"
        "try:\n    input()\nexcept EOFError:\n    print('nobody')",
    )

    with started(tmp_path, "--run-id", "r1", "script.py") as process:
        with runcast.open_hub(f"sqlite:///{tmp_path}/runs.db") as hub:
            answers = iter(
                [
                    {"type": "response", "args": "ada"},
                    {"type": "response", "args": 36},
                    {"type": "reject"},
                ]
            )
            while process.poll() is None and not hub.runs():
                look_again()
            for event in hub.watch("r1"):
                if event.type == "interrupt_request":
                    hub.answer("r1", event.data["interrupt_id"], next(answers))
        out, _ = process.communicate(timeout=WAIT_S)

    assert out == "who? hello ada 36\nnobody\n"
    asked = [event.data for event in events_of(tmp_path) if event.type == "interrupt_request"]
    assert asked[0]["message"] == "who?"


@contextlib.contextmanager
def in_a_terminal(folder: Path, *arguments: str) -> Iterator[tuple[int, int]]:
    """Start a script as a run in a terminal of its own; yield its process id and the terminal."""
    pid, terminal = pty.fork()
    if not pid:
        os.chdir(folder)
        os.execve(RUNCAST, command(*arguments), environment())
    try:
        yield pid, terminal
    finally:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        os.close(terminal)


def read_until(terminal: int, text: str) -> str:
    seen = ""
    while text not in seen:
        ready, _, _ = select.select([terminal], [], [], _END_S)
        assert ready, seen
        seen += os.read(terminal, 65536).decode()
    return seen


def test_the_person_at_the_terminal_answers_input_as_ever(tmp_path: Path) -> None:
    script(tmp_path, "print('hello', input('who? '))")

    with in_a_terminal(tmp_path, "script.py") as (pid, terminal):
        read_until(terminal, "who? ")
        os.write(terminal, b"bob\n")
        read_until(terminal, "hello bob")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

    answers = [event.data for event in events_of(tmp_path) if event.type == "interrupt_response"]
    assert (answers[0]["by"], answers[0]["answer"]["args"]) == ("terminal", "bob")


def test_the_terminal_shows_the_line_of_a_watcher_as_if_it_had_been_typed(tmp_path: Path) -> None:
    script(tmp_path, "print([input('who? ')])")

    with in_a_terminal(tmp_path, "--run-id", "r1", "script.py") as (_, terminal):
        read_until(terminal, "who? ")
        with runcast.open_hub(f"sqlite:///{tmp_path}/runs.db") as hub:
            for event in hub.watch("r1"):
                if event.type == "interrupt_request":
                    answer = {"type": "response", "args": "ada\x1b[2J"}
                    hub.answer("r1", event.data["interrupt_id"], answer)
                    break
        shown = read_until(terminal, "]\r\n")

    assert shown == "ada\ufffd[2J\r\n['ada\\x1b[2J']\r\n"


def test_ctrl_c_before_the_script_begins_shows_no_traceback_of_ours(tmp_path: Path) -> None:
    script(tmp_path, "print('begun')")
    (tmp_path / "slow").mkdir()
    (tmp_path / "slow" / "msgspec.py").write_text(
        "import time\nprint('importing', flush=True)\ntime.sleep(60)\n"
    )
    program = (
        "import sys, os\nimport runcast._cli as cli\n"
        "os.environ['PYTHONPATH'] = 'slow'\nsys.exit(cli.main(sys.argv[1:]))"
    )
    words = [sys.executable, "-c", program, *command("script.py")[1:]]

    with started(tmp_path, words=words) as process:
        assert first_line(process) == "importing"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=_END_S)

    assert (process.returncode, out, err) == (-signal.SIGINT, "", "")
    assert events_of(tmp_path)[-1].data == {"reason": "interrupted"}


def test_ctrl_c_at_the_terminal_interrupts_the_script_once(tmp_path: Path) -> None:
    counting = "import signal\ncount = []\n" + SLOW.replace("raise", "time.sleep(0.3)\n    raise")
    script(tmp_path, counting)

    with in_a_terminal(tmp_path, "script.py") as (pid, terminal):
        read_until(terminal, "begun")
        os.write(terminal, b"\x03")
        read_until(terminal, "KeyboardInterrupt")
        with contextlib.suppress(OSError):
            while os.read(terminal, 65536):
                pass
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGINT

    end = events_of(tmp_path)[-1]
    assert (end.type, end.data) == ("cancelled", {"reason": "interrupted"})
