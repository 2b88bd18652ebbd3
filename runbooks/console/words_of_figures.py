"""Words of the metric catalogue: units, dimensions and their values, alert rules and tasks. Pure.

A value of a dimension is worded as `of.DIMENSION.VALUE`; provinces are GB/T 2260's first two digits.
"""

from types import MappingProxyType
from typing import Final

_UNITS = {
    "unit.fen": ("元", "yuan"),
    "unit.count": ("个", "count"),
    "unit.share": ("占比", "share"),
    "unit.share_a_year": ("年化", "share a year"),
    "unit.ms": ("毫秒", "milliseconds"),
}
_DIMENSIONS = {
    "dimension.product": ("产品", "product"),
    "dimension.region": ("地区", "region"),
    "dimension.channel": ("渠道", "channel"),
    "dimension.bucket": ("逾期天数", "days past due"),
    "dimension.step": ("决策步骤", "step of a decision"),
    "dimension.kind": ("类别", "kind"),
    "dimension.medium": ("媒介", "medium"),
    "dimension.reason": ("原因", "reason"),
    "dimension.source": ("来源", "source"),
    "dimension.about": ("事由", "about"),
    "dimension.campaign": ("营销活动", "campaign"),
    "dimension.event": ("事件", "event"),
    "dimension.feed": ("数据来源", "feed"),
    "dimension.level": ("升级层级", "level"),
}
_VALUES = {
    "of.kind.repayment": ("还款", "repayment"),
    "of.kind.prepayment": ("提前还款", "prepayment"),
    "of.kind.recovery": ("核销后收回", "recovery after write-off"),
    "of.kind.due": ("到期提醒", "due"),
    "of.kind.overdue": ("逾期通知", "overdue"),
    "of.kind.rate_change": ("利率变更", "change of rate"),
    "of.channel.app": ("手机应用", "app"),
    "of.channel.person": ("人工", "person"),
    "of.channel.voice_robot": ("语音机器人", "voice robot"),
    "of.channel.sms": ("短信", "text message"),
    "of.channel.letter": ("信函", "letter"),
    "of.medium.sms": ("短信", "text message"),
    "of.reason.income": ("收入减少", "income"),
    "of.reason.illness": ("疾病", "illness"),
    "of.reason.disaster": ("灾害", "disaster"),
    "of.reason.other": ("其他", "other"),
    "of.source.hotline": ("热线", "hotline"),
    "of.source.web": ("网站", "website"),
    "of.source.opinion": ("舆情", "public opinion"),
    "of.about.fees": ("费用", "fees"),
    "of.about.collection": ("催收", "collection"),
    "of.about.service": ("服务", "service"),
    "of.about.privacy": ("隐私", "privacy"),
    "of.about.fraud": ("欺诈", "fraud"),
    "of.about.other": ("其他", "other"),
    "of.step.pre_screen": ("预筛", "pre-screen"),
    "of.step.identity": ("身份核验", "identity"),
    "of.step.fraud": ("反欺诈", "fraud"),
    "of.step.score": ("评分", "score"),
}
_PROVINCES = {
    "11": ("北京", "Beijing"), "12": ("天津", "Tianjin"), "13": ("河北", "Hebei"), "14": ("山西", "Shanxi"),
    "15": ("内蒙古", "Inner Mongolia"), "21": ("辽宁", "Liaoning"), "22": ("吉林", "Jilin"),
    "23": ("黑龙江", "Heilongjiang"), "31": ("上海", "Shanghai"), "32": ("江苏", "Jiangsu"),
    "33": ("浙江", "Zhejiang"), "34": ("安徽", "Anhui"), "35": ("福建", "Fujian"), "36": ("江西", "Jiangxi"),
    "37": ("山东", "Shandong"), "41": ("河南", "Henan"), "42": ("湖北", "Hubei"), "43": ("湖南", "Hunan"),
    "44": ("广东", "Guangdong"), "45": ("广西", "Guangxi"), "46": ("海南", "Hainan"),
    "50": ("重庆", "Chongqing"),
    "51": ("四川", "Sichuan"), "52": ("贵州", "Guizhou"), "53": ("云南", "Yunnan"), "54": ("西藏", "Tibet"),
    "61": ("陕西", "Shaanxi"), "62": ("甘肃", "Gansu"), "63": ("青海", "Qinghai"), "64": ("宁夏", "Ningxia"),
    "65": ("新疆", "Xinjiang"), "71": ("台湾", "Taiwan"), "81": ("香港", "Hong Kong"),
    "82": ("澳门", "Macao"),
}  # fmt: skip
_INSIGHT = {
    "insight.catalogue": ("经营指标", "Business metrics"),
    "insight.evening": (
        "各单元均已关账的最近一日：{on}。",
        "Of {on}, the newest evening that every cell has closed.",
    ),
    "insight.unit": ("单位", "unit"),
    "insight.dimensions": ("维度", "dimensions"),
    "insight.owner": ("责任人", "owner"),
    "insight.rule": ("告警规则", "alert rule"),
    "insight.state": ("状态", "state"),
    "insight.parts": ("明细 {count} 项", "{count} parts"),
    "insight.good": ("正常", "within its rules"),
    "insight.bad": ("告警", "alert"),
    "insight.odd": ("未判定", "not judged"),
    "insight.none": ("无数据", "no value"),
    "insight.no_rule": ("无规则", "no rule"),
    "insight.fired": ("触发的告警规则", "Alert rules that fire"),
    "insight.tasks": ("未结告警任务", "Open alert tasks"),
    "insight.no_tasks": ("没有未结的告警任务。", "No alert task is open."),
    "insight.tasks_hint": (
        "处理后在运维终端结案：biyi metrics close。",
        "Closed with what was found, at the operator's terminal: biyi metrics close.",
    ),
    "task.number": ("任务", "task"),
    "task.place": ("范围", "of"),
    "task.day": ("日期", "day"),
    "task.action": ("处理", "what follows"),
    "task.risk_check": ("风险核查", "check by risk"),
    "task.service_check": ("服务核查", "check by service"),
    "task.operations_check": ("运营核查", "check by operations"),
    "task.everything": ("全部", "everything"),
    "rule.per": ("按{name}", "by {name}"),
    "rule.least": ("至少 {count} 笔", "from {count} on"),
    "rule.every": ("连续 {days} 天", "{days} days running"),
    "rule.sum": ("{days} 天合计", "{days} days added up"),
}
_CHANNELS = {
    "breaker.closed": ("通畅", "in use"),
    "breaker.open": ("已停用（熔断）", "shut off"),
    "breaker.half_open": ("试探恢复", "being tried"),
}
WORDS_OF_FIGURES: Final = MappingProxyType(
    {
        **_UNITS,
        **_DIMENSIONS,
        **_VALUES,
        **{f"of.region.{code}": name for code, name in _PROVINCES.items()},
        **_INSIGHT,
        **_CHANNELS,
    }
)
"""Key -> (Chinese, English)."""
