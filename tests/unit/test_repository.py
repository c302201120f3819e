"""Rules about the repository itself: sizes, links, pins, and what must not stand in any file."""

from __future__ import annotations

import ast
import io
import re
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
CODE = ("layers", "functions")
MAX_MODULE_LINES = 200
MAX_FUNCTION_LINES = 40

#: Made by tools, or not ours.
SKIPPED = re.compile(r"\.(?!ci$).*|__pycache__|.*\.egg-info|shared|build|dist|results")
BINARY = {".png", ".ico", ".onnx", ".npy", ".npz", ".whl", ".gz", ".zip", ".pdf", ".pyc"}

PINS = (
    "requirements/dev.txt",
    "requirements/local.txt",
    "requirements/sam.txt",
    "requirements/checkov.txt",
    "requirements/localstack.txt",
    "requirements/model.txt",
    "layers/pipeline/requirements.txt",
    "functions/embed_gpu/requirements.txt",
    "functions/embed_gpu/requirements-cpu.txt",
)

#: Environments of tools that pin boto3 exactly.
OF_THEIR_OWN = {f"requirements/{name}.txt" for name in ("sam", "checkov", "localstack")}


def files(*suffixes: str) -> Iterator[Path]:
    """Give the files of the repository; folders that tools make are left out."""
    stack = [ROOT]
    while stack:
        for path in sorted(stack.pop().iterdir()):
            if path.is_dir():
                if not SKIPPED.fullmatch(path.name):
                    stack.append(path)
            elif path.suffix not in BINARY and (not suffixes or path.name.endswith(suffixes)):
                yield path


def sources() -> list[Path]:
    return [path for path in files(".py") if path.relative_to(ROOT).parts[0] in CODE]


def code_lines(text: str) -> set[int]:
    """Give the numbers of the lines that hold code: no blanks, comments or docstrings."""
    ignored = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    numbers: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in ignored and token.type != tokenize.ENDMARKER:
            numbers |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            numbers -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return numbers


def pins(path: str) -> dict[str, Version]:
    found = re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", (ROOT / path).read_text(), re.MULTILINE)
    return {name.lower(): Version(version) for name, version in found}


def requirements(*extras: str, group: str | None = None) -> list[Requirement]:
    """Give the project's own requirements with those of extras, extras of extras included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = list(project["project"]["dependencies"])
    wanted += project["dependency-groups"][group] if group else []
    for extra in extras:
        wanted += project["project"]["optional-dependencies"][extra]
    result = []
    for requirement in map(Requirement, wanted):
        if requirement.name == "embedpipe":
            result += requirements(*sorted(requirement.extras))
        else:
            result.append(requirement)
    return result


# -------------------------------------------------------------------------------------------- sizes


def test_modules_are_short() -> None:
    sizes = {str(path.relative_to(ROOT)): len(code_lines(path.read_text())) for path in sources()}

    assert len(sizes) > 30
    assert {name: size for name, size in sizes.items() if size > MAX_MODULE_LINES} == {}


def test_functions_are_short() -> None:
    long = {}

    for path in sources():
        text = path.read_text()
        lines = code_lines(text)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                size = len(lines & set(range(node.body[0].lineno, (node.end_lineno or 0) + 1)))
                if size > MAX_FUNCTION_LINES:
                    long[f"{path.relative_to(ROOT)}:{node.name}"] = size

    assert long == {}


# ------------------------------------------------------------------------------- what is barred

# Put together here, so that this file does not hold what it looks for.
BARRED = {
    "a package registry's host": "|".join(
        rf"\b{re.escape('.'.join(parts))}\b"
        for parts in (
            ("pypi", "org"),
            ("files", "python" + "hosted", "org"),
            ("registry", "npmjs", "org"),
            ("deb", "debian", "org"),
        )
    ),
    "a path of one machine": r"(?<![\w.])/(?:work|root|home/[a-z]\w+|Users/\w+|tmp/w)/",
    "unfinished work": "|".join((r"\bTO" + r"DO\b", r"\bFIX" + r"ME\b", r"\bX" + r"XX\b")),
}


@pytest.mark.parametrize("what", BARRED)
def test_no_file_holds(what: str) -> None:
    pattern = re.compile(BARRED[what])

    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
        for path in files()
        if path.name != "LICENSE"
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if pattern.search(line)
    ]

    assert found == []


def test_nothing_is_left_to_be_implemented() -> None:
    raising = re.compile(r"\bNotImplemented" + r"Error\b")

    assert [str(path) for path in sources() if raising.search(path.read_text())] == []


# ---------------------------------------------------------------------------------------- documents


def anchors(path: Path) -> set[str]:
    """Give the anchors of a page's headings, as GitHub forms them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_link_between_documents_resolves() -> None:
    broken = []

    for page in files(".md"):
        text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            address, _, anchor = target.partition("#")
            if re.match(r"[a-z]+:", address):
                continue
            file = (page.parent / address) if address else page
            if not file.exists() or (anchor and anchor not in anchors(file)):
                broken.append(f"{page.relative_to(ROOT)}: {target}")

    assert broken == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def targets() -> set[str]:
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    [phony] = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    return set(phony.split())


