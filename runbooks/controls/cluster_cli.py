"""`biyi controls cluster`: what two API servers say, judged as the stand's readings are."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from compliance.audit.errors import AuditError
from compliance.audit.signing import read_signer
from compliance.controls.catalogue import Basis, read_catalogue
from compliance.controls.gather import gather_readings
from compliance.controls.judge import Seen, State, judge
from compliance.controls.pack import Run, render_outcome, render_pack
from compliance.controls.score import compute_score
from replication.model import DATA_SITES
from replication.settings import SettingsError
from runbooks.stand.topology import write_private


def _contexts(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    found = dict(one.partition("=")[::2] for one in given)
    if found.keys() != {str(site) for site in DATA_SITES} or not all(found.values()):
        raise click.BadParameter("needs idc=CONTEXT and cloud=CONTEXT")
    return found


@click.command("cluster")
@click.option("--context", "contexts", multiple=True, required=True, callback=_contexts,
              help="SITE=CONTEXT of the kubeconfig, for idc and cloud.")  # fmt: skip
@click.option("--kubeconfig", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=True)
@click.option("--namespace", default="biyi", show_default=True)
@click.option("--baseline", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=True,
              help='The approved manifests, JSON: {"idc": […], "cloud": […]}.')  # fmt: skip
@click.option("--approved-sm3", help="SM3 of that file, as two people attested 8.1.10.8.a with it.")
@click.option("--sign-key", type=click.Path(path_type=Path, exists=True, dir_okay=False),
              help="A site's audit key: signs the pack.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Where the signed pack goes.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def cluster_command(
    contexts: dict[str, str], baseline: Path, sign_key: Path | None, out: Path | None, *, as_json: bool,
    **where: Any,
) -> None:  # fmt: skip
    """Ask the Kubernetes API servers of both sites, and whatever else can be reached from here.

    Drift from the approved manifests, ports, images and the cells' live copies are read from the API servers.
    Everything else lies in pods and is unknown here, each with the reason. Exit 1 when a live item is not
    met, 3 when one is not known.

    \b
    Example: biyi controls cluster --kubeconfig ~/.kube/config --context idc=dc --context cloud=ack \\
                 --baseline manifests.json --approved-sm3 3fa0… --sign-key sign.key --out cluster.pack
    """
    if (sign_key is None) != (out is None):
        raise click.UsageError("--out and --sign-key go together: a pack is signed")
    try:
        approved = baseline, where["approved_sm3"]
        run = asyncio.run(_make_run(contexts, where["kubeconfig"], where["namespace"], approved))
        catalogue = read_catalogue()
        if out is not None and sign_key is not None:
            write_private(out, render_pack(run, catalogue, read_signer(sign_key)).decode())
    except ConnectionError as error:
        click.echo(f"biyi controls cluster: {error}; run it again", err=True)
        sys.exit(3)
    except (AuditError, SettingsError, OSError) as error:
        raise click.ClickException(str(error)) from error
    live = {item.id for item in catalogue.items.values() if item.basis is Basis.LIVE}
    states = [run.outcomes[item].state for item in live]
    if as_json:
        click.echo(json.dumps({
            "form": run.form, "pack": str(out) if out else None,
            "items": {item: render_outcome(one) for item, one in run.outcomes.items() if item in live},
            "readings": [one.to_plain() for one in run.seen.readings],
        }, ensure_ascii=False))  # fmt: skip
    else:
        _tell(run, live)
    sys.exit(1 if State.NOT_MET in states else 3 if State.UNKNOWN in states else 0)


async def _make_run(
    contexts: dict[str, str], kubeconfig: Path, namespace: str, approved: tuple[Path, str | None]
) -> Run:
    """Read, judge and score; nothing is recorded: the accounts' cell is not asked from outside."""
    try:
        from runbooks.controls.cluster_ground import Approval, open_cluster_ground
    except ImportError as error:
        raise click.ClickException(f"{error}; needs the extra: pip install 'biyi[cluster]'") from error
    catalogue = read_catalogue()
    async with open_cluster_ground(contexts, kubeconfig, namespace, Approval(*approved)) as ground:
        readings = await gather_readings(ground, catalogue)
        seen = Seen(tuple(ground.sites), ground.read_now(), readings, [])
    outcomes = judge(catalogue, seen)
    return Run(1, "", "cluster", seen, outcomes, compute_score(catalogue, outcomes))


def _tell(run: Run, live: set[str]) -> None:
    table = Table("probe", "where", "what was read")
    for one in run.seen.readings:
        table.add_row(one.probe, one.where, one.failure or json.dumps(one.facts, ensure_ascii=False)[:300])
    console = Console()
    console.print(table)
    states = [run.outcomes[item].state for item in live]
    console.print(
        f"Live items: {states.count(State.MET)} met, {states.count(State.NOT_MET)} not met, "
        f"{states.count(State.UNKNOWN)} unknown. 自查估算 Self-check estimate, not an assessment.",
        highlight=False,
    )
