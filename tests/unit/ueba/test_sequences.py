"""Labelled events of an organisation never seen before are judged from their description alone."""

import csv
import dataclasses
import datetime as dt
import json

import numpy as np
import pytest
from click.testing import CliRunner

from runbooks.cli import main
from ueba.errors import UebaError
from ueba.judge import at_budgets
from ueba.sequences import make_tables, read_events, score_sequences
from ueba.settings import ScoreSettings, Settings

ENTITIES, CLEAN, STEPS, EVENTS, WORDS = 12, 16, 24, 20, 60
SCORE = ScoreSettings(least_rows=50, least_periods=5, trees=20, seeds=(11,))
ATTACKED = {(entity, step) for entity, step in ((1, 20), (1, 21), (4, 18), (7, 23))}
DETECTORS = {"iforest-11", "knn", "pca"}


def write_history(folder, attacked=ATTACKED, new_from=STEPS, **more):
    """Commands of a dozen people with a vocabulary each; on attacked steps another is at the keyboard."""
    rng = np.random.default_rng(8)
    own = [rng.choice(WORDS, 15, replace=False) for _ in range(ENTITIES)]
    lines, labels = [], []
    for entity in range(ENTITIES):
        for step in range(STEPS):
            words = own[entity if (entity, step) not in attacked else (entity + 5) % ENTITIES]
            for n, word in enumerate(rng.choice(words, EVENTS)):
                action = f"w{word}" if step < new_from or n % 2 else f"new-{step}-{n}"
                line = {"entity": f"u{entity:02d}", "time": step * EVENTS + n, "action": action}
                lines.append(line | {name: value(entity, step) for name, value in more.items()})
            if step >= CLEAN:
                labels.append(
                    {"entity": f"u{entity:02d}", "step": step, "label": int((entity, step) in ATTACKED)}
                )
    for name, rows in (("events.csv", lines), ("labels.csv", labels)):
        with (folder / name).open("w", newline="") as opened:
            writer = csv.DictWriter(opened, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    return lines


def evaluate(folder, *words, events="events.csv"):
    (folder / "settings.json").write_text(json.dumps({"score": dataclasses.asdict(SCORE)}))
    files = ("--events", str(folder / events), "--labels", str(folder / "labels.csv"), "--draws", "40")
    done = CliRunner().invoke(
        main, ["ueba", "evaluate", *files, "--settings", str(folder / "settings.json"), *words, "--json"]
    )
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    return found, {one["score"]: one for one in found["scores"]}


def test_every_detector_and_the_whole_are_judged_with_intervals(tmp_path):
    write_history(tmp_path)
    found, scores = evaluate(tmp_path, "--block", str(EVENTS), "--train", str(CLEAN))
    assert (found["steps"], found["attacks"]) == (ENTITIES * (STEPS - CLEAN), len(ATTACKED))
    assert scores.keys() >= DETECTORS | {"detectors together", "layers, today", "whole", "action:novelty"}
    for one in scores.values():
        figures = [one["auc"], one["ap"]]
        for k in (1, 2, 3):
            at = one[f"at_{k}"]
            figures += [at["precision"], at["found_share"]]
            assert at["of"] == 3
            assert at["found_share"][0] == pytest.approx(at["found"] / 3, abs=1e-3)
        assert all(0 <= low <= high <= 1 for _, low, high in figures)
        assert all(low - 1e-9 <= value <= high + 1e-9 for value, low, high in (one["auc"], one["ap"]))
    assert scores["whole"]["auc"][0] == 1.0
    assert scores["whole"]["at_1"]["found"] == 3


def test_labels_on_ordinary_steps_are_not_found(tmp_path):
    """The control that must lose: nobody else was ever at the keyboard."""
    write_history(tmp_path, attacked=set())
    _, scores = evaluate(tmp_path, "--block", str(EVENTS), "--train", str(CLEAN))
    assert 0.1 < scores["whole"]["auc"][0] < 0.9


def test_days_and_attributes_of_json_lines_go_the_same_way(tmp_path):
    """Same commands as ever, from a host of one's own; on attacked days from another's."""
    lines = write_history(
        tmp_path,
        attacked=set(),
        host=lambda who, step: f"h{(who + 5) % ENTITIES if (who, step) in ATTACKED else who}",
    )
    first = dt.datetime(2026, 3, 1, 9, tzinfo=dt.UTC)
    for line in lines:
        step, n = divmod(line["time"], EVENTS)
        line["time"] = (first + dt.timedelta(days=step, minutes=n)).isoformat()
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    labels = list(csv.DictReader((tmp_path / "labels.csv").read_text().splitlines()))
    with (tmp_path / "labels.csv").open("w", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(["entity", "time", "label"])
        writer.writerows(
            (one["entity"], (first + dt.timedelta(days=int(one["step"]))).date().isoformat(), one["label"])
            for one in labels
        )
    train = (first + dt.timedelta(days=CLEAN)).date().isoformat()
    _, scores = evaluate(tmp_path, "--train", train, events="events.jsonl")
    assert "host:novelty" in scores
    assert scores["whole"]["auc"][0] > 0.95
    assert scores["action:novelty"]["auc"][0] < 0.9


@pytest.mark.parametrize("cut", [CLEAN + 1, STEPS - 1])
def test_no_score_of_a_step_sees_a_later_step(tmp_path, cut):
    """Later steps are taken away; they bring words that nobody has used before."""
    write_history(tmp_path, new_from=cut)
    events, _ = read_events(tmp_path / "events.csv", EVENTS)
    settings = Settings(score=SCORE)
    both = []
    for last in (STEPS, cut):
        tables, domain = make_tables(events.filter(events["day"].to_numpy() < last), [], CLEAN)
        judged = score_sequences(tables, domain, CLEAN, settings)
        rows = judged.step < cut
        both.append({name: score[rows] for name, score in judged.scores.items()})
    assert both[0].keys() == both[1].keys()
    for name, score in both[0].items():
        np.testing.assert_array_equal(score, both[1][name], err_msg=name)


def test_reviews_at_a_budget_are_counted_by_step():
    """Two steps of three entities; k reviews of the highest each, one attacked entity found twice."""
    entity, step = np.array([0, 1, 2, 0, 1, 2]), np.array([0, 0, 0, 1, 1, 1])
    label, score = np.array([0, 1, 0, 0, 1, 1]), np.array([0.9, 0.5, 0.1, 0.2, 0.8, 0.7])
    found = at_budgets(entity, step, label, score, budgets=(1, 2, 3), seed=1)
    assert [(found[k].precision.value, found[k].found, found[k].of) for k in (1, 2, 3)] == [
        (0.5, 1, 2), (0.75, 2, 2), (0.5, 2, 2),
    ]  # fmt: skip
    assert found[1].precision.low <= 0.5 < found[1].precision.high
    assert found[2].found_share.plain()[0] == 1.0


def test_what_cannot_be_read_as_events_is_told(tmp_path):
    file = tmp_path / "events.csv"
    file.write_text("entity,action\na,b\n")
    with pytest.raises(UebaError, match="no column time"):
        read_events(file, None)
    file.write_text("entity,time,action\na,yesterday,b\n")
    with pytest.raises(UebaError, match=r"events\.csv.*yesterday"):
        read_events(file, None)
