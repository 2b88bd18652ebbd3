"""Both languages have every word, and templates use only words that exist."""

import re
import string
from pathlib import Path

import jinja2
import pytest
from jinja2 import nodes

import core_app
from compliance.controls.catalogue import Basis, read_catalogue
from compliance.protection.ring import State as KeyState
from compliance.reporting.batch import Kind
from compliance.reporting.batch import State as Batch
from core_app.customers.reseal import SEALED_TABLES
from core_app.decisions.steps import Step as DecisionStep
from core_app.insight.read import read_alerts, read_metrics
from core_app.staff.looks import FACTS, PERSONAL, Purpose, Subject
from replication.failover.states import CopyState, Step, Why
from replication.model import Mode, Site
from runbooks.console.account_pages import DONE
from runbooks.console.entrance import Refusal
from runbooks.console.figures import GROUPS
from runbooks.console.pages import TEMPLATES, Pages
from runbooks.console.rights import SECTIONS as PAGES
from runbooks.console.words import LANGUAGES, WORDS, choose_language, word
from runbooks.drills.catalogue import SECTIONS
from ueba.calibrate import Level
from ueba.events import Action

# Paths of our own are filled in as `page.path`, `action` and `job_path`; `uri`
# is the core's, of the scheme that authenticator apps open.
ELSEWHERE = re.compile(r"""(src|href|action)=["'](?!/|#|\{\{ (page\.path|action|job_path|uri) )""")
CORE = Path(core_app.__file__).parent
TOLD = re.compile(r"""Told\(\s*"([a-z_]+\.[a-z_]+)\"""")
CHINESE = re.compile(r"[\u4e00-\u9fff]")
ENUMERATED = {
    "why.": list(Why),
    "step.": list(Step),
    "state.": [*CopyState, "not_seen", "not_decided"],
    "mode.": list(Mode),
    "site.": list(Site),
    "door.": list(Refusal),
    "role.": ["system_admin", "security_admin", "supervisor", "primary", "sync", "behind", "unknown"],
    "nav.": [section.name for section in PAGES],
    "job.": ["plan", "drill"],
    "choice.": ["site", "cell", "rounds"],
    "level3.": ["met", "not_met", "unknown"],
    "basis.": list(Basis),
    "board.": GROUPS,
    "filing.": list(Batch),
    "figure.": [],
    "breaker.": ["closed", "open"],
    "insight.": ["good", "bad", "odd", "none"],
    "unit.": [unit.replace(" ", "_") for unit in ("fen", "count", "share", "share a year", "ms")],
    "dimension.": sorted({name for one in read_metrics().values() for name in one.dimensions}),
    "task.": sorted({rule.action for rule in read_alerts()}),
    "of.": [],
    "key.": [*KeyState, "file"],
    "action.": list(Action),
    "result.": ["ok", "denied", "not_found", "failed"],
    "measure.": [],
    "request.": ["name", "clear", "export", "account", "drill", "other"],
    "body.": [],
    "of.step.": list(DecisionStep),
    "rule.": ["per", "least", "every", "sum"],
    "level.": list(Level),
    "because.": ["fresh", "slow", "watched", "random"],
    "case.": ["waiting", "open", "closed"],
    "found.": ["malicious", "policy_breach", "explained", "data_fault", "role_change"],
    "account.done.": list(DONE),
    "act.": ["open", "propose", "confirm", "reject", "ask_unmask", "approve_unmask"],
    "approval.": ["open", "granted", "refused", "used", "expired"],
    "customer.": [*Subject],
    "field.": [*PERSONAL],
    "fact.": [name for names in FACTS.values() for name in names],
    "purpose.": list(Purpose),
    "witness.": ["answers", "silent", "unknown"],
    "link.": ["answers", "silent", "unknown"],
    "verdict.": ["holds", "broken", "unknown", "unfinished"],
    "runbook.": [*SECTIONS, "command", "rules"],
    "what.": sorted(
        {topic for path in CORE.rglob("*.py") for topic in TOLD.findall(path.read_text(encoding="utf-8"))}
    ),
    "owner.": sorted(
        {one.owner for one in (*read_metrics().values(), *read_alerts())}
        | {item.owner for item in read_catalogue().items.values()}
    ),
    "filed.": list(Kind),
    "sealed.": list(SEALED_TABLES),
}
FILES = sorted(path.name for path in TEMPLATES.glob("*.html"))


