"""What is published with the project: the package, its page, the image, the workflows."""

import json
import os
import re
import shlex
import shutil
import ssl
import subprocess
import sys
import tomllib
import urllib.request
import zipfile
from pathlib import Path

import pytest
import yaml

from runcast._cli import make_parser

ROOT = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.tree

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
URL = PROJECT["urls"]["Source"]


def test_the_version_stands_in_one_place() -> None:
    version = PROJECT["version"]
    files = [*ROOT.joinpath("src").rglob("*.py"), ROOT / "dev.py", ROOT / "mkdocs.yml"]

    assert [file for file in files if f'"{version}"' in file.read_text("utf-8")] == []


def test_the_types_of_the_typescript_client_are_those_of_python() -> None:
    made = [sys.executable, "web/generate.py", "--check"]
    said = subprocess.run(made, cwd=ROOT, capture_output=True, text=True, check=False)

    assert (said.returncode, said.stderr) == (0, "")


def test_every_workflow_and_template_is_valid_yaml() -> None:
    files = sorted((ROOT / ".github").rglob("*.yml"))
    assert {"ci.yml", "docs.yml", "release.yml", "fault.yml", "wish.yml"} <= {f.name for f in files}

    for file in files:
        document = yaml.safe_load(file.read_text("utf-8"))
        assert isinstance(document, dict), file
        for job in document.get("jobs", {}).values():
            for step in job["steps"]:
                assert ("uses" in step) != ("run" in step), (file, step)
                assert re.fullmatch(r"[\w/-]+@[\w./]+", step.get("uses", "a/b@v1")), (file, step)


def test_commands_that_workflows_run_exist() -> None:
    listed = subprocess.check_output([sys.executable, ROOT / "dev.py", "help"], text=True)
    known = {line.split()[0] for line in listed.splitlines()[2:]}
    used = {
        command
        for file in (ROOT / ".github" / "workflows").glob("*.yml")
        for command in re.findall(r"dev\.py (\w+)", file.read_text("utf-8"))
    }

    assert used
    assert used <= known


def test_a_library_writes_nothing_to_the_terminal_by_itself() -> None:
    program = "import logging, runcast; logging.getLogger('runcast.hub').warning('heard')"

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert done.stdout + done.stderr == ""


# --- the image ------------------------------------------------------------------------------------


def dockerfile() -> list[tuple[str, str]]:
    """Return the instructions of the Dockerfile, continued lines joined."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text("utf-8"), flags=re.M)
    lines = text.replace("\\\n", " ").splitlines()
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines) if word]


def test_the_image_copies_what_exists_and_does_not_run_as_root() -> None:
    instructions = dockerfile()

    for word, rest in instructions:
        if word == "COPY" and not rest.startswith("--from"):
            assert all((ROOT / source).exists() for source in rest.split()[:-1]), rest
    words = [word for word, _ in instructions]
    assert words.index("USER") < words.index("CMD")
    assert all(":latest" not in rest for word, rest in instructions if word == "FROM")


def test_the_command_of_the_image_is_one_that_runcast_knows() -> None:
    command = json.loads(next(rest for word, rest in dockerfile() if word == "CMD"))
    assert command[0] == "runcast"

    arguments = make_parser().parse_args(command[1:])

    assert arguments.host == "0.0.0.0"


@pytest.mark.heavy
def test_the_steps_of_the_image_give_a_server_that_answers(tmp_path: Path) -> None:
    """No engine is needed: the image's own commands run in a virtual environment."""
    app, data, venv = tmp_path / "app", tmp_path / "data", tmp_path / "venv"
    source, wheels = tmp_path / "src", tmp_path / "wheels"
    for folder in (app, data, source):
        folder.mkdir()
    uv = shutil.which("uv", path=str(ROOT / ".tools" / "bin"))
    # A proxy of the machine may be trusted by the machine alone.
    trust = ["--system-certs"] if ssl.get_default_verify_paths().cafile else []
    seed = [*trust, "--seed", "--python", sys.executable, str(venv)]
    subprocess.run([str(uv), "venv", "--quiet", *seed], check=True)
    environment = {"PATH": f"{venv / 'bin'}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    environment["RUNCAST_TOKEN"] = "a-token-of-the-test"
    command: list[str] = []
    for word, rest in dockerfile():
        if word == "COPY" and not rest.startswith("--from"):
            *names, target = rest.split()
            for name in names:
                if (ROOT / name).is_dir():
                    shutil.copytree(ROOT / name, source / target)
                else:
                    shutil.copy(ROOT / name, source)
        elif word == "RUN":
            # Users and folders are the container's business.
            step = rest.partition("&& useradd")[0].replace("/wheels", str(wheels))
            subprocess.run(["bash", "-euc", step], cwd=source, env=environment, check=True)
        elif word == "ARG":
            environment |= dict([rest.split("=", 1)])
        elif word == "ENV":
            pairs = shlex.split(rest.replace("/data", str(data)))
            environment |= dict(pair.split("=", 1) for pair in pairs)
        elif word == "CMD":
            command = json.loads(rest)
    command[command.index("--port") + 1] = "0"
    command[command.index("0.0.0.0")] = "127.0.0.1"

    with subprocess.Popen(
        command, cwd=app, env=environment, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            said = server.stdout.readline()
            url = re.search(r"http://127\.0\.0\.1:\d+", said)
            assert url is not None, said
            with urllib.request.urlopen(f"{url.group()}/healthz", timeout=5) as answer:
                assert answer.status == 200
        finally:
            server.terminate()
    assert (data / "runs.db").exists()


# --- the page on a package index ------------------------------------------------------------------


@pytest.mark.heavy
def test_links_of_the_published_readme_are_whole_and_lead_somewhere(tmp_path: Path) -> None:
    uv = shutil.which("uv", path=str(ROOT / ".tools" / "bin"))
    build = ["build", "--quiet", "--wheel", "--no-build-isolation", "--python", sys.executable]
    subprocess.run([str(uv), *build, "--out-dir", tmp_path, ROOT], check=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        metadata = next(name for name in wheel.namelist() if name.endswith("/METADATA"))
        readme = wheel.read(metadata).decode().partition("\n\n")[2]

    links = re.findall(r"\]\(([^)]+)\)", readme)

    assert len(links) > 20
    for link in links:
        if link.startswith("#"):
            continue
        assert link.startswith("https://"), link
        for base in (
            f"{URL}/blob/v",
            f"{URL.replace('github.com', 'raw.githubusercontent.com')}/v",
        ):
            if link.startswith(base):
                path = link[len(base) :].partition("/")[2].partition("#")[0]
                assert (ROOT / path).exists(), link
