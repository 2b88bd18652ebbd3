"""`biyi ueba ...`: staff-behaviour scoring from events to a review, and how good it is.

The engines are heavy (extra `ueba`), so each command loads them when it runs.
"""

import datetime as dt
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
_home = click.option(
    "--home", "home_dir", type=click.Path(path_type=Path, file_okay=False), default=Path("ueba-home"),
    envvar="BIYI_UEBA_HOME", show_default=True, help="Folder of events, registers and scores.",
)  # fmt: skip
_settings = click.option(
    "--settings", "settings_file", type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="JSON document of settings that differ; `biyi ueba settings` prints all.",
)  # fmt: skip
_DATE = click.DateTime(["%Y-%m-%d"])
_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)


@contextmanager
def _as_click_errors() -> Iterator[None]:
    try:
        from ueba.errors import UebaError
    except ImportError as error:
        raise click.ClickException(f"{error}; needs the extra: pip install 'biyi[ueba]'") from error
    try:
        yield
    except UebaError as error:
        raise click.ClickException(str(error)) from error
    except ImportError as error:
        raise click.ClickException(f"{error}; needs the extra: pip install 'biyi[ueba]'") from error


def open_home(home_dir: Path) -> Any:
    """Return the event store of a folder."""
    from ueba.store import Home

    return Home(home_dir)


def load_settings(file: Path | None) -> Any:
    """Return the settings of a file, the defaults without one."""
    from ueba.settings import read_settings

    return read_settings(json.loads(file.read_text(encoding="utf-8")) if file else {})


