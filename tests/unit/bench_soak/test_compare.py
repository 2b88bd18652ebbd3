"""What a soak calls growth."""

from bench.soak import Sample, compare


def looks(name: str, figures: list[float]) -> list[tuple[float, Sample]]:
    return [(number / 6, {name: figure}) for number, figure in enumerate(figures)]


def test_memory_that_keeps_growing_is_told() -> None:
    found = compare(looks("rss_mib/agent", [80.0 + 2 * number for number in range(40)]))
    assert found["rss_mib/agent"] == {"second_quarter": 109.0, "last_quarter": 149.0, "grew": True}


def test_what_warms_up_and_then_stays_has_not_grown() -> None:
    found = compare(looks("rss_mib/agent", [40.0] * 10 + [100.0] * 30))
    assert not found["rss_mib/agent"]["grew"]


def test_one_slot_more_is_told_only_when_it_is_two() -> None:
    one, two = ([4.0] * 30 + [4.0 + more] * 10 for more in (1, 2))
    assert not compare(looks("slots/postgres", one))["slots/postgres"]["grew"]
    assert compare(looks("slots/postgres", two))["slots/postgres"]["grew"]


def test_wal_grows_once_a_copy_keeps_more_than_its_settings_name() -> None:
    within, beyond = ([100.0] * 20 + [late] * 20 for late in (500.0, 530.0))
    assert not compare(looks("wal_mib/postgres", within))["wal_mib/postgres"]["grew"]
    assert compare(looks("wal_mib/postgres", beyond))["wal_mib/postgres"]["grew"]


def test_a_process_that_was_away_for_some_looks_is_compared_by_the_others() -> None:
    samples = looks("files/api", [50.0] * 20 + [90.0] * 20)
    samples[35:38] = [(at, {}) for at, _ in samples[35:38]]
    assert compare(samples)["files/api"]["grew"]
