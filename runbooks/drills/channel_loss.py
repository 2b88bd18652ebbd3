"""Runbook: lose the favoured payment channel while money is being paid out; nobody is paid twice or never.

When: before each release, after any change to payouts, and with each new payment channel (on its test bank).
Who approves: the payments lead (on a stand: administrators).
Expected time: about 45 s; 8 s of load, 15 s without the channel, its return, 3 s more. Source: the pauses
below; promised is a switch within 10 s.
Abort rule: Ctrl-C at any time; the killed bank is started again.

Steps: check -> load -> kill the favoured bank -> go on under load -> start it again -> wait until it is paid
through again -> stop the load -> resolve what is unknown -> wait until every order is final -> read orders
and books -> verify the audit trail -> judge -> report.
"""

import asyncio
import datetime as dt
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from runbooks.drills.audit_check import check_audit
from runbooks.drills.checkers import Finding, check_all, count_of, overall
from runbooks.drills.history import read_history
from runbooks.drills.payout_checkers import (
    Loss,
    Payouts,
    Switch,
    check_payouts,
    check_switch,
    measure_switch,
)
from runbooks.drills.plot import PlotMark
from runbooks.drills.read_payouts import read_books, read_payouts, wait_until_final
from runbooks.drills.records import History
from runbooks.drills.report import Report
from runbooks.drills.scene import DrillOptions, DrillRefused, Scene, open_scene, read_final
from runbooks.drills.site_loss import Final
from runbooks.drills.story import say_count, say_count_zh, tell_timeline
from runbooks.drills.under_load import prepare, under_load
from runbooks.drills.verdict import render_findings, summarise_requests
from runbooks.drills.wording import OVERALL
from runbooks.evidence import StageMark, keep_journals, write_report, write_verdict
from runbooks.stand.outside import kill_bank, start_banks
from runbooks.stand.ports import BANKS
from runbooks.stand.topology import StandError, read_stand

_BEFORE_S = 8.0
"""Load before the loss. Source: our choice, some 25 payouts to compare with."""
_DEAD_S = 15.0
"""Time without the channel. Source: our choice, half as long again as the 10 s limit."""
_RETURN_S = 15.0
"""Patience with the channel to be paid through again. Source: our choice; it is asked once a second."""
_AFTER_S = 3.0
"""Load after its return. Source: our choice."""
_EVER = dt.datetime.min.replace(tzinfo=dt.UTC)
_FINAL_S = 30.0
"""Patience with the last orders. Source: our choice, far above one question a second."""


@dataclass(frozen=True, slots=True)
class ChannelLossResult:
    """A channel-loss drill, judged."""

    switch: Switch
    findings: tuple[Finding, ...]
    plain: Mapping[str, Any]


async def run_channel_loss(
    options: DrillOptions,
    say: Callable[[str], None],
    on_scene: Callable[[Scene], None] = lambda scene: None,
) -> ChannelLossResult:
    """Run the drill; DrillRefused when it may not begin. Leaves the stand with both banks running."""
    async with open_scene("channel-loss", None, options, say, channel=BANKS[0]) as scene:
        on_scene(scene)
        await prepare(scene)
        if not _is_used(await read_payouts(scene.settings), BANKS[0], _EVER):
            raise DrillRefused(f"nothing is paid through {BANKS[0]}; look at `biyi stand status`")
        await _break_and_heal(scene)
        scene.mark("resolve", "repeat the keys of unknown operations")
        await scene.load.resolve()
        scene.mark("final", "wait until every payout is final")
        payouts = await wait_until_final(scene.settings, _FINAL_S)
        rows = await read_final(scene)
        books = read_books(options.home, BANKS)
        audit = await check_audit(scene, rows)
        scene.mark("judge", "judge orders and books")
        return _judge(scene, Final(rows, payouts, books, audit))


async def _break_and_heal(scene: Scene) -> None:
    killed = False
    try:
        async with under_load(scene):
            await asyncio.sleep(_BEFORE_S)
            scene.say(f"kill {BANKS[0]}: SIGKILL")
            scene.intend(f"kill {BANKS[0]}", "biyi stand up")
            killed = True
            lost_at_s = await asyncio.to_thread(kill_bank, scene.options.home, BANKS[0])
            scene.mark("kill", f"{BANKS[0]} is dead", int(lost_at_s * 1e9))
            await asyncio.sleep(_DEAD_S)
            await _return(scene)
            killed = False
            await asyncio.sleep(_AFTER_S)
    except BaseException:
        if killed:
            start_banks(read_stand(scene.options.home))
        raise


async def _return(scene: Scene) -> None:
    scene.mark("restart", f"start {BANKS[0]} again")
    since = dt.datetime.now(dt.UTC)  # noqa: TID251 - compared with the cells' own clocks, the same machine's
    try:
        await asyncio.to_thread(start_banks, read_stand(scene.options.home), (BANKS[0],))
    except StandError as error:
        raise DrillRefused(f"{error}; `biyi stand up` starts what is missing") from error
    end = time.monotonic() + _RETURN_S
    while time.monotonic() < end:
        if _is_used(await read_payouts(scene.settings), BANKS[0], since):
            scene.mark("returned", f"money is paid through {BANKS[0]} again")
            return
        await asyncio.sleep(0.5)
    scene.mark("not_returned", f"nothing was paid through {BANKS[0]} within {_RETURN_S:.0f} s")


