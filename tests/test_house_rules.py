"""The house rules that no other tool checks. Each rule is a function of a tree; each is shown to bite."""

import ast
import re
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("infra", "core_app", "replication", "compliance", "ueba", "runbooks")
BANNED_NAMES = {"utils", "util", "helpers", "helper", "common", "base", "manager", "misc"}
PURE_NAMES = {"decide", "states", "rules", "money", "checkers", "model"}
Source = tuple[str, str, ast.Module]  # path from the root, text, tree
Rule = Callable[[Path], Iterator[str]]  # yields what is wrong
# Put together here so that this file does not name what it bans.
LEAKS = re.compile(
    "(?<![A-Za-z0-9_.~-])/("
    + "work|root|farm|home"
    + ")/[a-z.]|--(extra-)?"
    + "index-url|--"
    + "find-links[ =]/"
)


def tracked(root: Path) -> list[Path]:
    """Files git knows or would add; all files where the tree is no repository (planted samples)."""
    if not (root / ".git").exists():
        files = (path for path in root.rglob("*") if path.is_file())
        return sorted(path for path in files if path.relative_to(root).parts[0] not in {".venv", ".biyi"})
    git = ["git", "-C", str(root), "-c", "safe.directory=*", "ls-files", "-z"]
    names = subprocess.check_output([*git, "-co", "--exclude-standard"], text=True).rstrip("\0").split("\0")
    return sorted(root / name for name in names if (root / name).is_file())


def sources(root: Path) -> Iterator[Source]:
    for path in tracked(root):
        if path.suffix == ".py":
            text = path.read_text(encoding="utf-8")
            yield path.relative_to(root).as_posix(), text, ast.parse(text)


def files_are_short(root: Path) -> Iterator[str]:
    for path, text, _ in sources(root):
        if text.count("\n") > 400:
            yield f"{path}: {text.count(chr(10))} lines, at most 400"


def functions_are_short(root: Path) -> Iterator[str]:
    for path, _, tree in sources(root):
        for node in ast.walk(tree):
            size = (getattr(node, "end_lineno", None) or 0) - getattr(node, "lineno", 0) + 1
            if size > 60 and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{path}:{node.lineno}: {node.name} has {size} lines, at most 60"


def names_say_the_domain(root: Path) -> Iterator[str]:
    for path, _, _ in sources(root):
        if BANNED_NAMES & set(path.removesuffix(".py").split("/")):
            yield f"{path}: name it after its domain"


def packages_say_what_lives_in_them(root: Path) -> Iterator[str]:
    for path, _, tree in sources(root):
        if path.startswith(PACKAGES) and path.endswith("__init__.py") and not ast.get_docstring(tree):
            yield f"{path}: the package has no docstring"