def named_in(template: str) -> tuple[set[str], set[str]]:
    """Return the keys that a template names, and the beginnings of those it puts together."""
    tree = jinja2.Environment(autoescape=True).parse((TEMPLATES / template).read_text(encoding="utf-8"))
    whole, begun = set(), set()
    for call in tree.find_all(nodes.Call):
        if isinstance(call.node, nodes.Name) and call.node.name in {"w", "both", "w_other"}:
            match call.args[0]:
                case nodes.Const(value=key):
                    whole.add(key)
                case nodes.CondExpr(expr1=nodes.Const(value=one), expr2=nodes.Const(value=two)):
                    whole |= {one, two}
                case nodes.Concat(nodes=[nodes.Const(value=beginning), *_]):
                    begun.add(beginning)
    return whole, begun


@pytest.mark.parametrize("key", sorted(WORDS))
def test_both_languages_say_it_with_the_same_values(key: str):
    zh, en = WORDS[key]
    names = [{name for _, name, _, _ in string.Formatter().parse(text) if name} for text in (zh, en)]
    assert names[0] == names[1]
    assert zh.strip()
    assert en.strip()
    if not key.startswith("language"):  # those name the other language in its own words
        assert CHINESE.search(zh)
        assert not CHINESE.search(en)


@pytest.mark.parametrize("template", FILES)
def test_a_template_uses_only_words_that_exist(template: str):
    whole, begun = named_in(template)
    assert whole <= set(WORDS)
    assert begun <= set(ENUMERATED)


def test_the_templates_are_read_as_they_are_written():
    assert "cells" in named_in("platform.html")[0]
    assert "mode." in named_in("_cells.html")[1]


@pytest.mark.parametrize("beginning", sorted(ENUMERATED))
def test_what_is_put_together_has_a_word_for_each_value(beginning: str):
    assert {f"{beginning}{value}" for value in ENUMERATED[beginning]} <= set(WORDS)


def test_every_word_is_used_or_put_together():
    named = set().union(*(named_in(name)[0] for name in FILES))
    told = {
        word
        for path in (TEMPLATES.parent).glob("*.py")
        for word in WORDS
        if f'"{word}"' in path.read_text() and not path.name.startswith("words")
    }
    begun = tuple(ENUMERATED)
    assert {key for key in WORDS if key not in named | told and not key.startswith(begun)} == set()


def test_no_template_brings_script_or_style_of_its_own():
    for name in FILES:
        text = (TEMPLATES / name).read_text(encoding="utf-8")
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=|javascript:", text), name
        assert not ELSEWHERE.search(text), name


def test_what_is_filled_in_is_escaped():
    page = Pages("idc").environment.from_string("{{ staff }}")
    assert page.render(staff="<script>") == "&lt;script&gt;"


def test_an_unknown_word_is_an_error():
    with pytest.raises(KeyError):
        word("en", "no.such.word")


@pytest.mark.parametrize(
    ("cookie", "accepted", "chosen"),
    [(None, "zh-CN,zh;q=0.9,en;q=0.8", "zh"), ("en", "zh-CN", "en"), ("xx", "", "en"), (None, "", "en")],
)
def test_the_cookie_chooses_the_language_before_the_browser(cookie: str | None, accepted: str, chosen: str):
    assert choose_language(cookie, accepted) == chosen
    assert chosen in LANGUAGES


def test_the_packages_files_are_told_of_to_the_build():
    text = (Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8")
    assert '"console/static/*"' in text
    assert '"**/*.html"' in text
