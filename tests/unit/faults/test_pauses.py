"""Write pauses around faults."""

from runbooks.faults.measure import compute_pauses, summarise_pauses
from runbooks.faults.model import FaultDone, Spot

SECOND = 1_000_000_000


def fault(name: str, began_s: float, ended_s: float, *, happened: bool = True) -> FaultDone:
    return FaultDone(1, 0, name, "idc", int(began_s * SECOND), int(ended_s * SECOND), happened, Spot())


ACKS = {"a": [int(s * SECOND) for s in (0, 1, 2, 5, 6, 7, 8)]}


def test_the_pause_of_a_fault_is_the_longest_silence_that_overlaps_it() -> None:
    (pause,) = compute_pauses([fault("site-kill", 2.5, 6.5)], ACKS)
    assert (pause.cell, pause.seconds, pause.alone) == ("a", 3.0, True)


def test_company_is_told_apart() -> None:
    near, far = fault("api-kill", 4.0, 4.5), fault("hold", 7.5, 7.6)
    pauses = compute_pauses([fault("site-kill", 2.5, 3.0), near, far], ACKS)
    assert [(p.name, p.alone) for p in pauses] == [("site-kill", False), ("api-kill", False), ("hold", True)]


def test_what_missed_is_counted_and_has_no_pause() -> None:
    done = [fault("hold", 2.5, 3.0, happened=False), fault("hold", 6.1, 6.2)]
    (summary,) = summarise_pauses(done, compute_pauses(done, ACKS))
    assert (summary.happened, summary.missed, summary.max_s, summary.alone_max_s) == (1, 1, 1.0, 1.0)
