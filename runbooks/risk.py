"""`biyi risk gangs | expire | models | train | federate | stability`: what decisions rest on, by hand."""

import asyncio
import datetime as dt
import json
import sys
import uuid
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.progress import track
from rich.table import Table

from compliance.protection.errors import ProtectionError
from compliance.protection.vault import open_vault
from core_app.business_calendar import business_date_at
from core_app.core import Connection, LendingCore
from core_app.decisions.gang_search import search_gangs
from core_app.decisions.risk import read_risk
from core_app.errors import DocumentInvalid
from core_app.limits.hold import expire_next
from core_app.marketing.read import read_score
from core_app.products.catalogue import read_catalogue
from core_app.router import CellUnavailable, Router
from replication.settings import SettingsError
from replication.tls import calling
from runbooks.cells import site_settings

T = TypeVar("T")
CELL_SECONDS = 30.0
"""Patience with each cell. Source: our choice; reading a million pieces of evidence takes seconds."""
TRAINING_SEED = 20260101
TRAINING_ROWS = 40_000
"""Of the shipped scorecards. Source: our choice; `biyi risk train` gives the same documents again."""
FIRST_DAY = dt.date(2024, 4, 18)
"""From when the shipped scorecards hold. Source: Order 2024-4, the first day of the rules of lending."""
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")


@click.group()
def risk() -> None:
    """Look after what decides applications: gangs, scorecards, stability.

    \b
    Who hangs together:     biyi risk gangs
    Free what nobody drew:  biyi risk expire
    What decides today:     biyi risk models
    Train them again:       biyi risk train --into models
    Train without sharing:  biyi risk federate
    Do tiers stand still:   biyi risk stability --months 12
    """


