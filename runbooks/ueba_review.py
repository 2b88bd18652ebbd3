"""`biyi ueba review ...`, `trial` and `evaluate`: what reviewers decide, and how good the scoring is."""

import datetime as dt
import json
import sys
from pathlib import Path
from typing import Any

import click

from runbooks.ueba import (
    _as_click_errors,
    _date,
    _home,
    _json,
    _settings,
    _steps,
    load_settings,
    open_home,
    show,
    ueba,
)

__all__ = ["ueba"]


@ueba.group("review")
def review() -> None:
    """Decide about a person's day: two people for each decision, and to learn who it is.

    \b
    Begin:    biyi ueba review open e00042 --date 2026-04-30 --by ann
    Decide:   biyi ueba review propose e00042 --date 2026-04-30 --by ann --as explained \\
                  --family volume --until 2026-05-31
    Agree:    biyi ueba review confirm e00042 --date 2026-04-30 --by bob
    Who is it: biyi ueba review ask_unmask ... --by ann; biyi ueba review approve_unmask ... --by bob
    All:      biyi ueba review list
    """


@review.command("list")
@_home
@_json
def list_command(home_dir: Path, as_json: bool) -> None:
    """Show all reviews with who proposed and who confirmed."""
    with _as_click_errors():
        from core_app.staff.reviews import list_cases, plain
        from ueba.journal import read_acts

        acts, _ = read_acts(home_dir / "reviews.jsonl")
        rows = [plain(case) for case in list_cases(acts)]
    show(rows, as_json, ("staff", "on", "open", "disposition", "proposed_by", "confirmed_by"))


def _make(kind: str, text: str) -> click.Command:
    @click.argument("employee")
    @_date
    @click.option("--by", required=True, help="Who acts.")
    @click.option(
        "--as",
        "disposition",
        type=click.Choice(["malicious", "policy_breach", "explained", "data_fault", "role_change"]),
        help="What was found.",
    )
    @click.option("--family", help="Kind of behaviour that was explained.")
    @click.option("--until", type=click.DateTime(["%Y-%m-%d"]), help="Last day of an explanation.")
    @_home
    @_json
    def command(
        employee: str,
        *,
        date: dt.datetime,
        by: str,
        home_dir: Path,
        as_json: bool,
        disposition: str | None,
        family: str | None,
        until: dt.datetime | None,
    ) -> None:
        with _as_click_errors():
            from ueba.casework import add_act

            values: dict[str, Any] = {"kind": kind, "by": by, "staff": employee, "on": date.date()}
            values |= {"disposition": disposition, "family": family, "until": until.date() if until else None}
            case = add_act(open_home(home_dir), values)
        show(case, as_json)

    return click.command(kind, help=text)(command)


for _kind, _text in (
    ("open", "Begin a review; the person's days do not become usual while it is open."),
    ("propose", "Propose what was found."),
    ("confirm", "Agree with a proposal: by another person than the proposer."),
    ("reject", "Disagree with a proposal: by another person; it can be proposed anew."),
    ("ask_unmask", "Ask to learn whose pseudonym it is."),
    ("approve_unmask", "Allow another person's wish to learn it."),
):
    review.add_command(_make(_kind, _text))


@ueba.command("trial")
@_home
@_settings
@click.option("--seed", default=1, show_default=True)
@_json
def trial_command(home_dir: Path, settings_file: Path | None, seed: int, as_json: bool) -> None:
    """Review a made-up organisation day by day, and say what was found: recall, days, precision, burden.

    Needs the home of `biyi ueba generate`. Beside it the control, which must lose: raw counts.

    \b
    Example: biyi ueba generate --home /tmp/made; biyi ueba trial --home /tmp/made
    """
    with _as_click_errors():
        from ueba.proof import try_home

        with _steps() as told:
            found = try_home(open_home(home_dir), load_settings(settings_file), seed, told)
    if as_json:
        show(found, as_json=True)
        return
    columns = ("scenario", "intensity", "cases", "found", "recall", "median_days")
    show(found["layers"]["scenarios"], False, columns)
    for name in ("layers", "control"):
        one = found[name]
        click.echo(
            f"{name}: recall easy {one['recall']['easy'][0]} hard {one['recall']['hard'][0]}, "
            f"precision {one['precision'][0]} of {one['reviews']} reviews"
        )
    show(found["burden"]["role"], False, ("group", "staff", "reviews", "per_100_staff"))


@ueba.command("evaluate")
@click.option(
    "--events",
    type=click.Path(path_type=Path, exists=True),
    required=True,
    help="CSV or JSON lines: entity, time, action, optional attributes, optional peers.",
)
@click.option(
    "--labels",
    type=click.Path(path_type=Path, exists=True),
    required=True,
    help="CSV: entity, step (or time), label 0 or 1.",
)
@click.option("--block", type=int, help="Events of an entity in a step; without it a step is a day.")
@click.option("--train", required=True, metavar="STEP",
              help="First step that is scored, as a number or a day; what is before is clean.")  # fmt: skip
@click.option("--seed", default=1, show_default=True, help="Of the bootstrap.")
@click.option("--draws", default=500, show_default=True, help="Of the bootstrap: fewer are faster.")
@_settings
@_json
def evaluate_command(
    *,
    events: Path,
    labels: Path,
    block: int | None,
    train: str,
    seed: int,
    draws: int,
    settings_file: Path | None,
    as_json: bool,
) -> None:
    """Judge every detector and the whole on labelled events of any organisation.

    AUC and average precision with 95 % intervals (entities drawn with replacement), precision and entities
    found at k reviews a step. Example: commands of Unix users, blocks of 100, the first 50 blocks clean:

    \b
        biyi ueba evaluate --events commands.csv --labels labels.csv --block 100 --train 50
        biyi ueba evaluate --events days.jsonl --labels days.csv --train 2026-03-01
    """
    with _as_click_errors():
        from ueba.sequences import judge, make_tables, read_events, read_labels, read_step, score_sequences

        try:
            first = read_step(train)
        except ValueError as error:
            raise click.BadParameter(f"{error}; needs a number or a day", param_hint="--train") from error
        with _steps() as told:
            told("reading")
            table, attributes = read_events(events, block)
            tables, domain = make_tables(table, attributes, first)
            told("scoring")
            judged = score_sequences(tables, domain, first, load_settings(settings_file))
            rows, label = read_labels(labels, judged)
            told("judging")
            found = judge(judged, rows, label, seed, draws)
    if as_json:
        click.echo(
            json.dumps({"steps": len(rows), "attacks": int(label.sum()), "seed": seed, "scores": found})
        )
        sys.exit(0)
    shown = [one | {f"precision at {k}": one[f"at_{k}"]["precision"] for k in (1, 2, 3)} for one in found]
    show(shown, False, ("score", "auc", "ap", "precision at 1", "precision at 2", "precision at 3"))
