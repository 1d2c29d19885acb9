"""What is built and shipped: wheels, their workflow, the checks of the crate."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml

from streamdrift import kernels

ROOT = Path(__file__).parents[1]
WORKFLOW = ROOT / ".github" / "workflows" / "wheels.yml"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def run(*command: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, command)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_workflow_is_one() -> None:
    done = run("-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", WORKFLOW)
    assert done.returncode == 0, done.stdout


def test_the_workflow_builds_for_every_platform_and_checks_what_it_built() -> None:
    jobs = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"]
    runners = jobs["wheel"]["strategy"]["matrix"]["runner"]
    assert {re.sub(r"[\d.]+", "", runner) for runner in runners} == {"ubuntu-", "ubuntu--arm", "macos-", "macos--intel"}
    wheels = PROJECT["tool"]["cibuildwheel"]
    assert "skip" not in wheels  # manylinux and musllinux are both built unless one is left out
    tool = re.search(r"\{project\}/(\S+) compiled$", wheels["test-command"])
    assert tool
    assert (ROOT / tool[1]).exists()
    steps = " ".join(step.get("run", "") for step in jobs["sdist"]["steps"])
    assert f"{tool[1]} compiled" in steps
    assert f"{tool[1]} reference" in steps


def test_a_wheel_is_for_every_python_that_the_project_is_for() -> None:
    oldest = re.sub(r"\D", "", PROJECT["project"]["requires-python"])
    assert PROJECT["tool"]["distutils"]["bdist_wheel"]["py_limited_api"] == f"cp{oldest}"
    crate = tomllib.loads((ROOT / "streamdrift/kernels/Cargo.toml").read_text(encoding="utf-8"))
    assert f"abi3-py{oldest}" in crate["dependencies"]["pyo3"]["features"]
    assert PROJECT["tool"]["cibuildwheel"]["build"] == f"cp{oldest}-*"


def test_an_installed_package_is_checked_and_a_wrong_engine_told() -> None:
    engine = kernels.engine().name
    other = {"compiled": "reference", "reference": "compiled"}[engine]
    done = run(ROOT / "tools" / "check_installed.py", engine)
    assert (done.returncode, done.stdout) == (0, f"{kernels.told()}; all is as it should be\n"), done.stderr
    wrong = run(ROOT / "tools" / "check_installed.py", other)
    assert wrong.returncode == 1
    assert f"the engine is {engine}, and not {other}" in wrong.stdout


def test_the_crate_s_checks_are_left_out_in_a_plain_word_where_there_is_no_cargo(tmp_path: Path) -> None:
    for check in ("static", "test"):
        done = run(ROOT / "tools" / "rust_checks.py", check, PATH=str(tmp_path))
        assert done.returncode == 0
        assert done.stdout == f"Rust {check}: left out, for cargo isn't here, and so the compiled engine isn't either\n"
