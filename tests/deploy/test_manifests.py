"""deploy/: documents have the forms of Compose and Kubernetes, and runcast knows their words."""

import json
import runpy
from dataclasses import fields
from importlib.resources import files
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from runcast import Function, Settings
from runcast._cli import make_parser
from tests.deploy.composed import NODES, compose_file
from tests.documents import ROOT

pytestmark = pytest.mark.tree

MANIFESTS = [
    document
    for file in sorted((ROOT / "deploy" / "kubernetes").glob("*.yaml"))
    for document in yaml.safe_load_all(file.read_text("utf-8"))
    if document["kind"] != "Kustomization"
]
KINDS = [document["kind"] for document in MANIFESTS]
NOT_SETTINGS = {"RUNCAST_TOKEN", "RUNCAST_STORE"}


def manifest(kind: str) -> dict[str, Any]:
    """Return the only manifest of a kind."""
    found: dict[str, Any]
    (found,) = (document for document in MANIFESTS if document["kind"] == kind)
    return found


def container() -> dict[str, Any]:
    """Return the only container of the Deployment."""
    (only,) = manifest("Deployment")["spec"]["template"]["spec"]["containers"]
    found: dict[str, Any] = only
    return found


def grace_s(settings: dict[str, str]) -> float:
    """Return how long a node may take from SIGTERM until it has cancelled all runs, seconds."""
    loaded = Settings.load(
        environ={},
        drain_s=float(settings["RUNCAST_DRAIN_S"]),
        shutdown_grace_s=float(settings["RUNCAST_SHUTDOWN_GRACE_S"]),
    )
    grace_s = loaded.shutdown_grace_s + loaded.cancel_grace_s + loaded.terminate_grace_s
    return loaded.drain_s + grace_s + 1


def test_the_compose_file_has_the_form_of_its_specification() -> None:
    schema = files("check_jsonschema").joinpath("builtin_schemas/vendor/compose-spec.json")

    jsonschema.validate(compose_file(), json.loads(schema.read_text("utf-8")))


@pytest.mark.parametrize("version", ["1.30", "1.37"])
@pytest.mark.parametrize("document", MANIFESTS, ids=KINDS)
def test_each_manifest_has_the_form_of_its_kind(document: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(document, version, strict=True)


def test_kustomize_names_every_manifest() -> None:
    folder = ROOT / "deploy" / "kubernetes"
    listed = yaml.safe_load((folder / "kustomization.yaml").read_text("utf-8"))["resources"]

    assert {*listed, "kustomization.yaml"} == {file.name for file in folder.iterdir()}


def test_commands_and_settings_are_those_that_runcast_knows() -> None:
    nodes = [compose_file()["services"][name] for name in NODES]
    pod = container()
    commands = [pod["args"], *(node["command"] for node in nodes)]
    names = {name for node in nodes for name in node["environment"]}
    names |= {each["name"] for each in pod["env"]}

    for program, *arguments in commands:
        assert program == "runcast"
        make_parser().parse_args(arguments)
    known = {f"RUNCAST_{field.name.upper()}" for field in fields(Settings)}
    assert names - NOT_SETTINGS <= known


def test_the_example_has_functions_that_runcast_serves() -> None:
    module = runpy.run_path(str(ROOT / "deploy" / "work.py"))

    assert {name for name, each in module.items() if isinstance(each, Function)} == {
        "count",
        "ship",
        "tend",
    }


def test_a_node_is_given_longer_than_it_needs_to_end() -> None:
    for name in NODES:
        node = compose_file()["services"][name]
        assert int(node["stop_grace_period"].removesuffix("s")) > grace_s(node["environment"])
    pod = container()
    settings = {each["name"]: each.get("value", "") for each in pod["env"]}
    given = manifest("Deployment")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert given > grace_s(settings)


def test_probes_name_a_host_that_the_server_allows() -> None:
    pod = container()
    allowed = pod["args"][pod["args"].index("--allow-host") + 1]

    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        (header,) = pod[probe]["httpGet"]["httpHeaders"]
        assert (header["name"], header["value"]) == ("Host", allowed)


def test_what_selects_the_pods_names_their_label() -> None:
    labels = manifest("Deployment")["spec"]["template"]["metadata"]["labels"]

    assert manifest("Service")["spec"]["selector"] == labels
    for kind in ("Deployment", "PodDisruptionBudget"):
        assert manifest(kind)["spec"]["selector"]["matchLabels"] == labels