def test_make_help_lists_every_target() -> None:
    described = re.findall(r"^([a-z0-9-]+):.*## \S", (ROOT / "Makefile").read_text(), re.MULTILINE)

    assert set(described) == targets()
    assert len(described) == len(set(described))
    assert targets() >= {"demo", "test", "check", "lint", "types", "build", "bench"}
    assert targets() >= {"unit", "contract", "integration", "e2e"}


def test_every_make_command_that_is_written_down_exists() -> None:
    pages = [*files(".md"), *files(".yaml"), ROOT / ".ci/run"]

    named = {
        target
        for page in pages
        for target in re.findall(
            r"(?:^|[`:] ?|step [a-z0-9]+ )make ([a-z0-9-]+)", page.read_text(), re.M
        )
    }

    assert len(named) > 5
    assert named - targets() == set()


# --------------------------------------------------------------------------------------------- pins


@pytest.mark.parametrize("path", PINS)
def test_every_pin_has_a_version_and_hashes_and_no_address(path: str) -> None:
    text = (ROOT / path).read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]

    assert lines
    assert [
        line for line in lines if not re.match(r"[A-Za-z0-9._-]+==\S+ .*--hash=sha256:", line)
    ] == []
    assert "://" not in text


@pytest.mark.parametrize(
    ("path", "extras", "group"),
    [
        ("requirements/dev.txt", ["local"], "dev"),
        ("requirements/local.txt", ["local"], None),
        ("layers/pipeline/requirements.txt", ["aws"], None),
        ("functions/embed_gpu/requirements.txt", ["aws", "worker", "gpu"], None),
        ("functions/embed_gpu/requirements-cpu.txt", ["aws", "worker", "cpu"], None),
    ],
)
def test_the_pins_satisfy_the_project(path: str, extras: list[str], group: str | None) -> None:
    pinned = pins(path)

    for requirement in requirements(*extras, group=group):
        assert requirement.specifier.contains(pinned[requirement.name.lower()]), requirement


def test_what_runs_together_has_one_version_everywhere() -> None:
    reference = pins("requirements/dev.txt")

    for path in PINS:
        if path in OF_THEIR_OWN:
            continue
        differing = {
            name: version
            for name, version in pins(path).items()
            if reference.get(name, version) != version
        }
        assert differing == {}, path


def test_numpy_fits_the_oldest_lambda_runtime() -> None:
    assert pins("requirements/dev.txt")["numpy"] < Version("2.3")
    assert "numpy" not in pins("layers/pipeline/requirements.txt")


def test_the_licence_is_the_one_that_the_project_names() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert project["license"] == "Apache-2.0"
    assert "Version 2.0, January 2004" in (ROOT / "LICENSE").read_text()
