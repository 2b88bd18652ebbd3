"""`biyi dashboards diff | apply | delete`: Grafana's dashboards and alerts as infra/ describes them.

What they are prints `python -m infra.dashboards`; how Grafana is asked is grafana-client's. Only what carries
our uids is ever touched.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from grafana_client import GrafanaApi

ROOT = Path(__file__).parent.parent
PATIENCE_SECONDS = 10.0
"""Patience with one call to Grafana. Source: our choice; it answers in tens of milliseconds."""
GRAFANAS_OWN = frozenset({"id", "version"})
"""Fields of a dashboard that Grafana sets."""
EXIT_CHANGES, EXIT_UNKNOWN = 4, 3
"""As `biyi deploy` has them: 4 found changes, 3 could not tell."""

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Difference:
    """One object and how Grafana's differs: `missing`, `same` or `changed` with the fields that do."""

    kind: str
    uid: str
    title: str
    state: str
    fields: tuple[str, ...] = ()


class GrafanaFailed(Exception):
    """Grafana could not be asked or said no; the message says what was asked and its answer."""


@click.group()
def dashboards() -> None:
    """Bring dashboards and alerts into Grafana, compare them, take them away.

    \b
    Where Grafana is:   export GRAFANA_URL=https://grafana.example.com GRAFANA_TOKEN=…
    What would change:  biyi dashboards diff
    Do it:              biyi dashboards apply
    Exit codes: 0 the same or done, 1 refused, 2 usage, 3 Grafana could not be asked, 4 differences were found
    """


_SOURCE = click.option(
    "--datasource",
    default="prometheus",
    show_default=True,
    help="Uid of Prometheus in Grafana, for the alerts.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")


@dashboards.command("diff")
@_SOURCE
@_JSON
def diff_command(datasource: str, as_json: bool) -> None:
    """Show how Grafana differs from what infra/ says. Changes nothing."""
    found = _asked(lambda grafana: compare(grafana, read_document(datasource)))
    _show(found, as_json)
    sys.exit(EXIT_CHANGES if any(one.state != "same" for one in found) else 0)


@dashboards.command("apply")
@_SOURCE
@_JSON
def apply_command(datasource: str, as_json: bool) -> None:
    """Create what is missing, replace what differs; what is the same is not touched."""
    _show(_asked(lambda grafana: apply(grafana, read_document(datasource))), as_json)


@dashboards.command("delete")
@_SOURCE
@click.option("--execute", is_flag=True, help="Act. Without it nothing is changed.")
@_JSON
def delete_command(datasource: str, execute: bool, as_json: bool) -> None:
    """Take our dashboards, alerts and folder out of Grafana; without --execute they are only listed."""
    document = read_document(datasource)
    if not execute:
        _show(_asked(lambda grafana: compare(grafana, document)), as_json)
        click.echo("nothing was deleted; add --execute", err=True)
        sys.exit(1)
    _show(_asked(lambda grafana: delete(grafana, document)), as_json)


def read_document(datasource: str) -> Document:
    """Return what infra/ says; runs it as a program, as the packages do not know each other."""
    command = [sys.executable, "-m", "infra.dashboards", datasource]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        words = (done.stderr.strip().splitlines() or ["no word"])[-1]
        raise GrafanaFailed(f"infra.dashboards: {words} (is the extra `infra` installed? infra/README.md)")
    found: Document = json.loads(done.stdout)
    return found


def compare(grafana: "GrafanaApi", document: Document) -> list[Difference]:
    """Return every object of the document with how Grafana's differs."""
    return [
        _difference(kind, wanted, _find(grafana, kind, wanted["uid"])) for kind, wanted in _objects(document)
    ]


def apply(grafana: "GrafanaApi", document: Document) -> list[Difference]:
    """Make Grafana's objects those of the document; return what they were before."""
    found = []
    for kind, wanted in _objects(document):
        before = _difference(kind, wanted, _find(grafana, kind, wanted["uid"]))
        found.append(before)
        if before.state != "same":
            _put(grafana, kind, wanted, is_new=before.state == "missing", folder=document["folder"]["uid"])
    return found


