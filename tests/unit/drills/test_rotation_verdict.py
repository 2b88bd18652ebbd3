from runbooks.drills.certificate_rotation import judge_doors
from runbooks.drills.checkers import Verdict
from runbooks.stand.doors import Door, Knock

ASKS = Door("idc/agent", 1, "agent", ("idc", "operator"))
PUBLIC = Door("idc/api", 2, "api", None)
IN, OUT = Knock("", 7, "TLSv1.3"), Knock("revoked", 7, "TLSv1.3")


def verdicts(*doors: tuple[Door, Knock, Knock], in_force: frozenset[int] = frozenset({7})) -> list[str]:
    return [f.name for f in judge_doors(doors, in_force) if f.verdict is not Verdict.HOLDS]


def test_all_is_well_when_the_new_gets_in_and_the_old_does_not():
    assert verdicts((ASKS, IN, OUT), (PUBLIC, IN, IN)) == []


def test_a_door_that_refuses_the_new_certificate_is_found():
    assert verdicts((ASKS, OUT, OUT)) == ["renewed_are_let_in"]


def test_a_door_that_still_lets_the_old_certificate_in_is_found():
    assert verdicts((ASKS, IN, IN)) == ["revoked_are_refused"]


def test_a_server_that_still_presents_its_old_certificate_is_found():
    assert verdicts((ASKS, IN, OUT), in_force=frozenset({8})) == ["renewed_are_presented"]
