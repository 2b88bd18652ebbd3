"""Which drills there are, and what each one's runbook says of itself in its docstring."""

import ast
import re
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

SECTIONS: Final = ("When", "Who approves", "Expected time", "Abort rule", "Steps")
"""What every runbook has to say, each at the beginning of a line of its module's docstring."""
RATE: Final = 40.0
"""Operations a second of a drill's load. Source: our choice; half of what saturates two cores."""
MOVE_RATE: Final = 60.0
"""Operations a second. Source: our choice. A pause is seen only while a write is due: about 20 a second a
cell show it to within 50 ms; 120 operations a second saturate two cores."""


@dataclass(frozen=True, slots=True)
class Drill:
    """One drill. `module` of `runbooks.drills` is its runbook; `words` follow `biyi drill run`.

    `takes` names what it is told besides the load: `site`, `cell`, `rounds`. A `dangerous` one takes a second
    person wherever there are accounts: it takes something away that customers or staff use. `note` is what to
    know before; `note_zh` the same in Chinese.
    """

    name: str
    text: str
    text_zh: str
    module: str
    words: str
    takes: tuple[str, ...] = ()
    dangerous: bool = True
    rate: float = RATE
    note: str = ""
    note_zh: str = ""


@dataclass(frozen=True, slots=True)
class Runbook:
    """What a drill's docstring says: its first line and each of `SECTIONS`."""

    title: str
    sections: dict[str, str]

    @property
    def steps(self) -> tuple[str, ...]:
        """Return the steps in order."""
        return split_steps(self.sections["Steps"])


class RunbookIncomplete(Exception):
    """A runbook lacks a section; the message names the file and the section."""


