"""What a drill writes has Chinese words: looked up in the sources, so a new mark cannot be forgotten."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from replication.etcd import Outcome
from runbooks.drills.background import Background
from runbooks.drills.catalogue import DRILLS
from runbooks.drills.report import render_report
from runbooks.drills.story import tell_site_loss
from runbooks.drills.verdict import render_site_loss
from runbooks.drills.wording import VALUES
from runbooks.drills.words_of_marks import INTENTS, MARKS, STAGES
from tests.unit.drills.made_drill import make_history, make_result, make_stages

ROOT = Path(__file__).parents[3]
CHINESE = re.compile(r"[\u4e00-\u9fff]")
SHARED = {"fault", "kill"}
"""What these mean differs from drill to drill: each drill that marks one of them has its own words."""


PARTS = {"key_failover": {"key-rotation"}}
"""Modules that are a part of one drill."""


def calls_of(path: Path, name: str) -> Iterator[ast.expr]:
    """The first argument of each call of a function or method `name` in a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and node.args:
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called == name:
                yield node.args[0]


def texts_of(path: Path, said: ast.expr) -> set[str]:
    """The strings an expression may be: a constant, a module's constant, either of two."""
    match said:
        case ast.Constant(value=str(text)):
            return {text}
        case ast.IfExp(body=body, orelse=other):
            return texts_of(path, body) | texts_of(path, other)
        case ast.Name(id=name):
            found = re.search(rf'^{name} = "(\w+)"$', path.read_text(encoding="utf-8"), re.MULTILINE)
            assert found, f"{path.name}: a mark's name has to be a constant, is {name}"
            return {found[1]}
        case ast.BinOp(left=ast.Constant(value=str(text))):
            return {text + outcome.value for outcome in Outcome if outcome is not Outcome.DONE}
    raise AssertionError(f"{path.name}:{said.lineno}: nobody can tell which names this may be")


def drills_of(path: Path) -> set[str]:
    """The drills a module of runbooks/drills defines, by what it gives to OneFault or open_scene."""
    text = path.read_text(encoding="utf-8")
    named = re.finditer(r'(?:^        drill=|open_scene\(\s*)"([\w-]+)"', text, re.MULTILINE)
    return {found[1] for found in named} or PARTS.get(path.stem, set())


MODULES = sorted((ROOT / "runbooks/drills").glob("*.py"))
MARKED = {
    path: {text for said in calls_of(path, "mark") for text in texts_of(path, said)} for path in MODULES
}
STAGED = {
    text
    for path in sorted((ROOT / "replication").rglob("*.py"))
    for said in calls_of(path, "stage")
    for text in texts_of(path, said)
}


def test_the_sources_do_write_marks() -> None:
    names = set[str]().union(*MARKED.values())
    assert {"fault", "kill", "home", "restored", "two_claims", "one_claim", "resumed"} <= names
    assert {"promoted", "swap_unknown"} <= STAGED


@pytest.mark.parametrize("path", [path for path in MODULES if MARKED[path]], ids=lambda path: path.stem)
def test_each_mark_has_chinese_words(path: Path) -> None:
    drills = drills_of(path)
    for name in MARKED[path] - SHARED:
        own = {drill for drill in drills if f"{drill}.{name}" in MARKS}
        assert name in MARKS or own == drills != set(), name
        if not own and "{site}" in MARKS[name]:
            assert "site=str(site)" in path.read_text(encoding="utf-8"), f"{name}: which site?"
    for name in MARKED[path] & SHARED - ({"kill"} if path.stem == "site_loss" else set()):
        assert {f"{drill}.{name}" for drill in drills} <= MARKS.keys()


def test_no_words_are_left_of_a_mark_that_nobody_writes() -> None:
    written = set[str]().union(*MARKED.values())
    for key in MARKS:
        drill, _, name = key.rpartition(".")
        assert name in written, key
        assert not drill or drill in DRILLS, key


def test_each_intent_begins_with_a_verb_that_has_chinese_words() -> None:
    verbs = set()
    for path in MODULES:
        for said in calls_of(path, "intend"):
            first = said.values[0] if isinstance(said, ast.JoinedStr) else said
            assert isinstance(first, ast.Constant), f"{path.name}:{said.lineno}: begins with no fixed word"
            verbs.add(str(first.value).split(" ")[0])
    assert verbs == INTENTS.keys()


def test_each_stage_has_chinese_words_and_no_other() -> None:
    assert STAGES.keys() == STAGED


def test_each_fault_is_told_in_both_languages() -> None:
    told = [
        keyword.value
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "OneFault"
        for keyword in node.keywords
        if keyword.arg == "told"
    ]
    assert told
    for pair in told:
        assert isinstance(pair, ast.Tuple)
        assert [bool(CHINESE.search(ast.unparse(said))) for said in pair.elts] == [False, True]


def test_who_needs_no_approval_is_said_in_chinese() -> None:
    said = re.findall(r'"(nobody: .*)"', (ROOT / "runbooks/drills/approval.py").read_text(encoding="utf-8"))
    assert said
    assert set(said) <= VALUES.keys()


def test_all_words_are_chinese() -> None:
    assert all(CHINESE.search(words) for words in (*MARKS.values(), *STAGES.values(), *INTENTS.values()))
    assert all("{" not in words.replace("{site}", "") for words in MARKS.values())


def test_every_row_of_a_report_has_chinese_beside_it() -> None:
    history = make_history()
    result = make_result(history)
    told = tell_site_loss(history, result, render_site_loss(result, history, 0), make_stages())
    page = render_report(told, Background())
    assert all(CHINESE.search(row.who_zh) and CHINESE.search(row.what_zh) for row in told.timeline)
    assert CHINESE.search(told.summary[1])
    injection = page[page.index("<h2>Injection") : page.index("<h2>Checks")]
    assert "站点 idc 的全部进程已终止" in injection
    for said in (
        told.summary[1],
        "站点 idc 的全部进程已终止",
        "a-cloud-0 的代理",
        "已提升为主库，纪元 2",
        "注入之前施加负载 7.0 秒",
        "没有代理需要作出决策",
    ):
        assert said in page
