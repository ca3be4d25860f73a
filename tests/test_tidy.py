"""The house style, as far as a machine can see it."""

import ast
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "blofin_cli"
FUNCTION_LINES_MAX, MODULE_LINES_MAX, POSITIONAL_MAX, CONFTEST_LINES_MAX = 70, 700, 5, 150
TOP_LEVEL = {
    "pyproject.toml", "blofin_cli", "tests", "cassettes", "scripts", "README.md", "CHANGELOG.md",
    "LICENSE", "requirements.lock", ".ci", ".gitignore", ".gitattributes",
}  # fmt: skip
FOREIGN = {"settings_customise_sources"}  # signatures that a library asks for
# Written apart so that this file does not find itself.
UNFINISHED = re.compile(r"\b(FIX" + r"ME|TO" + r"DO|XX" + r"X)\b")
PRIVATE = re.compile(
    r"/ho" + r"me/\w|/ro" + r"ot/|/Us" + r"ers/\w|C:\\\\Us" + r"ers|/wo" + r"rk/|"
    r"py" + r"pi\.org|pythonho" + r"sted\.org|index-u" + r"rl|--find-li" + r"nks(?! *\\)"
)


@cache
def tracked() -> tuple[Path, ...]:
    """Files git knows; every file on disk where there is no git."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    names = listed.stdout.splitlines()
    return tuple(path for name in names if (path := ROOT / name).is_file())


def python_files(folder: Path = PACKAGE) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "vendor" not in path.parts)


def place(path: Path) -> str:
    return str(path.relative_to(ROOT))


EVERY_MODULE = pytest.mark.parametrize("path", python_files(), ids=place)


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [node for node in ast.walk(tree) if isinstance(node, kinds)]


@EVERY_MODULE
def test_functions_stay_short(path):
    """A function fits on a screen."""
    long = [f.name for f in functions(path) if body_lines(f) > FUNCTION_LINES_MAX]
    assert not long


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring."""
    assert function.end_lineno is not None
    has_docstring = ast.get_docstring(function) is not None
    first = function.body[0]
    docstring = (first.end_lineno or 0) - first.lineno + 1 if has_docstring else 0
    return function.end_lineno - function.lineno + 1 - docstring


@EVERY_MODULE
def test_positional_parameters_stay_few(path):
    """More than five things in a row are mixed up; compiled kernels take columns and may."""
    crowded = [
        f.name
        for f in functions(path)
        if positional(f) > POSITIONAL_MAX and not is_kernel(f) and f.name not in FOREIGN
    ]
    assert not crowded


def positional(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Positional parameters, apart from the object itself."""
    given = [*function.args.posonlyargs, *function.args.args]
    return len([item for item in given if item.arg not in {"self", "cls"}])


def is_kernel(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Compiled functions see columns, and numba takes keywords only at a price."""
    return any("kernel" in ast.unparse(decorator) for decorator in function.decorator_list)


@EVERY_MODULE
def test_modules_stay_short_and_say_what_they_hold(path):
    """A module is a chapter with a heading."""
    source = path.read_text(encoding="utf-8")
    assert source.count("\n") <= MODULE_LINES_MAX
    assert not source.strip() or ast.get_docstring(ast.parse(source))


@EVERY_MODULE
def test_only_config_reads_the_environment(path):
    """Two readers of the environment are two opinions."""
    if place(path) != "blofin_cli/app/config.py":
        assert not re.search(r"\bos\.(environ|getenv|putenv)", path.read_text(encoding="utf-8"))


@EVERY_MODULE
def test_only_faces_print(path):
    """stdout belongs to the faces."""
    if "faces" not in path.parts:
        calls = [n for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.Call)]
        assert not [c for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"]


@EVERY_MODULE
def test_broad_except_gives_its_reason(path):
    """Whoever catches everything says at which boundary."""
    broad = re.compile(r"except\s*(Exception|BaseException)?\s*(as \w+)?\s*:")
    for line in path.read_text(encoding="utf-8").splitlines():
        if broad.search(line.strip()) and line.strip().startswith("except"):
            assert "# boundary:" in line


@pytest.mark.parametrize("name", ["utils", "helpers", "common", "base", "misc"])
def test_no_module_is_a_drawer(name):
    """A name that could hold anything ends up holding everything."""
    assert not [path for path in python_files() if name in {path.stem, *path.parts}]


def test_no_work_is_left_as_a_note():
    """A note is not a plan."""
    for path in tracked():
        if path.suffix in {".py", ".md", ".toml", ""} and "vendor" not in path.parts:
            assert not UNFINISHED.search(path.read_text(encoding="utf-8")), place(path)


def test_no_file_names_a_machine_or_a_registry():
    """A clone must work anywhere."""
    for path in tracked():
        if path.suffix in {".py", ".md", ".toml", ".lock", "", ".json"}:
            found = PRIVATE.search(path.read_text(encoding="utf-8"))
            assert not found or allowed(path, found[0]), f"{place(path)}: {found}"


def allowed(path: Path, word: str) -> bool:
    """The script that makes the lock must name the options that keep indexes out of it."""
    return path == ROOT / "scripts" / "lock" and "emit" in path.read_text() and "-" in word


def test_top_level_is_as_fixed():
    """A stray file at the top is seen by everybody."""
    assert {path.relative_to(ROOT).parts[0] for path in tracked()} <= TOP_LEVEL


def test_conftest_stays_small():
    """Fixtures nobody can find are not shared, they are hidden."""
    assert (ROOT / "tests/conftest.py").read_text().count("\n") < CONFTEST_LINES_MAX


def test_lock_is_hashed():
    """Every package of the lock carries the digests it may have."""
    blocks = re.split(r"\n(?=[a-z])", (ROOT / "requirements.lock").read_text())
    assert all("--hash=sha256:" in block for block in blocks if block.strip())
