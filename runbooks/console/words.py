"""Every word of the console, in Chinese and in English. Pure."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from runbooks.console.words_of_cells import WORDS_OF_CELLS
from runbooks.console.words_of_figures import WORDS_OF_FIGURES
from runbooks.console.words_of_people import WORDS_OF_PEOPLE
from runbooks.console.words_of_records import WORDS_OF_RECORDS
from runbooks.console.words_of_work import WORDS_OF_WORK

LANGUAGES: Final = MappingProxyType({"zh": "zh-CN", "en": "en"})
"""A language's name in the cookie -> its name in HTML."""

_COMMON = {
    "title": ("比翼 控制台", "Biyi console"),
    "skip": ("跳到正文", "Skip to the content"),
    "nav": ("页面", "Pages"),
    "nav.platform": ("平台", "Platform"),
    "nav.drills": ("演练", "Drills"),
    "language": ("English", "中文"),
    "language.label": ("Switch to English", "切换为中文"),
    "sign_out": ("退出", "Sign out"),
    "signed_in": ("当前用户", "Signed in"),
    "console_of": ("位于", "at"),
    "times": ("时间均为北京时间", "all times are Beijing time"),
    "beijing": ("北京时间", "Beijing time"),
    "site": ("站点", "site"),
    "site.idc": ("自建机房", "data centre"),
    "site.cloud": ("公有云", "public cloud"),
    "site.witness": ("见证站点", "one vote, no data"),
    "role.system_admin": ("系统管理员", "system administrator"),
    "unknown": ("未知", "not known"),
    "none": ("无", "none"),
    "yes": ("是", "yes"),
    "no": ("否", "no"),
}
_DOOR = {
    "in.title": ("登录", "Sign in"),
    "in.staff": ("账号", "Account"),
    "in.password": ("口令", "Password"),
    "in.code": ("动态码", "One-time code"),
    "in.code_hint": ("验证器应用显示的六位数字", "Six digits, as the authenticator app shows them"),
    "in.submit": ("登录", "Sign in"),
    "in.first": (
        "还没有账号？在运维终端运行 biyi console，其中写有建立第一个账号的步骤；"
        "演示环境的账号见 biyi demo --codes。",
        "No account yet? Run biyi console at the operator's terminal: it says how the first one is made."
        " Those of the demo: biyi demo --codes.",
    ),
    "door.not_accepted": (
        "账号、口令或动态码未被接受。连续失败多次后账号将被锁定。",
        "Name, password or code was not accepted. An account is locked after several failures in a row.",
    ),
    "door.over": (
        "会话已结束：闲置过久、到达时限、已退出，或账号在别处登录。请重新登录。",
        "The session is over: idle for too long, at its limit, signed out, or the account signed in"
        " elsewhere. Please sign in again.",
    ),
    "door.not_allowed": (
        "此账号的角色不能打开此页面。",
        "This account has no role that may open this page.",
    ),
    "door.password": ("请先修改口令。", "The password has to be changed first."),
    "door.enrol": ("管理员须先设置第二因素。", "An administrator needs a second factor first."),
    "door.busy": ("尝试过于频繁，请稍后再试。", "Too many tries; please wait a little and try again."),
    "door.unreachable": (
        "本站点的核心接口现在无法核对账号（可能正在切换）。请稍后重试，或使用另一站点的控制台。",
        "This site's core API cannot check accounts now (a takeover may be under way). Try again shortly,"
        " or use the other site's console.",
    ),
    "door.form": (
        "表单已过期或不是由本页面提交。请重新打开页面再试。",
        "The form is too old or was not sent from this page. Open the page again and repeat.",
    ),
    "door.missing": ("没有这个页面。", "There is no such page."),
    "door.title": ("无法显示", "Cannot be shown"),
    "door.retry": ("重试", "Try again"),
}
_PLATFORM = {
    "live.at": ("读取时间", "read at"),
    "live.stale": (
        "本页面已收不到控制台的更新。以下内容为最后一次更新时的情况，之后发生了什么不得而知。最后更新：",
        "This page hears nothing from its console any more. What stands below is of the last update; what"
        " has happened since is not known. Last update:",
    ),
    "live.noscript": (
        "浏览器没有运行脚本：本页面不会自动更新，请重新加载。",
        "No script runs in this browser: the page does not update itself, reload it.",
    ),
    "alarms": ("告警", "Alarms"),
    "alarms.none": ("没有告警。", "No alarms."),
    "alarm.site_not_seen": ("站点 {site} 看不到", "{site} is not seen"),
    "alarm.member_silent": (
        "{site} 的 etcd 成员没有应答：再失去一个站点或站点间断链，所有单元都会停止。请恢复它。",
        "the etcd member of {site} does not answer: the loss of another site, or a cut between the sites,"
        " would stop every cell. Bring it back.",
    ),
    "alarm.no_etcd": (
        "{site} 的代理读不到 etcd：它不做任何新决定",
        "the agent of {site} reads no etcd: it decides nothing new",
    ),
    "alarm.cell_unknown": (
        "单元 {cell}：没有可见的代理知道当前授权",
        "cell {cell}: no agent that is seen knows the grant now",
    ),
    "alarm.cell_alone": (
        "单元 {cell} 单独写入：失去 {site} 将丢失“风险敞口”一栏所示的数据",
        "cell {cell} writes alone: the loss of {site} would lose what stands under exposure",
    ),
    "alarm.cell_shut": (
        "单元 {cell} 未对客户开放（模式 {mode}）",
        "cell {cell} is not open to clients (mode {mode})",
    ),
    "alarm.disk_full": ("{place}：磁盘已满，请释放空间", "{place}: its disk is full; free space there"),
    "sites": ("站点", "Sites"),
    "sites.state": ("状态", "state"),
    "sites.etcd": ("读取 etcd", "reads etcd"),
    "sites.cells": ("作为主库的单元", "primary of cells"),
    "seen": ("正常应答", "answers"),
    "not_seen": ("自 {since} 起看不到", "not seen since {since}"),
    "never_seen": ("本控制台启动（{since}）以来从未看到", "never seen since this console began, {since}"),
    "unseen.means": (
        "（北京时间）。本页中关于 {site} 的内容是此前的情况，或者没有；其现状不得而知。",
        "(Beijing time). What this page says of {site} is of before, or missing; its state now is unknown.",
    ),
    "witness.answers": ("见证成员应答", "its member answers"),
    "witness.silent": ("见证成员没有应答", "its member does not answer"),
    "witness.unknown": ("未知：没有可见的代理可问", "not known: no agent is seen that could tell"),
    "links": ("站点间链路", "Links between sites"),
    "links.from": ("自", "from"),
    "links.to": ("至", "to"),
    "links.state": ("该方向所见", "as the first one sees it"),
    "links.note": (
        "由起点站点的代理得知，每隔数秒询问一次：可能晚几秒。",
        "Found by the agent at its beginning, which asks every few seconds: it may be some seconds late.",
    ),
    "link.answers": ("有应答", "answered"),
    "link.silent": ("无应答", "no answer"),
    "link.unknown": ("未知：该站点看不到", "not known: that site is not seen"),
    "cells": ("单元", "Cells"),
    "cell": ("单元", "cell"),
    "home": ("归属", "home"),
    "epoch": ("纪元", "epoch"),
    "primary": ("主库", "primary"),
    "mode": ("模式", "mode"),
    "mode.SYNC": ("同步", "SYNC"),
    "mode.ALONE": ("单独", "ALONE"),
    "mode.TAKING": ("接管中", "TAKING"),
    "mode.MOVING": ("迁移中", "MOVING"),
    "open": ("开放", "open"),
    "sync_set": ("同步集合", "sync set"),
    "lag": ("复制延迟", "lag"),
    "exposure": ("风险敞口", "exposure"),
    "exposure.nothing": ("无：另一站点已有全部提交", "nothing: the other site has every commit"),
    "exposure.unknown": ("未知", "not known"),
    "exposure.is": (
        "{bytes}，{commits} 笔提交，{yuan}，始于 {age} 前（数据 {known} 前）",
        "{bytes}, {commits} commits, {yuan}, since {age} ago (figures {known} old)",
    ),
    "change": ("最近变更", "last change"),
    "away": ("不在归属站点", "away from home"),
    "cell.unknown": (
        "当前授权未知：没有可见且能读取 etcd 的代理",
        "the grant is not known: no agent is seen that reads etcd",
    ),
    "copies": ("副本与决定", "Copies and decisions"),
    "copy": ("副本", "copy"),
    "state": ("状态", "state"),
    "role": ("角色", "role"),
    "role.primary": ("授权主库", "granted primary"),
    "role.sync": ("在同步集合中，可被提升", "in the sync set: may be promoted"),
    "role.behind": ("不在同步集合中，不会被提升", "not in the sync set: is never promoted"),
    "role.unknown": ("未知", "not known"),
    "decision": ("最近决定", "last decision"),
    "why": ("原因", "why"),
}
_DRILLS = {
    "drills": ("演练", "Drills"),
    "schedule": ("演练日程", "Schedule"),
    "schedule.rule": (
        "演练成功后 {ours} 天内须重做；等级保护要求至少每 {law} 天一次。最紧迫的在前。",
        "A drill is due {ours} days after it last held; the Level-3 scheme wants one at least every {law}"
        " days. The most urgent stands first.",
    ),
    "drill": ("演练", "drill"),
    "last_held": ("最近成功", "last held"),
    "last_run": ("最近一次结果", "last run"),
    "due": ("到期", "due"),
    "due.state": ("状态", "state"),
    "due.now": ("立即", "now"),
    "due.in_time": ("按期", "in time"),
    "due.overdue": ("逾期", "overdue"),
    "due.unlawful": ("超过一年", "beyond a year"),
    "due.never": ("从未成功", "never held"),
    "history": ("演练记录", "History"),
    "history.none": ("这里还没有做过演练。", "No drill was run here yet."),
    "history.more": ("只显示最近 {count} 次。", "Only the newest {count} are shown."),
    "history.chart": (
        "每次站点丢失演练的恢复时间（秒）与承诺上限",
        "Recovery time of each drill that loses a site, seconds, and the promised limit",
    ),
    "chart.rto": ("恢复时间（秒）", "recovery, seconds"),
    "chart.limit": ("承诺上限", "promised limit"),
    "started": ("开始", "started"),
    "verdict": ("结论", "verdict"),
    "verdict.holds": ("成立", "holds"),
    "verdict.broken": ("不成立", "broken"),
    "verdict.unknown": ("无法判断", "could not tell"),
    "verdict.unfinished": ("未完成", "unfinished"),
    "acknowledged": ("已确认写入", "acknowledged"),
    "lost": ("丢失", "lost"),
    "failed": ("失败请求", "failed"),
    "seconds": ("恢复或停顿", "recovery or pause"),
    "broken_checks": ("不成立的检查", "checks that do not hold"),
    "report": ("报告", "report"),
    "report.open": ("打开报告", "Open the report"),
    "report.alone": ("单独打开报告", "Open the report by itself"),
    "report.none": (
        "这次演练没有留下报告：它没有完成。",
        "This drill left no report: it was not finished.",
    ),
    "report.of": ("演练报告", "Report of the drill"),
    "runbook": ("操作手册", "Runbook"),
    "runbook.When": ("何时", "When"),
    "runbook.Who approves": ("谁批准", "Who approves"),
    "runbook.Expected time": ("预计用时", "Expected time"),
    "runbook.Abort rule": ("中止规则", "Abort rule"),
    "runbook.Steps": ("步骤", "Steps"),
    "runbook.command": ("运行命令", "Run it"),
    "runbook.rules": ("规则", "Rules"),
    "drill.two_people": ("危险演练：须第二人批准", "dangerous: takes a second person"),
    "drill.one_person": ("无须批准", "needs no approval"),
}
WORDS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        **_COMMON,
        **_DOOR,
        **_PLATFORM,
        **_DRILLS,
        **WORDS_OF_CELLS,
        **WORDS_OF_WORK,
        **WORDS_OF_PEOPLE,
        **WORDS_OF_FIGURES,
        **WORDS_OF_RECORDS,
    }
)
"""Key -> (Chinese, English); names in braces are filled in."""


def word(language: str, key: str, **values: object) -> str:
    """Return the text of a key; KeyError for a key or a value that does not exist."""
    return WORDS[key][0 if language == "zh" else 1].format(**values)


def other(language: str) -> str:
    """Return the other language."""
    return "en" if language == "zh" else "zh"


def choose_language(cookie: str | None, accepted: str) -> str:
    """Return the cookie's language if it is one of ours, else the browser's first (`Accept-Language`).

    >>> choose_language(None, "zh-CN,zh;q=0.9"), choose_language("en", "zh"), choose_language("x", "fr")
    ('zh', 'en', 'en')
    """
    if cookie is not None and cookie in LANGUAGES:
        return cookie
    return "zh" if accepted.strip().lower().startswith("zh") else "en"
