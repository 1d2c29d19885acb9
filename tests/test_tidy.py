"""House rules that run: what the documents name exists, and the code keeps to its own form."""

from __future__ import annotations

import argparse
import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import streamdrift
from streamdrift.cli import parser
from streamdrift.settings.fields import CONFIG, LEAVES, SECTIONS, dotted, environment_name
from streamdrift.telemetry import Metrics

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "streamdrift"
MODULES = sorted(PACKAGE.rglob("*.py"))
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
WRITTEN_BY_HAND = [page for page in PAGES if page.name != "settings.md"]
LINES_MAX = 400
STEPS_MAX = 8
FENCED = re.compile(r"^```[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
SUFFIXES = "md|py|yml|yaml|json|toml|txt|css|sqlite3|gz"
FOLDERS = "streamdrift|tests|docs|deploy|benchmarks|tools|requirements"

by_name = pytest.mark.parametrize("page", WRITTEN_BY_HAND, ids=lambda page: page.name)


def code(page: Path) -> Iterator[str]:
    """Each line of the code blocks without its comment, and each piece of code in the text."""
    text = page.read_text(encoding="utf-8")
    for block in FENCED.findall(text):
        yield from (re.sub(r"(^|\s)#.*", "", line) for line in block.splitlines())
    yield from INLINE.findall(FENCED.sub("", text))


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_each_test_file_has_a_name_of_its_own() -> None:
    """Two files of one name and what is compiled of them stand for each other: pytest refuses the second."""
    names = [path.name for path in sorted((ROOT / "tests").rglob("test_*.py"))]
    assert len(names) == len(set(names))


@by_name
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCED.sub("", page.read_text(encoding="utf-8"))):
        if not target.startswith(("http://", "https://", "mailto:")):
            path, _, anchor = target.partition("#")
            linked = (page.parent / path).resolve() if path else page
            assert linked.exists(), target
            assert not anchor or anchor in anchors(linked), target


@by_name
def test_paths_that_are_named_exist(page: Path) -> None:
    known = {path.name for path in files()}
    for piece in code(page):
        if re.fullmatch(rf"(?:[\w.-]+/)*[\w.-]+\.(?:{SUFFIXES})|(?:{FOLDERS})(?:/[\w.-]+)+/?", piece):
            places = (ROOT / piece, PACKAGE / piece, ROOT / "docs" / piece)
            assert any(place.exists() for place in places) or ("/" not in piece and piece in known), piece


def test_make_targets_that_are_named_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    named = {name for page in PAGES for piece in code(page) for name in re.findall(r"^\s*make ([a-z]+)", piece)}
    assert named <= targets
    assert {"demo", "test", "check", "bench"} <= set(re.findall(r"^([a-z]+):.*## ", makefile, re.MULTILINE))


def commands(top: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    found: dict[str, argparse.ArgumentParser] = {}
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            found |= action.choices
    return found


@by_name
def test_commands_that_are_named_exist(page: Path) -> None:
    top = parser()
    for piece in code(page):
        for name, given in re.findall(r"(?:^|\s)streamdrift ([a-z]+)([^|;&]*)", piece):
            assert name in commands(top), piece
            command, rest = commands(top)[name], given
            while (actions := commands(command)) and (action := re.match(r" ([a-z]+)", rest)):
                command, rest = actions[action[1]], rest[action.end() :]
            assert set(re.findall(r" (--[a-z-]+)", rest)) <= set(command._option_string_actions), piece


@by_name
def test_settings_that_are_named_exist(page: Path) -> None:
    variables = {environment_name(place) for place in [*LEAVES, *SECTIONS]} | {CONFIG}
    variables |= {f"{environment_name(place)}_FILE" for place, leaf in LEAVES.items() if leaf.secret}
    settings = {dotted(place) for place in [*LEAVES, *SECTIONS]}
    sections = "|".join(place[0] for place in SECTIONS if len(place) == 1)
    for name in re.findall(r"STREAMDRIFT_[A-Z0-9_]+(?!\w|…)", page.read_text(encoding="utf-8")):
        assert re.sub(r"OVERRIDES__[A-Z0-9_]+?__", "OVERRIDES__*__", name) in variables or name.endswith("_"), name
    for piece in code(page):
        if re.fullmatch(rf"(?:{sections})(?:\.[a-z0-9_]+)+", piece) and not re.search(rf"\.(?:{SUFFIXES})$", piece):
            assert piece in settings, piece


def test_every_metric_is_explained() -> None:
    operations = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    endings = {"counter": "_total", "info": "_info"}
    for family in Metrics().registry.collect():
        if family.name.startswith("streamdrift_"):
            assert f"`{family.name}{endings.get(family.type, '')}" in operations, family.name


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_says_what_it_is_and_can_be_read_at_a_sitting(module: Path) -> None:
    text = module.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text)), "no docstring"
    assert text.count("\n") <= LINES_MAX