_ALL = (
    Drill(
        "site-loss",
        "Kill a whole site under load, let it come back; about 60 s",
        "负载下整站点失电并恢复",
        "site_loss",
        "site-loss --site idc",
        takes=("site",),
    ),
    Drill(
        "site-evacuation",
        "Empty a site on purpose under load, switch it off and on; about 60 s",
        "负载下计划撤离整个站点",
        "site_evacuation",
        "site-evacuation --site idc",
        takes=("site",),
    ),
    Drill(
        "fail-back",
        "Lose a site, hold its cells away once it is back, bring them home under load; about 70 s",
        "负载下人工控制回切",
        "fail_back",
        "fail-back --site idc",
        takes=("site",),
    ),
    Drill(
        "split-brain",
        "Promote a standby behind everybody's back, gather evidence; nobody writes twice; about 40 s",
        "脑裂疑似：两个主库取证与判定",
        "split_brain",
        "split-brain --cell a",
        takes=("cell",),
    ),
    Drill(
        "site-isolation",
        "Cut a site off from everybody; it may acknowledge nothing more; about 60 s",
        "隔离整个站点（网络分区）",
        "site_isolation",
        "site-isolation --site idc",
        takes=("site",),
    ),
    Drill(
        "link-cut",
        "Cut the line between the data sites under load; nothing is promoted; about 40 s",
        "负载下切断站点间线路",
        "link_cut",
        "link-cut",
    ),
    Drill(
        "witness-loss",
        "Kill the witness under load; nothing may happen; about 40 s",
        "负载下失去见证节点",
        "witness_loss",
        "witness-loss",
    ),
    Drill(
        "primary-crash",
        "Kill one cell's primary under load; it writes again within 5 s; about 40 s",
        "负载下主库崩溃与恢复",
        "primary_crash",
        "primary-crash --cell a",
        takes=("cell",),
    ),
    Drill(
        "peak-load",
        "Ten times the usual customers for a minute; refused or served, nothing lost; about 100 s",
        "十倍业务高峰一分钟",
        "peak_load",
        "peak-load",
        dangerous=False,
    ),
    Drill(
        "cache-loss",
        "Lose a site's cache with everything in it, under load; about 40 s",
        "负载下失去站点缓存",
        "cache_loss",
        "cache-loss --site idc",
        takes=("site",),
    ),
    Drill(
        "restore",
        "Restore a cell to a chosen second under load, beside it; about 60 s",
        "负载下按时点恢复单元",
        "restore_drill",
        "restore --cell a",
        takes=("cell",),
        dangerous=False,
    ),
    Drill(
        "day-end-loss",
        "Kill a site in the middle of day-end, under load; about 70 s",
        "日终批处理中途失去站点",
        "day_end_loss",
        "day-end-loss --site idc",
        takes=("site",),
        note="The stand's business date is 81 days further on afterwards.",
        note_zh="此后测试台的业务日期提前 81 天。",
    ),
    Drill(
        "filing-loss",
        "Kill a site while filings are on their way, under load; about 70 s",
        "监管报送途中失去站点",
        "filing_loss",
        "filing-loss --site idc",
        takes=("site",),
        note="The stand's business date is one day further on afterwards.",
        note_zh="此后测试台的业务日期提前一天。",
    ),
    Drill(
        "planned-move",
        "Move every cell to the other site and back under load; about 15 s a round",
        "负载下计划迁移并迁回",
        "planned_move",
        "planned-move --rounds 3",
        takes=("rounds",),
        dangerous=False,
        rate=MOVE_RATE,
    ),
    Drill(
        "slot-move",
        "Move customers in use to the other cell and back under load; about 40 s",
        "负载下客户槽位迁移并迁回",
        "slot_move",
        "slot-move",
        dangerous=False,
        rate=MOVE_RATE,
    ),
    Drill(
        "cloud-burst",
        "Twice the load; API processes join the cloud's entrance and leave again; about 50 s",
        "云端弹性扩容与缩回",
        "cloud_burst",
        "cloud-burst",
        dangerous=False,
        rate=30.0,
    ),
    Drill(
        "grey-release",
        "Try a faulty release, take it back by itself, release a good one node by node; about 90 s",
        "灰度逐节点发布与自动回滚",
        "grey_release",
        "grey-release",
    ),
    Drill(
        "key-rotation",
        "Replace all keys of personal data under load, through a lost site; about 90 s",
        "负载下轮换个人信息密钥",
        "key_rotation",
        "key-rotation",
    ),
    Drill(
        "certificate-rotation",
        "Renew every certificate under load, revoke the old ones; about 20 s",
        "负载下更换全部证书",
        "certificate_rotation",
        "certificate-rotation",
    ),
    Drill(
        "ueba-loss",
        "Kill a site while staff look at customers; each look is scored once; about 70 s",
        "员工访问评分期间失去站点",
        "ueba_loss",
        "ueba-loss --site idc",
        takes=("site",),
    ),
    Drill(
        "staff-compromise",
        "A thief uses a staff session; shut the account, prove what it did, reopen by two only; about 60 s",
        "员工账号失陷处置与举证",
        "staff_compromise",
        "staff-compromise",
        note="It takes two people: `biyi staff init` first.",
        note_zh="须有两名管理员：先运行 `biyi staff init`。",
    ),
    Drill(
        "channel-loss",
        "Kill the bank that payouts favour, under load; about 45 s",
        "负载下失去首选支付渠道",
        "channel_loss",
        "channel-loss",
    ),
)
DRILLS: Final = MappingProxyType({drill.name: drill for drill in _ALL})


def read_runbook(drill: Drill) -> Runbook:
    """Return what the drill's module says of itself; RunbookIncomplete when a section is missing.

    The module is read and not imported: who shows a runbook need not load what runs it.
    """
    text = Path(__file__).with_name(f"{drill.module}.py").read_text(encoding="utf-8")
    return parse_runbook(drill.module, ast.get_docstring(ast.parse(text)) or "")


def parse_runbook(name: str, text: str) -> Runbook:
    """Split a runbook's docstring into its title and `SECTIONS`, whose lines are joined."""
    title, _, rest = text.partition("\n")
    found = re.split(rf"^({'|'.join(SECTIONS)}): *", rest, flags=re.MULTILINE)
    sections = {key: " ".join(body.split()) for key, body in zip(found[1::2], found[2::2], strict=True)}
    if missing := [section for section in SECTIONS if not sections.get(section)]:
        raise RunbookIncomplete(f"runbooks/drills/{name}.py: its docstring does not say {', '.join(missing)}")
    return Runbook(title.removeprefix("Runbook: "), sections)


def split_steps(text: str) -> tuple[str, ...]:
    """Return a runbook's steps, which its docstring joins by arrows.

    >>> split_steps("check -> load -> kill the site.")
    ('check', 'load', 'kill the site')
    """
    return tuple(step.strip().rstrip(".") for step in text.split("->"))