@contextmanager
def _steps() -> Iterator[Callable[[str], None]]:
    """Show on a terminal what is being done; the caller tells each step."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status("…") as status:
        yield lambda text: status.update(text)


def show(document: Any, as_json: bool, columns: tuple[str, ...] = ()) -> None:
    """Print rows as a table of some columns, anything else as `name: value`; or everything as JSON."""
    if as_json:
        click.echo(json.dumps(document, ensure_ascii=False, default=str))
        return
    if isinstance(document, list):
        table = Table(*columns)
        for row in document:
            table.add_row(*("-" if row[name] is None else str(row[name]) for name in columns))
        Console().print(table if document else "none")
        return
    for name, value in document.items():
        click.echo(f"{name}: {value}")


@click.group()
def ueba() -> None:
    """Score the behaviour of staff: who is to be looked at today, and why.

    \b
    Try it:       biyi ueba generate --staff 300 --days 120; biyi ueba score --date 2026-04-30
    Today's work: biyi ueba queue --date 2026-04-30
    Why her:      biyi ueba explain e00042 --date 2026-04-30
    Decide:       biyi ueba review open e00042 --date 2026-04-30 --by reviewer-1
    Real events:  biyi ueba collect; or biyi ueba schema; biyi ueba ingest events.jsonl
    The portal:   biyi ueba publish --date 2026-04-30; biyi ueba watch
    How good:     biyi ueba trial; biyi ueba evaluate --events E.csv --labels L.csv
    Same again:   biyi ueba replay --date 2026-04-30
    """


@ueba.command("schema")
@click.argument("record", type=click.Choice(["event", "staff", "customer", "relation"]), default="event")
def schema_command(record: Any) -> None:
    """Print the JSON Schema of a line that `ingest` takes."""
    with _as_click_errors():
        from ueba.events import json_schema

        click.echo(json.dumps(json_schema(record), ensure_ascii=False, indent=2))


@ueba.command("settings")
def settings_command() -> None:
    """Print all settings as JSON, to be edited and given back with --settings."""
    with _as_click_errors():
        click.echo(json.dumps(load_settings(None).plain(), indent=2))


@ueba.command("generate")
@_home
@click.option("--staff", default=1000, show_default=True)
@click.option("--days", default=180, show_default=True)
@click.option("--cases", default=4, show_default=True, help="Of each of 13 kinds of misuse, easy and hard.")
@click.option("--first", default=90, show_default=True, help="Day from which there is misuse.")
@click.option("--seed", default=1, show_default=True)
@_json
def generate_command(home_dir: Path, as_json: bool, **plan: int) -> None:
    """Make up an organisation with known misuse, into an empty home; labels.json says what was misused.

    \b
    Example: biyi ueba generate --home /tmp/made --staff 300 --days 120 --cases 2 --first 100
    """
    with _as_click_errors():
        from ueba.generator.write import Plan, write_organisation

        wanted = Plan(**plan)
        events = injected = 0
        with Progress(
            console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()
        ) as progress:
            task = progress.add_task("days", total=wanted.days)
            for made in write_organisation(open_home(home_dir), wanted):
                events, injected = events + made.events, injected + made.injected
                progress.advance(task)
    show({"home": str(home_dir), "events": events, "of them misuse": injected, "seed": wanted.seed}, as_json)


@ueba.command("ingest")
@click.argument("file", type=_FILE)
@click.option("--register", "record", type=click.Choice(["staff", "customer", "relation"]), default=None,
              help="The file is a whole register instead of events.")  # fmt: skip
@_home
@_settings
@_json
def ingest_command(
    file: Path, record: Any, home_dir: Path, settings_file: Path | None, as_json: bool
) -> None:
    """Take in events (or a register) from JSON lines or CSV. Exit 1 when lines were rejected.

    Nothing is dropped: a rejected line is named in <home>/rejects with its line number, field and reason,
    the others are in. Safe to repeat: an event that is in already is counted, not doubled. Events may come
    late and in any order; one that lies further in the future than clocks may differ is rejected until then.
    A register's file replaces the one before; while a line of it is rejected, it takes nobody out ("kept").

    \b
    Examples: biyi ueba ingest events.jsonl
              biyi ueba ingest staff.csv --register staff
    What a line says: biyi ueba schema; biyi ueba schema staff
    """
    with _as_click_errors():
        from ueba.ingest import ingest_file

        now = dt.datetime.now(dt.UTC)  # noqa: TID251 - the shell's clock
        with _steps() as told:
            found = ingest_file(
                open_home(home_dir), file, record or "event", now, load_settings(settings_file),
                told=lambda lines: told(f"{lines} lines"),
            )  # fmt: skip
    show(
        {
            name: getattr(found, name)
            for name in ("lines", "taken", "seen_before", "rejected", "days", "kept")
        },
        as_json,
    )
    sys.exit(1 if found.rejected else 0)


def _wanted(date: dt.datetime, fit_until: dt.datetime | None) -> Any:
    from ueba.daily import Wanted

    day = date.date()
    # The first day of the month before which the model is fitted: one model a month.
    until = fit_until.date() if fit_until else day.replace(day=1) - dt.timedelta(days=1)
    return Wanted(day, until)


_date = click.option("--date", type=_DATE, required=True, help="The local day.")
_fit = click.option("--fit-until", type=_DATE, help="Last day that the model learns from; the month's eve.")


@ueba.command("score")
@_date
@_fit
@_home
@_settings
@_json
def score_command(
    date: dt.datetime,
    fit_until: dt.datetime | None,
    home_dir: Path,
    settings_file: Path | None,
    as_json: bool,
) -> None:
    """Fit and score a day, and keep the scores with a card that names all they depend on.

    \b
    Examples: biyi ueba score --date 2026-04-30
              biyi ueba score --date 2026-04-30 --fit-until 2026-04-15 --json
    """
    with _as_click_errors():
        from ueba.daily import keep, read_scores, score_home

        home, settings = open_home(home_dir), load_settings(settings_file)
        with _steps() as told:
            keep(home, score_home(home, _wanted(date, fit_until), settings, told))
        rows, card = read_scores(home, date.date())
    ranked = sorted(rows.to_pylist(), key=lambda row: -row["score"])
    if as_json:
        show({"card": card, "scores": ranked}, as_json=True)
        return
    show(ranked[:20], False, ("staff", "role", "score", "level", "rules"))
    click.echo(f"{len(ranked)} staff scored; the 20 highest are shown; scores' digest {card['scores'][:16]}")


@ueba.command("fit")
@_date
@_fit
@_home
@_settings
@_json
def fit_command(
    date: dt.datetime,
    fit_until: dt.datetime | None,
    home_dir: Path,
    settings_file: Path | None,
    as_json: bool,
) -> None:
    """Fit the model that scores a day and print its card; nothing is kept.

    \b
    Example: biyi ueba fit --date 2026-04-30
    """
    with _as_click_errors():
        from ueba.daily import score_home

        with _steps() as told:
            scored = score_home(
                open_home(home_dir), _wanted(date, fit_until), load_settings(settings_file), told
            )
    show(scored.card, as_json)


@ueba.command("explain")
@click.argument("employee")
@_date
@_fit
@_home
@_settings
@_json
def explain_command(
    employee: str,
    *,
    date: dt.datetime,
    fit_until: dt.datetime | None,
    home_dir: Path,
    settings_file: Path | None,
    as_json: bool,
) -> None:
    """Say why a person has a day's score: value, own usual, peers' usual, since when, which log lines.

    \b
    Example: biyi ueba explain e00042 --date 2026-04-30
    """
    with _as_click_errors():
        from ueba.daily import score_home
        from ueba.errors import UebaError
        from ueba.lines import find_lines
        from ueba.reasons import explain
        from ueba.settings import day_number

        home, settings = open_home(home_dir), load_settings(settings_file)
        with _steps() as told:
            scored = score_home(home, _wanted(date, fit_until), settings, told)
            row = scored.evidence.find(employee, day_number(date.date()))
            if row is None:
                raise UebaError(f"{employee}: no events on {date.date()}; needs a person of that day")
            found = explain(scored.evidence, scored.scores, row, settings)
            families = [reason.family for reason in (*found.today, *found.accumulated)]
            lines = find_lines(home, employee, date.date(), families, settings)
    if as_json:
        show(found.plain() | {"lines": lines}, as_json=True)
        return
    click.echo(f"{found.staff} ({found.role}) on {found.day}: {found.score} {found.level}")
    for rule in found.rules:
        click.echo(f"  rule: {rule['text']} {rule['text_zh']} (score at least {rule['floor']:g})")
    for title, reasons in (("today 当日", found.today), ("accumulated 累积", found.accumulated)):
        for reason in reasons:
            usual = f"own usual {reason.own_usual} ({reason.own_days} days), peers {reason.peers_usual}"
            click.echo(
                f"  {title}: {reason.text} {reason.text_zh} [{reason.measure}, {reason.over}] 1 in "
                f"10^{reason.digits:.1f}, {reason.share:.0%} of it; value {reason.value}, {usual}, "
                f"since {reason.since}"
            )
    for family, ids in lines.items():
        click.echo(f"  log lines ({family}): {', '.join(ids[:8])}{' …' if len(ids) > 8 else ''}")


@ueba.command("queue")
@_date
@click.option("--seed", default=1, show_default=True, help="Of the random slots.")
@_home
@_settings
@_json
def queue_command(
    date: dt.datetime, seed: int, home_dir: Path, settings_file: Path | None, as_json: bool
) -> None:
    """Print who is to be looked at, from the kept scores and the reviews so far; `on` is the day to review.

    Fresh evidence that found no slot waits some days for one. Leavers are looked at a week after notice.

    \b
    Example: biyi ueba score --date 2026-04-30; biyi ueba queue --date 2026-04-30
    """
    with _as_click_errors():
        from ueba.casework import find_row, make_queue

        home, day = open_home(home_dir), date.date()
        found = make_queue(home, day, seed, load_settings(settings_file))
        rows = [
            {"staff": one.staff, "why": str(one.kind), "new": round(one.digits, 2),
             "on": find_row(home, day, one)[0].isoformat()}
            for one in found.slots
        ]  # fmt: skip
    if as_json:
        show({"slots": rows, "passed": dict(found.passed)}, as_json=True)
        return
    show(rows, False, ("staff", "why", "new", "on"))
    click.echo(f"{len(found.passed)} rest after a review or have an open case")


@ueba.command("coverage")
@_date
@click.option("--systems", required=True, help="The registered systems, separated by commas.")
@_home
@_json
def coverage_command(date: dt.datetime, systems: str, home_dir: Path, as_json: bool) -> None:
    """Prove that every registered system has reported that day. Exit 1 when one was silent.

    \b
    Example: biyi ueba coverage --date 2026-04-30 --systems portal,database,hosts
    """
    with _as_click_errors():
        from ueba.daily import find_silent

        counts = find_silent(open_home(home_dir), systems.split(","), date.date())
    silent = sorted(name for name, events in counts.items() if not events)
    known = systems.split(",")
    share = 1 - len(silent) / len(known)
    show({"coverage": f"{share:.0%}", "silent": silent, "events": counts,
          "unregistered": sorted(set(counts) - set(known))}, as_json)  # fmt: skip
    sys.exit(1 if silent else 0)


@ueba.command("replay")
@_date
@_home
@_settings
@_json
def replay_command(date: dt.datetime, home_dir: Path, settings_file: Path | None, as_json: bool) -> None:
    """Make an old day's scores again and compare every bit. Exit 1 when they differ; what differs is named.

    \b
    Example: biyi ueba replay --date 2026-04-30
    """
    with _as_click_errors():
        from ueba.daily import replay

        with _steps() as told:
            found = replay(open_home(home_dir), date.date(), load_settings(settings_file), told)
    show(found, as_json)
    sys.exit(0 if found["same"] else 1)