def test_names_say_what_a_thing_is() -> None:
    vague = re.compile(r"util|(?<!alert)manager|helper", re.IGNORECASE)  # Alertmanager is called so
    for module in MODULES:
        nodes = ast.walk(ast.parse(module.read_text(encoding="utf-8")))
        defined = [node.name for node in nodes if isinstance(node, (ast.ClassDef, ast.FunctionDef))]
        names = [str(module.relative_to(PACKAGE)), *defined]
        assert not [name for name in names if vague.search(name)], module


def test_the_changelog_knows_this_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[(Unreleased|{re.escape(streamdrift.__version__)})\]", changelog, re.MULTILINE)


def test_the_paths_for_contributors_are_short() -> None:
    for section in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("\n## ")[1:]:
        assert len(re.findall(r"^\d+\. ", section, re.MULTILINE)) <= STEPS_MAX, section.splitlines()[0]


def files() -> list[Path]:
    """Every file of the project that git knows."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / line for line in listed.splitlines() if (ROOT / line).is_file()]


def test_nothing_names_one_machine_or_one_registry() -> None:
    machine = re.compile(r"(?<![\w.}])/(?:work|root|home)/|pythonhosted|pypi\.org|npmjs\.org|crates\.io/|maven\.org")
    for path in files():
        if path != Path(__file__) and path.suffix not in {".gz", ".png"}:
            found = machine.search(path.read_text(encoding="utf-8"))
            assert not found, f"{path}: {found[0] if found else ''}"
    for page in PAGES:
        assert "/tmp/" not in page.read_text(encoding="utf-8"), page


def test_imports_go_downward() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


RUNS_WHAT_IT_READS = {"cloudpickle", "dill", "joblib", "marshal", "multiprocessing", "pickle", "shelve", "yaml"}
"""Modules that make objects of any class of what they read; multiprocessing does between processes."""
SAFE_YAML = {"yaml.compose_all", "yaml.safe_load_all"}
"""What alone may be called of it, where OpenSLO files are read."""
CALLS = {"eval", "exec", "__import__", "load_module", "np.load", "numpy.load"}


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_nothing_runs_what_it_reads(module: Path) -> None:
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        place = f"{module.name}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Import):
            allowed = {"yaml"} if module == PACKAGE / "slo" / "document.py" else set()
            assert not {alias.name.split(".")[0] for alias in node.names} & RUNS_WHAT_IT_READS - allowed, place
        elif isinstance(node, ast.ImportFrom):
            assert str(node.module).split(".")[0] not in RUNS_WHAT_IT_READS, place
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in CALLS, place
            assert not called.startswith("yaml.") or called in SAFE_YAML, place
            loaders = [keyword.value for keyword in node.keywords if keyword.arg == "Loader"]
            assert all(ast.unparse(loader) == "yaml.SafeLoader" for loader in loaders), place
            assert not any(keyword.arg == "allow_pickle" for keyword in node.keywords), place
            if called.endswith("import_module"):
                own = ast.unparse(node.args[0]).startswith("f'{__name__}.")  # of this very package
                assert own or isinstance(node.args[0], ast.Constant), f"{place}: a module by a name that is read"
