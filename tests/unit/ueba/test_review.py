"""A decision needs two people, and so does a name; every act is in a chain that shows a change."""

import datetime as dt
import json

import pyarrow as pa
import pytest

from core_app.staff.reviews import Act, find_case
from ueba.errors import UebaError
from ueba.feedback import allowed_of, begun_anew, distrusted_of, reviewed_of
from ueba.journal import ActRefused, append_act, read_acts
from ueba.settings import day_number
from ueba.store import REGISTERS

DAY = dt.date(2026, 4, 30)


def act(kind, by="ann", **more):
    return Act(kind=kind, by=by, staff="e1", on=DAY, **more)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "reviews.jsonl"


def do(file, *acts):
    for one in acts:
        append_act(file, one)
    return find_case(read_acts(file)[0], "e1", DAY)


EXPLAINED = act("propose", disposition="explained", family="volume", until=dt.date(2026, 5, 20), fresh=4.0)


def test_a_disposition_needs_two_people(file):
    case = do(file, act("open"), act("propose", disposition="malicious"))
    assert case.open
    with pytest.raises(ActRefused, match="other pair of eyes"):
        append_act(file, act("confirm"))
    case = do(file, act("confirm", "bob"))
    assert (case.open, case.disposition, case.proposed_by, case.confirmed_by) == (
        False,
        "malicious",
        "ann",
        "bob",
    )


@pytest.mark.parametrize("kind", ["confirm", "reject"])
def test_nothing_is_decided_that_was_not_proposed(file, kind):
    do(file, act("open"))
    with pytest.raises(ActRefused, match="nothing was proposed"):
        append_act(file, act(kind, "bob"))


def test_a_name_is_learnt_by_two_people(file):
    do(file, act("open"), act("ask_unmask"))
    with pytest.raises(ActRefused, match="own wish"):
        append_act(file, act("approve_unmask"))
    assert do(file).unmasked_by == ()
    assert do(file, act("approve_unmask", "bob")).unmasked_by == ("ann", "bob")


def test_nobody_reviews_himself(file):
    with pytest.raises(ActRefused, match="himself"):
        append_act(file, act("open", "e1"))


def test_an_explanation_has_a_kind_and_an_end(file):
    do(file, act("open"))
    with pytest.raises(ActRefused, match="which kind"):
        append_act(file, act("propose", disposition="explained"))
    with pytest.raises(ActRefused, match="within 90 days"):
        append_act(file, act("propose", disposition="explained", family="volume", until=dt.date(2027, 1, 1)))


def test_what_follows_from_reviews(file):
    do(file, act("open", fresh=4.0), EXPLAINED)
    acts, _ = read_acts(file)
    assert allowed_of(acts) == []
    assert reviewed_of(acts)["e1"].open
    assert [one.staff for one in distrusted_of(acts, DAY)] == ["e1"]
    do(file, act("confirm", "bob"))
    acts, _ = read_acts(file)
    (allowed,) = allowed_of(acts)
    assert (allowed.family, allowed.digits, allowed.until - allowed.first) == ("volume", 4.0, 20)
    assert distrusted_of(acts, DAY) == []
    assert not reviewed_of(acts)["e1"].open


@pytest.mark.parametrize(
    ("disposition", "anew", "distrusted"),
    [("role_change", [("e1", day_number(DAY))], []), ("data_fault", [], [0, 0]), ("malicious", [], [-14, 9])],
)
def test_what_was_found_says_what_is_usual_from_then_on(file, disposition, anew, distrusted):
    """A new role has no usual yet, a day of wrong data is none, misuse never becomes usual."""
    register = REGISTERS["staff"].empty_table()
    do(file, act("open"), act("propose", disposition=disposition))
    acts, _ = read_acts(file)
    assert begun_anew(register, acts) == [], "while it is only proposed"
    do(file, act("confirm", "bob"))
    acts, _ = read_acts(file)
    assert begun_anew(register, acts) == anew
    found = distrusted_of(acts, DAY + dt.timedelta(days=9), 14)
    assert [day - day_number(DAY) for one in found for day in (one.first, one.last)] == distrusted


def test_the_register_says_since_when_somebody_has_a_role():
    entry = {"staff": "e2", "role": "clerk", "branch": "b1"}
    register = pa.Table.from_pylist(
        [entry, entry | {"staff": "e3", "role_since": DAY}], schema=REGISTERS["staff"]
    )
    assert begun_anew(register, []) == [("e3", day_number(DAY))]


def test_a_changed_line_breaks_the_chain(file):
    do(file, act("open"), EXPLAINED, act("confirm", "bob"))
    lines = file.read_text().splitlines()
    changed = json.loads(lines[1])
    changed["act"]["disposition"] = "data_fault"
    for text in ("\n".join([lines[0], json.dumps(changed), lines[2]]), "\n".join([lines[0], lines[2]])):
        file.write_text(text + "\n")
        with pytest.raises(UebaError, match="chain is broken"):
            read_acts(file)


def test_a_refused_act_leaves_no_line(file):
    do(file, act("open"))
    before = file.read_bytes()
    with pytest.raises(ActRefused):
        append_act(file, act("open", "bob"))
    assert file.read_bytes() == before
