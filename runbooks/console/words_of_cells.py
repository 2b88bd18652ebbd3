"""What a copy does and why, in Chinese; the English of the reasons is `runbooks.cell_facts.REASONS`. Pure."""

from types import MappingProxyType
from typing import Final

from runbooks.cell_facts import REASONS

_REASONS_ZH = {
    "etcd_silent": "没有 etcd 成员应答：不凭旧知识做任何决定",
    "kept_by_peer": "没有 etcd，但同步副本仍在确认，且同样失去 etcd 的对端代理承诺等待",
    "grant_unconfirmed": "授权过久未能确认：宁可停止，不提供过期数据",
    "no_grant_yet": "单元尚无授权；由其归属站点创建第一份",
    "grant_lost": "有数据却没有授权：只有人能判断谁曾是主库",
    "emptiness_not_proven": "此处无授权也无数据，但并非每个站点都声明没有数据",
    "bootstrap": "在归属站点新建单元",
    "superseded": "授权指定了另一副本：此副本不得作为主库运行",
    "granted": "授权指定此副本为主库，而其服务器未运行",
    "server_mute": "服务器过久没有应答",
    "disk_stalled": "WAL 写不进此磁盘：由同步副本接管单元",
    "disk_full": "磁盘将满：请释放空间；不会向其迁移任何单元",
    "server_starting": "服务器正在启动或尚未应答",
    "epoch_not_marked": "须先把纪元写入数据库，才可接纳客户",
    "sync_set_silent": "同步集合中的一个副本超过时限未确认：不再等它",
    "sync_site_silent": "同步集合中的一个副本及其整个站点无声：不再等它",
    "sync_agent_silent": "同步集合中的一个副本及其自己的代理无声：不再等它",
    "better_copy_in_sync": "位置更好的副本已在同步集合中：不再等替补",
    "blocked_without_copy": "没有同步副本确认，而此单元从不单独写入：客户等待",
    "waiting_for_sync_set": "客户等待同步集合收到本服务器 WAL 的末尾",
    "sync_set_has_everything": "同步集合已有本服务器 WAL 的末尾：接纳客户",
    "names_behind_grant": "PostgreSQL 须等待授权所承诺的每个副本",
    "copy_caught_up": "一个副本已追上：此后提交等待它",
    "copy_named": "提交已等待该副本：用标记证明，再写入授权",
    "going_home": "归属站点的副本在同步集合中已足够久",
    "operator_asked": "操作员要求迁移",
    "move_target_not_in_sync": "目标副本不在同步集合中，不得提升",
    "moving": "计划迁移正在进行",
    "move_target_silent": "迁移目标无声：放弃迁移",
    "serving": "主库，对客户开放，同步集合属实",
    "primary_site_silent": "主库的心跳停止，且其数据流或探测已断",
    "primary_agent_silent": "主库自己的代理无声（其站点仍有心跳），且其数据流或探测已断",
    "primary_declared_down": "主库自己的代理声明无法运行它",
    "candidate_failed": "候选副本在确认任何写入之前失声",
    "silent_but_stream_alive": "心跳停止但 WAL 流仍在：etcd 抖动不等于死亡",
    "promised_to_wait": "两端均看不到 etcd 时，本代理已承诺不接管任何单元",
    "alone_never_promotes": "没有别的副本拥有全部已确认提交：不自动提升",
    "not_in_sync_set": "此副本可能缺少已确认的提交：不提升",
    "forced_by_operator": "操作员接受损失：由此副本接管单元",
    "candidate": "授权允许此副本接管单元",
    "other_candidate": "另一副本正在接管单元",
    "waiting_for_primary": "没有存活的主库可供复制",
    "no_directory": "没有数据目录：复制主库",
    "directory_broken": "回退中途失败：复制主库",
    "was_primary": "原主库作为副本回归",
    "stream_stuck": "主库存活却无法接流：历史已分叉",
    "other_primary": "数据流须指向新的主库",
    "following": "授权主库的备库",
}
_STEPS = {
    "hold": ("保持", "hold still"),
    "stop_hard": ("立即停止", "stop at once"),
    "initialise": ("初始化", "initialise"),
    "create_grant": ("创建授权", "create the grant"),
    "start_primary": ("启动主库", "start the primary"),
    "start_standby": ("启动备库", "start the standby"),
    "clone": ("全量复制", "clone"),
    "rewind": ("回退", "rewind"),
    "rejoin": ("重新加入", "rejoin"),
    "follow": ("跟随", "follow"),
    "take": ("取得授权", "take the grant"),
    "promote": ("提升", "promote"),
    "finish_taking": ("完成接管", "finish taking over"),
    "finish_shut": ("接管但暂不开放", "take over, stay shut"),
    "mark_epoch": ("写入纪元", "mark the epoch"),
    "open": ("对客户开放", "let clients in"),
    "set_names": ("设置同步名单", "set the sync names"),
    "join": ("加入同步集合", "join the sync set"),
    "leave": ("离开同步集合", "leave the sync set"),
    "begin_move": ("开始迁移", "begin the move"),
    "drain_and_stop": ("排空并停止", "drain and stop"),
    "hand_over": ("移交", "hand over"),
    "abandon_move": ("放弃迁移", "give the move up"),
}
_STATES = {
    "absent": ("无目录", "no directory"),
    "broken": ("目录损坏", "broken directory"),
    "stopped": ("已停止", "stopped"),
    "mute": ("无应答", "does not answer"),
    "standby": ("备库", "standby"),
    "primary": ("主库", "primary"),
    "not_seen": ("看不到", "not seen"),
    "not_decided": ("尚无决定", "nothing decided yet"),
}

WORDS_OF_CELLS: Final = MappingProxyType(
    {f"why.{key}": (zh, REASONS[key]) for key, zh in _REASONS_ZH.items()}
    | {f"step.{key}": both for key, both in _STEPS.items()}
    | {f"state.{key}": both for key, both in _STATES.items()}
)
"""Key -> (Chinese, English)."""