def delete(grafana: "GrafanaApi", document: Document) -> list[Difference]:
    """Take the document's objects out of Grafana, the folder last; return what they were before."""
    found = []
    for kind, wanted in reversed(list(_objects(document))):
        before = _difference(kind, wanted, _find(grafana, kind, wanted["uid"]))
        found.append(before)
        if before.state != "missing":
            remove = {
                "folder": grafana.folder.delete_folder,
                "dashboard": grafana.dashboard.delete_dashboard,
                "alert": grafana.alertingprovisioning.delete_alertrule,
            }[kind]
            remove(wanted["uid"])
    return found


def _objects(document: Document) -> Iterator[tuple[str, Document]]:
    yield "folder", document["folder"]
    yield from (("dashboard", one) for one in document["dashboards"])
    yield from (("alert", one) for one in document["alerts"])


def _find(grafana: "GrafanaApi", kind: str, uid: str) -> Document | None:
    from grafana_client.client import GrafanaClientError

    try:
        match kind:
            case "folder":
                found: Document = grafana.folder.get_folder(uid)
            case "dashboard":
                found = grafana.dashboard.get_dashboard(uid)["dashboard"]
            case _:
                found = grafana.alertingprovisioning.get_alertrule(uid)
    except GrafanaClientError as error:
        if error.status_code == 404:
            return None
        raise
    return found


def _difference(kind: str, wanted: Document, found: Document | None) -> Difference:
    if found is None:
        return Difference(kind, wanted["uid"], wanted["title"], "missing")
    # A dashboard is stored as it is; to folders and alerts Grafana adds fields of its own.
    keys = (set(wanted) | set(found) if kind == "dashboard" else set(wanted)) - GRAFANAS_OWN
    fields = tuple(sorted(key for key in keys if wanted.get(key) != found.get(key)))
    return Difference(kind, wanted["uid"], wanted["title"], "changed" if fields else "same", fields)


def _put(grafana: "GrafanaApi", kind: str, wanted: Document, *, is_new: bool, folder: str) -> None:
    match kind:
        case "folder" if is_new:
            grafana.folder.create_folder(wanted["title"], wanted["uid"])
        case "folder":
            grafana.folder.update_folder(wanted["uid"], wanted["title"], overwrite=True)
        case "dashboard":
            grafana.dashboard.update_dashboard(
                {
                    "dashboard": wanted,
                    "folderUid": folder,
                    "overwrite": True,
                    "message": "biyi dashboards apply",
                }
            )
        case _ if is_new:
            grafana.alertingprovisioning.create_alertrule(wanted)
        case _:
            grafana.alertingprovisioning.update_alertrule(wanted["uid"], wanted)


def _asked(call: Callable[["GrafanaApi"], list[Difference]]) -> list[Difference]:
    """Ask Grafana; whatever keeps it from answering ends the command with 3, a refusal of its with 1."""
    try:
        from grafana_client import GrafanaApi
        from grafana_client.client import GrafanaClientError, GrafanaException
        from requests.exceptions import RequestException
    except ImportError:
        click.echo("biyi dashboards: grafana-client is not installed: the extra `infra` has it", err=True)
        sys.exit(EXIT_UNKNOWN)
    url, token = os.environ.get("GRAFANA_URL"), os.environ.get("GRAFANA_TOKEN")
    if not url or not token:
        raise click.UsageError(
            "set GRAFANA_URL and GRAFANA_TOKEN: where Grafana is, and a service account's token"
        )
    grafana = GrafanaApi.from_url(url, token, timeout=PATIENCE_SECONDS)
    try:
        with contextlib.closing(grafana.client.s):
            return call(grafana)
    except GrafanaClientError as error:
        click.echo(f"biyi dashboards: Grafana refused: {error}", err=True)
        sys.exit(1)
    except (GrafanaException, GrafanaFailed, RequestException) as error:
        click.echo(f"biyi dashboards: {type(error).__name__}: {error}", err=True)
        sys.exit(EXIT_UNKNOWN)


def _show(found: list[Difference], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found], ensure_ascii=False))
        return
    table = Table("kind", "title", "was", "fields")
    for one in found:
        table.add_row(one.kind, one.title, one.state, ", ".join(one.fields))
    Console().print(table)