@asynccontextmanager
async def _open_core() -> AsyncIterator[LendingCore]:
    settings = next(iter(site_settings().values()))
    async with Router.start(settings, tls=calling(settings.tls_dir, "etcd")) as router:
        yield LendingCore(
            router=router,
            vault=open_vault(settings.key_file),
            catalogue=read_catalogue(),
            site=str(settings.site),
            deadline_seconds=CELL_SECONDS,
            new_uuid=uuid.uuid4,
            read_today=lambda: business_date_at(dt.datetime.now(dt.UTC)),  # noqa: TID251 - a shell
        )


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end; a cell that does not answer ends the command with 3, a bad document with 1."""
    try:
        return asyncio.run(work)
    except CellUnavailable as error:
        click.echo(f"cell {error.cell} does not answer ({error.outcome}): run it again", err=True)
        sys.exit(3)
    except (DocumentInvalid, ProtectionError, SettingsError) as error:
        raise click.ClickException(str(error)) from error


@risk.command("gangs")
@_json
def gangs_command(as_json: bool) -> None:
    """Find who hangs together by shared devices, WiFi, addresses and phones, over all cells of the stand.

    What is found is kept in each cell and counts from the next application on, by the sizes and densities
    of the policy. Exit 3 when a cell cannot be read or written: run it again.
    """

    async def work() -> dict[str, Any]:
        async with _open_core() as core:
            found = await search_gangs(core, str(core.new_uuid()))
            rule = core.risk.policy.gang
        refused = [
            one
            for one in found.components
            if len(one.customers) >= rule.min_customers and one.density >= rule.min_density
        ]
        return {
            "run_id": found.run_id,
            "customers": found.customers,
            "values": found.values,
            "components": len(found.components),
            "gangs": [
                {"gang": one.name, "customers": len(one.customers), "density": one.density} for one in refused
            ],
        }

    shown = _run(work())
    if as_json:
        click.echo(json.dumps(shown))
        return
    table = Table("gang", "customers", "density")
    for row in shown["gangs"]:
        table.add_row(row["gang"], str(row["customers"]), f"{row['density']:.2f}")
    Console().print(table if shown["gangs"] else "no gang")
    click.echo(
        f"{shown['customers']} customers, {shown['values']} values, "
        f"{shown['components']} groups of two or more"
    )


@risk.command("expire")
@_json
def expire_command(as_json: bool) -> None:
    """Let contracts expire that were signed, not drawn, and are past their validity, in every cell.

    What they reserved of their customers' limits may be lent again. One short transaction a contract; safe
    to break off and to repeat. Exit 3 when a cell does not answer.
    """

    async def expire(core: LendingCore, cell: str) -> str | None:
        async def work(connection: Connection, epoch: int) -> str | None:
            return await expire_next(connection, core.read_today())

        return (await core.router.write(cell, work, deadline_seconds=CELL_SECONDS)).value

    async def work() -> dict[str, int]:
        expired = {}
        async with _open_core() as core:
            with Console(stderr=True).status("expiring") as status:
                for cell in core.router.cells:
                    expired[cell] = 0
                    while await expire(core, cell) is not None:
                        expired[cell] += 1
                        status.update(f"cell {cell}: {expired[cell]} contracts expired")
        return expired

    found = _run(work())
    if as_json:
        click.echo(json.dumps(found))
    else:
        for cell, count in found.items():
            click.echo(f"{cell}: {count} contracts expired")


@risk.command("models")
@_json
def models_command(as_json: bool) -> None:
    """Show every version of every scorecard, with KS and AUC on the synthetic data it was trained on."""
    rows = [
        {
            "model": model.card.id,
            "version": model.card.version,
            "from": model.card.valid_from.isoformat(),
            "ks": model.card.measured.ks,
            "auc": model.card.measured.auc,
            "trained_on": model.card.trained_on,
            "sm3": model.sm3.hex(),
        }
        for model in (*read_risk().versions, read_score())
    ]
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False))
        return
    table = Table("model", "v", "from", "KS", "AUC", "SM3", caption=str(rows[0]["trained_on"]))
    for row in rows:
        cells = (row["model"], row["version"], row["from"], row["ks"], row["auc"], str(row["sm3"])[:16])
        table.add_row(*map(str, cells))
    Console().print(table)


@risk.command("train")
@click.option("--seed", default=TRAINING_SEED, show_default=True)
@click.option("--rows", default=TRAINING_ROWS, show_default=True, help="Synthetic people; half are held out.")
@click.option("--into", type=click.Path(path_type=Path, file_okay=False), help="Write the documents there.")
@_json
def train_command(seed: int, rows: int, into: Path | None, as_json: bool) -> None:
    """Train the scorecards on a synthetic population and compare them with the shipped ones.

    The same seed gives the same documents to the last digit. Exit 1 when they differ from the shipped ones
    and were not written anywhere.
    """
    from core_app.decisions.training.fit import train_cards  # numpy: loaded only by who trains
    from core_app.marketing.train import train_score

    shipped = {model.card.id: model.card for model in (*read_risk().versions, read_score())}
    shown = []
    for card in (*train_cards(seed, rows, FIRST_DAY), train_score(seed, rows, FIRST_DAY)):
        measured = card.measured.model_dump()
        shown.append({"model": card.id, **measured, "as_shipped": shipped.get(card.id) == card})
        if into is not None:
            into.mkdir(parents=True, exist_ok=True)
            text = json.dumps(card.model_dump(mode="json"), indent=1) + "\n"
            (into / f"{card.id}-{card.version}.json").write_text(text, encoding="utf-8")
    if as_json:
        click.echo(json.dumps({"data": f"synthetic, seed {seed}, {rows} rows", "models": shown}))
    else:
        table = Table("model", "KS", "AUC", "held out", "as shipped", caption=f"synthetic, seed {seed}")
        for row in shown:
            table.add_row(*(str(row[name]) for name in ("model", "ks", "auc", "rows", "as_shipped")))
        Console().print(table)
    sys.exit(0 if into is not None or all(row["as_shipped"] for row in shown) else 1)


@risk.command("federate")
@click.option("--seed", default=11, show_default=True)
@click.option(
    "--rows", default=20_000, show_default=True, type=click.IntRange(2),
    help="Synthetic people, half of them at each house.",
)  # fmt: skip
@_json
def federate_command(seed: int, rows: int, as_json: bool) -> None:
    """Fit the challenger at a bank and at the platform without either seeing the other's rows.

    \b
    bank       a process with customers of its own; answers over mutual TLS, with sums only
    platform   this process, with other customers; adds both sums up and steps (Newton)

    The weights found are those of all rows in one place. An answer is as long for many rows as for few. A
    house with few rows, with a mark that few people bear, or asked about weights that single people out gives
    nothing. AUC is on people that neither house has; all are made up: it says nothing about real borrowers.

    \b
    Try it:             biyi risk federate
    See a refusal:      biyi risk federate --rows 900
    For a machine:      biyi risk federate --json

    Exit 1 when a house gives nothing.
    """
    from core_app.decisions.training.federated import HouseRefused  # numpy, see `train`
    from runbooks.federate import federate

    try:
        found = asyncio.run(federate(seed, rows))
    except HouseRefused as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps({"data": f"synthetic, seed {seed}, {rows} rows", **found}))
        return
    table = Table("fitted to the rows of", "AUC", caption=f"synthetic, seed {seed}, {rows} rows")
    for name in ("bank_alone", "platform_alone", "federated", "pooled"):
        table.add_row(name.replace("_", " "), f"{found[name]:.4f}")
    Console().print(table)
    click.echo(f"{found['rounds']} rounds; {found['bytes_crossed']} bytes of sums crossed, no row")


@risk.command("stability")
@click.option("--people", default=2000, show_default=True, help="Synthetic people.")
@click.option("--months", default=12, show_default=True)
@click.option("--seed", default=7, show_default=True)
@click.option("--band", default=15, show_default=True, help="Points of hysteresis, as in the products.")
@_json
def stability_command(people: int, months: int, seed: int, band: int, as_json: bool) -> None:
    """Score the same synthetic people every month: how often tiers flip with the band and without, and PSI.

    The people's hidden risk drifts slowly; what is seen of it is noisy. Says nothing about real borrowers.
    """
    from core_app.decisions.training.stability import measure_stability

    console = Console(stderr=True)
    found = measure_stability(
        (seed, people, months),
        band,
        lambda months: track(
            months, "scoring", console=console, disable=not console.is_terminal, transient=True
        ),
    )
    shown = {"data": f"synthetic, seed {seed}, {people} people", "band": band, **found}
    if as_json:
        click.echo(json.dumps(shown))
        return
    table = Table("", "with the band", "without", caption=str(shown["data"]))
    table.add_row("tier flips a month", f"{found['flip_rate']:.2%}", f"{found['flip_rate_without']:.2%}")
    Console().print(table)
    click.echo(f"PSI of the score, month to month: at most {found['psi_most']:.4f}")
