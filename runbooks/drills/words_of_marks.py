"""What a drill did and what agents did meanwhile, in Chinese beside the English of the history. Pure.

A mark's own text holds figures and is English; its name says what happened, so the name has the Chinese.
Where one name means different things, `drill.name` goes before `name`. `{site}` is the drill's site.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from runbooks.drills.records import INTENT, Mark

_OF_ANY_DRILL = {
    "prepare": "发放演练所需贷款",
    "load_start": "开始施加负载（每秒操作数见英文）",
    "load_stop": "停止负载",
    "resolve": "以原幂等键重试结果未知的操作",
    "read_rows": "读取各单元的最终数据",
    "audit": "导出并验证审计链",
    "final": "等待并读取最终结果",
    "judge": "依据演练记录判定",
    "kill": "站点 {site} 的全部进程已终止",
    "restart": "重新启动站点 {site}",
    "restarted": "站点 {site} 的进程已运行，等待其副本重新加入",
    "rejoined": "站点 {site} 的副本已回到全部同步集合",
    "not_rejoined": "站点 {site} 未在时限内重新加入",
    "healed": "故障已恢复",
    "home": "各单元均已回到归属站点并保持同步",
    "not_home": "并非每个单元都在时限内回到归属站点并恢复同步",
    "aborted": "演练中止，站点 {site} 已重新运行",
    "move": "计划迁移",
    "joined": "API 进程已就绪并服务客户",
    "left": "API 进程处理完已受理的请求后退出",
    "stopped": "不再继续（原因见英文）",
    "resume": "演练曾被终止：恢复全部链路，启动未运行的进程",
    "resume_replicas": "终止站点自身以外遗留的 API 进程",
    "resume_home": "解除暂停回切，将各单元迁回归属站点",
    "resumed": "演练环境恢复完毕（结果见英文）",
}
_OF_ONE_DRILL = {
    "cache-loss.fault": "站点 {site} 的缓存已终止",
    "cache-loss.restart": "重新启动站点 {site} 的缓存",
    "cache-loss.warm": "站点 {site} 的缓存已含各单元全部数据",
    "cache-loss.healed": "缓存已恢复运行",
    "certificate-rotation.renew": "生成新密钥与证书；各进程均出示新证书后吊销旧证书",
    "certificate-rotation.revoked": "旧证书已吊销，逐一检验各入口",
    "channel-loss.final": "等待每笔支付有最终结果",
    "channel-loss.judge": "核对支付指令与各银行账册",
    "channel-loss.kill": "首选支付银行已终止服务",
    "channel-loss.restart": "重新启动首选支付银行",
    "channel-loss.returned": "已恢复经首选银行支付",
    "channel-loss.not_returned": "时限内未恢复经首选银行支付",
    "cloud-burst.fault": "客户将增多：启动新增的 API 进程",
    "cloud-burst.burst": "负载加倍",
    "cloud-burst.burst_over": "激增结束，新增进程退出",
    "cloud-burst.healed": "缩容结束（遗留进程数见英文）",
    "day-end-loss.day_end": "各单元开始日终批处理",
    "day-end-loss.day_ended": "失去站点后，各单元日终批处理完成",
    "day-end-loss.twin": "重建当晚各资产组合，在不受干扰下运行日终",
    "fail-back.fault": "站点 {site} 已终止，暂停回切",
    "fail-back.rejoined": "站点 {site} 已有全部数据；其单元按要求暂不迁回",
    "fail-back.released": "解除暂停回切，单元开始迁回",
    "fail-back.healed": "等待各单元回到归属站点",
    "filing-loss.day_end": "各单元结束当日",
    "filing-loss.answer_lost": "监管端已收到批次，其答复丢失",
    "filing-loss.filed": "失去站点后，全部报送批次均已送达监管端",
    "grey-release.fault": "在首个节点旁试用有缺陷的版本",
    "grey-release.rolled_back": "缺陷版本已撤回，未替换任何节点",
    "grey-release.try": "在节点旁试用良好版本",
    "grey-release.replaced": "节点已替换为新版本",
    "grey-release.healed": "发布结束（遗留试用进程数见英文）",
    "key-rotation.prepare": "发放演练所需贷款，登记客户信息",
    "key-rotation.rotate": "轮换全部加密表的密钥",
    "key-rotation.cut": "在逐行重加密途中切断轮换",
    "key-rotation.resume": "再次轮换，从断点继续",
    "key-rotation.rotated": "新版本密钥全面生效，上一版本停用",
    "key-rotation.kill": "代理及其主库已终止",
    "key-rotation.agent_back": "代理已恢复运行",
    "key-rotation.final": "经两个入口读取全部客户信息，清点密钥版本",
    "link-cut.fault": "两站点间线路双向中断",
    "link-cut.healed": "线路已恢复，等待各副本",
    "peak-load.fault": "客户激增（倍数见英文）",
    "peak-load.healed": "高峰结束",
    "primary-crash.fault": "单元的主库进程已终止",
    "primary-crash.healed": "无需手工恢复：由代理处置其副本",
    "restore.fault": "在两个站点对单元做全量备份",
    "restore.chosen": "选定恢复时点",
    "restore.archived": "归档已包含所选时点",
    "restore.restored": "已恢复至所选时点，逐行比对一致",
    "restore.not_restored": "未能恢复至所选时点（原因见英文）",
    "restore.healed": "无需恢复：运行中的单元未受影响",
    "site-evacuation.fault": "暂停回切，将各单元迁离站点 {site}",
    "site-evacuation.dark": "站点 {site} 已关停",
    "site-evacuation.healed": "已要求各单元迁回，解除暂停回切",
    "site-isolation.fault": "站点 {site} 的全部链路中断，进程仍在运行",
    "site-isolation.healed": "站点 {site} 恢复连通，等待其副本与回切",
    "slot-move.fault": "开始将客户槽位迁往另一单元",
    "slot-move.moved": "一块槽位迁移完毕",
    "slot-move.healed": "全部槽位已迁回原单元",
    "split-brain.fault": "绕过代理与授权，手工提升备库",
    "split-brain.two_claims": "两台服务器均自称主库",
    "split-brain.one_claim": "仅一台服务器自称主库",
    "split-brain.two_writers": "两台服务器均可写入",
    "split-brain.looked": "对该单元各服务器的询问结束（次数见英文）",
    "split-brain.healed": "无需手工恢复：由代理处置伪主库",
    "staff-compromise.prepare_account": "建立演练账号，其主人登录",
    "staff-compromise.fault": "盗用者持该账号会话，经两个站点查看客户",
    "staff-compromise.stolen_session_bound_to_address": "会话换地址即被拒绝",
    "staff-compromise.disabled": "系统管理员已禁用该账号",
    "staff-compromise.sessions_refused": "两个站点均拒绝该会话",
    "staff-compromise.password_refused": "正确口令亦被拒绝",
    "staff-compromise.reopening_takes_two": "单人重新启用被拒绝",
    "staff-compromise.changes_name_who_and_why": "账号操作均已记录操作人与审批",
    "staff-compromise.scoring": "等待两个站点的评分收齐全部查看",
    "staff-compromise.scoring_saw_each_look": "每次查看在两个站点各评分一次",
    "staff-compromise.scoring_differs": "评分与查看不一致（详见英文）",
    "staff-compromise.healed": "演练账号已禁用",
    "ueba-loss.load_start": "开始经两个站点门户查看、检索与登录（频率见英文）",
    "ueba-loss.compare": "等待两站点评分收齐，与各单元数据比对",
    "witness-loss.fault": "见证节点已终止",
    "witness-loss.healed": "见证节点已恢复运行",
}
MARKS: Final = MappingProxyType(_OF_ANY_DRILL | _OF_ONE_DRILL)
"""`name` or `drill.name` of a mark -> Chinese, with `{site}` where a site is meant."""

INTENTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "begin": "即将注入故障",
        "disable": "即将禁用账号",
        "hold": "即将暂停回切并迁移单元",
        "kill": "即将终止进程",
        "renew": "即将更换证书",
        "replace": "即将替换节点",
        "rotate": "即将轮换密钥",
        "start": "即将重新启动站点",
    }
)
"""First word of what a drill is about to do -> Chinese."""
STAGES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "failed": "步骤失败",
        "fenced": "已隔离：服务器停止",
        "initialised": "已初始化",
        "started_fenced": "已启动，暂不接纳客户",
        "following": "已作为备库跟随",
        "cloned": "已全量复制",
        "rewound": "已回退",
        "suspect": "怀疑主库已失",
        "forced": "操作员强制接管",
        "grant_taking": "已取得接管授权",
        "receiver_stopped": "已停止接收旧主库的 WAL",
        "promoted": "已提升为主库",
        "opened": "已对客户开放",
        "grant_primary": "授权已确认其为主库",
        "joined": "副本已加入同步集合",
        "degraded": "不再等待无声副本",
        "move_begin": "开始计划迁移",
        "drained": "已排空在途请求",
        "stopped": "服务器已停止",
        "handed_over": "授权已移交",
        "swap_refused": "授权写入未生效：其间已被更改",
        "swap_unknown": "授权是否写入尚不可知",
    }
)
"""Stage of an agent's journal -> Chinese."""


