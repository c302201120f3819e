"""Faults that somebody might make, each as a change of the package, and the tests that must see it.

Nothing of the checkout is changed: a mutant lives in a copy, which its tests import instead.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parents[2]
PACKAGE = "layers/pipeline/embedpipe"
#: What tests read of the repository.
_COPIED = (PACKAGE, "functions", "tests", "events", "pyproject.toml", "template.yaml")
_LONGEST_S = 600
_HEADING = re.compile(r"^-- [a-z_]+ --$", re.MULTILINE)


@dataclass(frozen=True)
class Edit:
    """One place to change; `old` must be there exactly once.

    Attributes
    ----------
    file
        Below the package; with a leading slash, below the repository.
    statement
        The statement to change, in a file that has several.
    """

    file: str
    old: str
    new: str
    statement: str = ""

    @property
    def path(self) -> str:
        """The file, below the repository."""
        return self.file[1:] if self.file.startswith("/") else f"{PACKAGE}/{self.file}"

    def applied(self, root: Path = ROOT) -> str:
        """Give the file as it is with the change."""
        text = (root / self.path).read_text(encoding="utf-8")
        before, part, after = self._parted(text)
        found = part.count(self.old)
        if found != 1:
            raise ValueError(f"{self.path} has {found} places that read: {self.old!r}")
        return before + part.replace(self.old, self.new) + after

    def _parted(self, text: str) -> tuple[str, str, str]:
        if not self.statement:
            return "", text, ""
        start = text.index(f"-- {self.statement} --\n")
        following = _HEADING.search(text, start + 1)
        end = following.start() if following else len(text)
        return text[:start], text[start:end], text[end:]


@dataclass(frozen=True)
class Mutant:
    """One fault.

    Attributes
    ----------
    killers
        Tests that must fail with it, each of them.
    sign
        What they must say, a regular expression: a test that fails for another reason is no help.
    """

    name: str
    edits: tuple[Edit, ...]
    killers: tuple[str, ...]
    sign: str


def check_edits(mutant: Mutant) -> None:
    """Raise ValueError unless every change fits the checkout."""
    for edit in mutant.edits:
        edit.applied()


def copy_of(folder: Path) -> Path:
    """Copy what the tests need, compiled files too: they fit, as the times are copied."""
    for name in _COPIED:
        source, target = ROOT / name, folder / name
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    return folder


def mutated(mutant: Mutant, original: Path, folder: Path) -> Path:
    """Make the copy that has the fault: links to the original, and the changed files."""
    shutil.copytree(original, folder, copy_function=os.link)
    for edit in mutant.edits:
        text = edit.applied(folder)
        path = folder / edit.path
        path.unlink()
        path.write_text(text, encoding="utf-8")
    return folder


@dataclass(frozen=True)
class Outcome:
    """What became of tests: those that failed with what they said, and what pytest printed."""

    passed: frozenset[str]
    failed: dict[str, str]
    printed: str


def run_tests(tests: Iterable[str], copy: Path, scratch: Path) -> Outcome:
    """Run tests over a copy, in a process of their own."""
    scratch.mkdir(parents=True)
    report = scratch / "report.xml"
    command = [
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short"),
        *(f"--basetemp={scratch / 'base'}", f"--junit-xml={report}", "-o", "junit_family=xunit1"),
        *tests,
    ]
    environment = {**os.environ, "PYTHONPATH": str(copy / "layers/pipeline"), "CI": "true"}
    process = subprocess.run(
        command, cwd=copy, env=environment, capture_output=True, text=True, timeout=_LONGEST_S
    )
    printed = process.stdout[-4000:] + process.stderr[-2000:]
    passed: set[str] = set()
    failed: dict[str, str] = {}
    cases = ElementTree.parse(report).iter("testcase") if report.exists() else iter(())
    for case in cases:
        name = _name_of(case)
        failure = case.find("failure")
        if failure is not None:
            failed[name] = f"{failure.get('message')}\n{failure.text}"
        elif case.find("error") is None and case.find("skipped") is None:
            passed.add(name)
    return Outcome(frozenset(passed), failed, printed)


def _name_of(case: ElementTree.Element) -> str:
    """Give a test's name as pytest takes it."""
    file = case.get("file") or ""
    module = file.removesuffix(".py").replace("/", ".")
    within = (case.get("classname") or "").removeprefix(module).strip(".")
    return "::".join(filter(None, (file, within, case.get("name"))))


def survived(mutant: Mutant, outcome: Outcome) -> str:
    """Say why a mutant is not killed; nothing when it is.

    A killer without parameters stands for the test with any of them.
    """
    complaints = []
    for killer in mutant.killers:
        failed = [text for name, text in outcome.failed.items() if _is_meant(killer, name)]
        if not failed:
            is_there = any(_is_meant(killer, name) for name in outcome.passed)
            complaints.append(f"{'passes' if is_there else 'did not run to its end'}: {killer}")
        elif not any(re.search(mutant.sign, text) for text in failed):
            complaints.append(f"fails for another reason: {killer}: {failed[0][-1500:]}")
    if any(not one.startswith("passes") for one in complaints):
        complaints.append(outcome.printed)
    return "\n".join(complaints)


def _is_meant(killer: str, name: str) -> bool:
    return killer == name or ("[" not in killer and killer == name.partition("[")[0])