def numbers_in_settings_name_their_source(root: Path) -> Iterator[str]:
    for path, _, tree in sources(root):
        classes = (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
        for body in (node.body for node in classes if path.endswith("settings.py")):
            for field, after in zip(body, [*body[1:], ast.Pass()], strict=True):
                match field:
                    case ast.AnnAssign(
                        target=ast.Name(id=name), value=ast.Constant(value=int() | float() as n)
                    ):
                        doc = ast.unparse(after) if isinstance(after, ast.Expr) else ""
                        if not isinstance(n, bool) and "Source:" not in doc:
                            yield f"{path}:{field.lineno}: {name} has no docstring with 'Source:'"


def unit_tests_patch_nothing_of_ours(root: Path) -> Iterator[str]:
    ours = re.compile(rf"""(patch|setattr)\w*(\.\w+)*\(\s*["']?({"|".join(PACKAGES)})\b""")
    for path, text, _ in sources(root):
        if path.startswith("tests/unit/") and (found := ours.search(text)):
            yield f"{path}: {found[0]}...: take it as an argument instead"


def readme_paths_exist(root: Path) -> Iterator[str]:
    readme = root / "README.md"
    text = readme.read_text(encoding="utf-8") if readme.exists() else ""
    tops = "|".join((*PACKAGES, "tests", "docs", "bench", r"\.ci"))
    # In backticks or as the target of a link; what has a <place holder> or a * in it is no path.
    for name in re.findall(rf"[`(]((?:{tops})/[\w./-]*|[\w-]+\.(?:md|toml|lock|yaml))[`)]", text):
        if not (root / name).exists():
            yield f"README.md names {name}, which does not exist"


def dependencies_have_a_reason(root: Path) -> Iterator[str]:
    text = (root / "pyproject.toml").read_text(encoding="utf-8") if (root / "pyproject.toml").exists() else ""
    for line in text.splitlines():
        if re.match(r'    "[A-Za-z][\w\[\],.-]*[><=~]=[^"]*",', line) and not re.search(r"#\s*\w+", line):
            yield f"pyproject.toml: no reason beside {line.strip()}"


def no_file_names_this_machine(root: Path) -> Iterator[str]:
    for path in tracked(root):
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if LEAKS.search(line):
                yield f"{path.relative_to(root)}:{number}: {line.strip()[:80]}"


def pure_modules_are_in_the_contract(root: Path) -> Iterator[str]:
    config = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = config.get("tool", {}).get("importlinter", {}).get("contracts", [])
    listed = {name for c in contracts if c.get("id") == "pure" for name in c["source_modules"]}
    for path, _, tree in sources(root):
        if path.startswith(PACKAGES) and not path.endswith("__init__.py"):
            module = path.removesuffix(".py").replace("/", ".")
            promises = bool(re.search(r"\bPure\b|No I/O(?! but)", ast.get_docstring(tree) or ""))
            if promises != (module in listed) or (not promises and Path(path).stem in PURE_NAMES):
                yield f"{path}: pure modules say 'Pure' or 'No I/O' on top and stand in contract `pure`"


def only_one_module_swaps_grants(root: Path) -> Iterator[str]:
    of_slots = "core_app/moving/record.py"  # the directory of slots, a key of its own
    for path, text, _ in sources(root):
        known = path in {"replication/grant_swap.py", of_slots}
        if path.startswith(PACKAGES) and ".swap(" in text and not known:
            yield f"{path}: grants change through replication.grant_swap"


PURE = '[[tool.importlinter.contracts]]\nid = "pure"\nsource_modules = []\n'
RULES: list[tuple[Rule, str, str]] = [
    (files_are_short, "core_app/a.py", "a = 1\n" * 401),
    (functions_are_short, "core_app/a.py", "def f():\n" + "    a = 1\n" * 60),
    (names_say_the_domain, "core_app/utils/a.py", ""),
    (packages_say_what_lives_in_them, "ueba/__init__.py", "import os"),
    (numbers_in_settings_name_their_source, "ueba/settings.py", 'class S:\n    n: int = 3\n    """Three."""'),
    (unit_tests_patch_nothing_of_ours, "tests/unit/test_a.py", 'monkeypatch.setattr("ueba.stream.x", 1)'),
    (readme_paths_exist, "README.md", "start at `core_app/gone.py`"),
    (dependencies_have_a_reason, "pyproject.toml", '    "left-pad>=1",\n'),
    (no_file_names_this_machine, "Makefile", "python = /ro" + "ot/python"),
    (pure_modules_are_in_the_contract, "core_app/loans/rules.py", '"""Rules. Pure."""'),
    (only_one_module_swaps_grants, "replication/agent.py", "etcd.swap('/biyi/grants/a')"),
]
NAMES = [rule.__name__ for rule, _, _ in RULES]


@pytest.mark.parametrize("rule", [row[0] for row in RULES], ids=NAMES)
def test_the_tree_keeps(rule: Rule) -> None:
    assert list(rule(ROOT)) == []


@pytest.mark.parametrize(("rule", "path", "text"), RULES, ids=NAMES)
def test_a_planted_violation_is_caught(rule: Rule, path: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(PURE)
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_text(text)
    assert len(list(rule(tmp_path))) == 1
