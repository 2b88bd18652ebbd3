"""`biyi console`: where the web console is, and how somebody gets to sign in."""

import json

import click

from replication.model import DATA_SITES, Site
from runbooks.stand.certificates import authority_file
from runbooks.stand.home import default_home
from runbooks.stand.topology import LOOPBACK, StandError, read_stand

FIRST_ACCOUNT = (
    "biyi staff init --system NAME --security NAME --audit NAME   (once; prints first passwords)",
    "then each of them signs in: the console asks for a password of their own and sets up the second factor",
)


@click.command("console")
@click.option("--site", type=click.Choice([str(site) for site in DATA_SITES]), help="Only this site's.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def console_command(site: str | None, as_json: bool) -> None:
    """Print the address of each site's web console, and how a first account is made.

    \b
    biyi console               both sites' addresses
    biyi console --site cloud  the cloud's; it stays up when idc is lost

    What it shows follows the account's role: a system administrator sees both sites, links, cells and copies
    live, starts drills and watches them; security and audit administrators review staff, approve, search and
    verify the audit trail, see keys and Level 3; staff look customers up, masked; supervisors and operations
    see figures and filings. The stand's own authority vouches for it: a browser has to be told to trust that
    certificate, or asks.
    """
    try:
        stand = read_stand(default_home())
    except StandError as error:
        raise click.ClickException(str(error)) from error
    sites = [Site(site)] if site else list(DATA_SITES)
    urls = {str(each): f"https://{LOOPBACK}:{stand.port(each, 'console')}/" for each in sites}
    if as_json:
        click.echo(json.dumps({"consoles": urls, "authority": str(authority_file(stand.home))}))
        return
    for name, url in urls.items():
        click.echo(f"console of {name:6} {url}")
    click.echo(f"its certificate is vouched for by {authority_file(stand.home)}")
    click.echo("the first accounts are made so (in the demo they are there: biyi demo --codes):")
    for line in FIRST_ACCOUNT:
        click.echo(f"  {line}")
