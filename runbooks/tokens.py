"""`biyi token channel | customer`: signed tokens for callers of the lending API that are no staff."""

import datetime as dt

import click

from compliance.access.bearer import Claims, make_bearer
from compliance.access.roles import Party
from compliance.protection.errors import ProtectionError
from compliance.protection.vault import open_vault
from replication.settings import SiteSettings
from runbooks.cells import site_settings

CHANNEL_HOURS = 24
"""Life of a channel's token. Source: our choice; what cannot be taken back before its end ends daily."""
CUSTOMER_MINUTES = 30
"""Life of a customer's token. Source: GB/T 22239-2019 8.1.4.1 b as assessors read it, idle <= 30 min."""


def channel_token(settings: SiteSettings, name: str = "drill") -> str:
    """Return a token of a channel, signed with the stand's key."""
    return _sign(settings, Party.CHANNEL, name, dt.timedelta(hours=CHANNEL_HOURS))


def _sign(settings: SiteSettings, party: Party, subject: str, life: dt.timedelta) -> str:
    until = dt.datetime.now(dt.UTC) + life  # noqa: TID251 - a command is a shell: it reads the clock
    digest = open_vault(settings.key_file).request_digest
    return make_bearer(digest, Claims(party, subject, int(until.timestamp())))


@click.group()
def token() -> None:
    """Make tokens for who calls the lending API: `Authorization: Bearer <token>`.

    \b
    An app's backend:   TOKEN=$(biyi token channel app)
    Then:               curl -s $IDC/v1/loans/L... -H "Authorization: Bearer $TOKEN"
    One customer:       biyi token customer C0123456789abcdef01234567   (opens what is this customer's own)

    Staff have no such token: they log in (`biyi staff login`, POST /v1/staff/sessions). A token cannot be
    taken back before its end.
    """


@token.command("channel")
@click.argument("name")
@click.option("--hours", type=click.FloatRange(0.01, CHANNEL_HOURS), default=CHANNEL_HOURS, show_default=True)
def channel_command(name: str, hours: float) -> None:
    """Print a token for a channel (an app's backend, a partner): it may act for every customer."""
    click.echo(_token(Party.CHANNEL, name, dt.timedelta(hours=hours)))


@token.command("customer")
@click.argument("customer_id")
@click.option(
    "--minutes", type=click.FloatRange(0.01, CUSTOMER_MINUTES), default=CUSTOMER_MINUTES, show_default=True
)
def customer_command(customer_id: str, minutes: float) -> None:
    """Print a token for one customer: it opens this customer's own data and loans, nothing else."""
    click.echo(_token(Party.CUSTOMER, customer_id, dt.timedelta(minutes=minutes)))


def _token(party: Party, subject: str, life: dt.timedelta) -> str:
    settings = next(iter(site_settings().values()))
    try:
        return _sign(settings, party, subject, life)
    except ProtectionError as error:
        raise click.ClickException(str(error)) from error