def _is_used(payouts: Payouts, channel: str, since: dt.datetime) -> bool:
    """Say whether an order was sent to the channel after `since`."""
    events = (event for found in payouts.values() if found for event in found.events)
    return any((e.state, e.channel) == ("sent", channel) and e.at > since for e in events)


def _judge(scene: Scene, final: Final) -> ChannelLossResult:
    history = read_history(scene.folder / "history.jsonl")
    payouts, books = final.payouts, final.books
    ops = history.settled()
    switch = measure_switch(payouts, _loss(history))
    findings = (
        *check_all(ops, final.rows, scene.load.settings.key_prefix),
        *check_payouts(ops, payouts, books),
        check_switch(switch),
        *final.audit,
    )
    requests = summarise_requests(history)
    paid = {bank: sum(line.bank == bank for line in books) for bank in BANKS}
    plain = {
        "drill": "channel-loss",
        "channel": BANKS[0],
        "verdict": str(overall(findings)),
        "switch_seconds": switch.seconds,
        **asdict(switch),
        "paid_in_books": paid,
        "paid_twice": count_of(findings, "nothing_is_paid_twice"),
        "returned": history.mark_ns("returned") is not None,
        **requests,
        "lost": count_of(findings, "acknowledged_is_kept", "every_order_is_paid"),
        "checks": {finding.name: str(finding.verdict) for finding in findings},
        "evidence": str(scene.folder),
    }
    stages = keep_journals(scene.folder, scene.options.home, scene.started_ns, time.monotonic_ns())
    write_verdict(scene.folder, plain, render_findings(findings))
    result = ChannelLossResult(switch, findings, plain)
    write_report(scene.folder, _tell(scene, history, result, stages))
    return result


def _loss(history: History) -> Loss:
    """Return the loss on the wall clock of this machine, which cells and banks share with the drill."""
    header = history.header
    kill_ns, restart_ns = history.mark_ns("kill"), history.mark_ns("restart")
    if header is None or kill_ns is None or restart_ns is None:
        raise DrillRefused("the history has no loss in it: the drill was cut short")
    started = dt.datetime.fromisoformat(header.started_at)
    killed, restarted = (
        started + dt.timedelta(microseconds=(at_ns - header.started_ns) / 1e3)
        for at_ns in (kill_ns, restart_ns)
    )
    return Loss(BANKS[0], killed, restarted)


def _tell(scene: Scene, history: History, result: ChannelLossResult, stages: Sequence[StageMark]) -> Report:
    plain, switch = result.plain, result.switch
    end_en, end_zh = OVERALL[overall(result.findings)]
    moved = "never" if switch.seconds is None else f"{switch.seconds:.2f} s"
    moved_en = (
        f"{moved} later money went through the other one"
        if switch.seconds is not None
        else "money never went through the other one"
    )
    moved_zh = "支付始终未切换至另一银行" if switch.seconds is None else f"{moved} 后支付经另一银行继续"
    marks = [
        (name, label) for name, label in (("kill", "kill"), ("restart", "restart"), ("returned", "back"))
    ]
    instants = [(history.mark_ns(name), label) for name, label in marks]
    return Report(
        title=("Payment channel loss drill", "支付渠道失效演练"),
        summary=(
            f"The bank that payouts favour was killed under load; {moved_en}. "
            f"{switch.in_doubt} orders were in doubt and waited for the dead bank's word; "
            f"{say_count(plain['paid_twice'])} were paid twice. {end_en}",
            f"负载下首选支付银行被终止；{moved_zh}。状态未明的支付指令 {switch.in_doubt} 笔，"
            f"均等待原银行查询结果；重复支付 {say_count_zh(plain['paid_twice'])}。{end_zh}",
        ),
        figures=[
            (moved, "kill to traffic moved", "流量切换时间"),
            (say_count(plain["paid_twice"]), "orders paid twice", "重复支付"),
            (f"{switch.in_doubt}", "orders in doubt, asked for", "状态未明并经查询"),
            (f"{switch.wait_max_s:.2f} s", "longest wait for money meanwhile", "期间最长到账等待"),
            (say_count(plain["lost"]), "draws or orders lost", "丢失"),
        ],
        cells=[
            {"bank": bank, "payments in its book": count} for bank, count in plain["paid_in_books"].items()
        ],
        history=history,
        homes=scene.homes,
        findings=result.findings,
        marks=[PlotMark(at_ns, label) for at_ns, label in instants if at_ns is not None],
        timeline=tell_timeline(history, stages),
        origin_ns=history.mark_ns("kill") or scene.started_ns,
        zero="the kill",
        verdict=overall(result.findings),
        plain=plain,
        command=f"biyi stand up\nbiyi drill run channel-loss --execute --rate {scene.options.rate:g} "
        f"--seed {scene.options.seed}",
    )