def say_mark(mark: Mark, drill: str, site: str) -> str:
    """Return in Chinese what a mark of `drill` says; "" for one that no drill of today writes.

    >>> say_mark(Mark(0, "kill", "idc is dead"), "site-loss", "idc")
    '站点 idc 的全部进程已终止'
    >>> say_mark(Mark(0, "move", "move cell b to idc", "b"), "key-rotation", "")
    '单元 b：计划迁移'
    >>> say_mark(Mark(0, "intent", "about to kill idc (undo: biyi site start idc)"), "site-loss", "idc")
    '即将终止进程，执行前已落盘（undo 之后为手工恢复命令）'
    """
    if mark.name == INTENT:
        verb = mark.text.removeprefix("about to ").split(" ")[0]
        return f"{INTENTS.get(verb, '即将执行操作')}，执行前已落盘（undo 之后为手工恢复命令）"
    words = MARKS.get(f"{drill}.{mark.name}") or MARKS.get(mark.name, "")
    cell = f"单元 {mark.cell}：" if mark.cell and words else ""
    return cell + words.format(site=site)


def say_stage(stage: str, epoch: int) -> str:
    """Return in Chinese what an agent did; "" for a stage that no agent of today writes.

    >>> say_stage("promoted", 3)
    '已提升为主库，纪元 3'
    """
    return f"{STAGES[stage]}，纪元 {epoch}" if stage in STAGES else ""
