"""The image and the Deployment agree; hadolint and the image's own rules hold."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml

from scaler import __version__
from scaler.settings import Settings

ROOT = Path(__file__).parents[1]
DEPLOYMENT = yaml.safe_load((ROOT / "manifests/base/deployment.yaml").read_text())
POD: dict[str, Any] = DEPLOYMENT["spec"]["template"]["spec"]
CONTAINER: dict[str, Any] = POD["containers"][0]


def stages() -> list[list[tuple[str, str]]]:
    """The Dockerfile as instructions and their text, one list per stage."""
    lines = (line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#"))
    found: list[list[tuple[str, str]]] = []
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        instruction, _, text = line.strip().partition(" ")
        if instruction == "FROM":
            found.append([])
        if found and instruction:
            found[-1].append((instruction, text))
    return found


FINAL = stages()[-1]


def last(instruction: str) -> str:
    """Text of the final stage's last such instruction."""
    return [text for name, text in FINAL if name == instruction][-1]


ENVIRONMENT = dict(word.split("=", 1) for name, text in FINAL if name == "ENV" for word in shlex.split(text))


def test_the_dockerfile_passes_hadolint() -> None:
    hadolint = shutil.which("hadolint", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if not hadolint:
        pytest.skip("hadolint is not installed")
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_deployment_runs_the_command_of_the_image() -> None:
    assert "command" not in CONTAINER
    assert CONTAINER["args"] == json.loads(last("CMD"))
    assert json.loads(last("ENTRYPOINT")) == list(
        tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    )


def test_the_deployment_runs_as_the_user_of_the_image() -> None:
    security = POD["securityContext"]
    assert last("USER") == f"{security['runAsUser']}:{security['runAsGroup']}"
    assert security["runAsUser"] > 0
    assert security["fsGroup"] == security["runAsGroup"]


def test_the_deployment_opens_the_ports_that_the_image_listens_on() -> None:
    ports = {port["name"]: str(port["containerPort"]) for port in CONTAINER["ports"]}
    assert set(ports.values()) == set(last("EXPOSE").split())
    assert ENVIRONMENT["FORESAIL_GRPC_LISTEN"] == f"0.0.0.0:{ports['grpc']}"
    assert ENVIRONMENT["FORESAIL_HTTP_LISTEN"] == f"0.0.0.0:{ports['http']}"
    probes = (CONTAINER[f"{kind}Probe"] for kind in ("startup", "readiness", "liveness"))
    assert all(str(probe["grpc"]["port"]) == ports["grpc"] for probe in probes)


def test_the_deployment_mounts_the_folders_that_the_image_reads_and_writes() -> None:
    mounts = {mount["name"]: mount for mount in CONTAINER["volumeMounts"]}
    assert mounts["var"]["mountPath"] == ENVIRONMENT["FORESAIL_VAR"]
    assert mounts["config"]["mountPath"] == str(PurePosixPath(ENVIRONMENT["FORESAIL_CONFIG"]).parent)
    assert set(mounts) == {volume["name"] for volume in POD["volumes"]}
    assert not any("subPath" in mount for mount in mounts.values())  # a subPath never sees a change


def test_with_a_read_only_root_only_mounted_volumes_are_written() -> None:
    assert CONTAINER["securityContext"]["readOnlyRootFilesystem"]
    writable = {mount["mountPath"] for mount in CONTAINER["volumeMounts"] if not mount.get("readOnly")}
    assert writable == {ENVIRONMENT["FORESAIL_VAR"], "/tmp"}  # noqa: S108 - a mount of the pod, named
    assert ENVIRONMENT["PYTHONDONTWRITEBYTECODE"] == "1"


def test_the_image_sets_only_settings_that_exist() -> None:
    known = {f"FORESAIL_{name.upper()}" for name in Settings.model_fields}
    if "FORESAIL_CONFIG" not in known:
        pytest.skip("settings are not read from a file yet")
    assert {name for name in ENVIRONMENT if name.startswith("FORESAIL_")} <= known


def test_all_byte_code_is_compiled_where_the_image_is_built() -> None:
    compiled = [text for stage in stages() for name, text in stage if name == "RUN" and "compileall" in text]
    assert len(compiled) == 2, "the environment, and the standard library"


def test_nothing_to_build_with_is_left_in_the_final_stage() -> None:
    runs = " ".join(text for name, text in FINAL if name == "RUN")
    assert "pip uninstall --yes" in runs
    assert "ensurepip" in runs
    assert "apt-get" not in runs
    assert "pip install" not in runs
    copies = [text for name, text in FINAL if name == "COPY"]
    assert copies == ["--from=build /opt/foresail /opt/foresail"]


def test_versions_come_from_the_constraints() -> None:
    installs = [text for name, text in stages()[0] if name == "RUN" and "install" in text]
    assert all("--constraint constraints.txt" in text or "--no-deps" in text for text in installs)


def test_the_builder_is_sent_what_it_copies_and_nothing_else() -> None:
    sources = {word for name, text in stages()[0] if name == "COPY" for word in shlex.split(text)[:-1]}
    rules = (ROOT / ".dockerignore").read_text().splitlines()
    assert {rule[1:] for rule in rules if rule.startswith("!")} == sources
    assert all((ROOT / source).exists() for source in sources)


def test_the_manifests_deploy_the_version_of_this_tree() -> None:
    base = yaml.safe_load((ROOT / "manifests/base/kustomization.yaml").read_text())
    assert [(image["name"], image["newTag"]) for image in base["images"]] == [(CONTAINER["image"], __version__)]
