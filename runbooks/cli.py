"""The command `biyi`: mounts the groups of the stand, the cells and the drills."""

import click

from runbooks.attack import attack_command
from runbooks.audit import audit
from runbooks.backup import backup
from runbooks.cache import cache
from runbooks.cells import cells_command, hold_command, move_command, why_command
from runbooks.claims import claims_command
from runbooks.console.cli import console_command
from runbooks.controls.cli import controls
from runbooks.dashboards import dashboards
from runbooks.day_end import day_end
from runbooks.demo import demo_command
from runbooks.deploy.cli import deploy
from runbooks.drills.cli import drill
from runbooks.faults.cli import faults
from runbooks.funder import funder
from runbooks.indicators import indicators_command
from runbooks.keys.cli import keys
from runbooks.ledger import ledger
from runbooks.metrics import metrics_group
from runbooks.payouts import payouts_command
from runbooks.product import product
from runbooks.promote import promote_command
from runbooks.quarantine import quarantine_command
from runbooks.report import report
from runbooks.restore import restore_command
from runbooks.risk import risk
from runbooks.sandbox import sandbox_command
from runbooks.settlement import settlement
from runbooks.sim import sim_command
from runbooks.slots import slot
from runbooks.staff import staff
from runbooks.stand.cli import link, site, stand
from runbooks.stress import stress_command
from runbooks.tokens import token
from runbooks.ueba_portal import ueba


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Biyi: a lending business on two sites; either can vanish without losing a cent.

    \b
    Try it:      biyi demo
    By hand:     biyi stand up; biyi cells; biyi site kill idc; biyi why a; biyi site start idc
    In a browser: biyi console
    A drill:     biyi drill run site-loss --site idc --execute
    Day-end:     biyi day-end run
    Customers:   biyi slot list; biyi slot move 512-515 --to a
    Keys:        biyi keys status; biyi keys rotate
    Everything:  biyi faults run --faults 20
    Staff:       biyi ueba --help
    Simulated:   biyi sim --schedules 10000
    Who may:     biyi staff --help; biyi token channel app
    Audit trail: biyi audit export x.audit; biyi audit verify x.audit
    Level 3:     biyi controls run; biyi controls report --html level-3.html
    Figures:     biyi metrics run; biyi metrics check
    Filings:     biyi report run --date 2026-11-30 --kind all --out filings/
    Provisioned: biyi deploy preview
    Exit codes:  0 done, 1 refused or a check failed, 2 usage, 3 could not tell
    """


for command in (
    demo_command, stand, site, link, cells_command, why_command, claims_command, move_command,
    promote_command, hold_command, quarantine_command, cache, product, risk, funder, ledger, payouts_command,
    settlement, day_end, drill, faults, sim_command, backup, restore_command, staff, token, audit, keys, ueba,
    deploy, dashboards, controls, report, console_command, metrics_group, slot,
):  # fmt: skip
    main.add_command(command)

risk.add_command(indicators_command)
risk.add_command(stress_command)
risk.add_command(attack_command)
product.add_command(sandbox_command)

if __name__ == "__main__":
    main()
