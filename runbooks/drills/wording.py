"""What checks and verdicts are called for people, in English and Chinese. Pure."""

import html
from collections.abc import Mapping

from runbooks.drills.checkers import Verdict

MEANINGS: Mapping[str, tuple[str, str]] = {
    "acknowledged_is_kept": (
        "Every acknowledged command is in the books exactly once",
        "已确认的命令都在账上且仅一次",
    ),
    "earlier_rows_are_kept": ("What was there before the drill is still there", "演练前已有的数据仍在"),
    "answers_agree": ("The stored answer is the one the customer got", "留存的答复与客户所见一致"),
    "no_overlapping_epochs": (
        "No older epoch acknowledged what the newer history lacks",
        "旧纪元未确认新历史所缺的提交",
    ),
    "effects_happened_once": (
        "Each draw and repayment was booked once, balanced, in full",
        "每笔放款与还款恰好记账一次且平衡",
    ),
    "no_phantom": ("Nothing is in the books that nobody asked for", "账上没有无人请求的记录"),
    "trial_balance": ("Debits equal credits in each cell", "各单元借贷平衡"),
    "balances_equal_entries": ("Loan balances equal the sums of their entries", "贷款余额等于分录之和"),
    "repayments_explain_balances": (
        "Acknowledged repayments explain every balance",
        "已确认的还款可解释每个余额",
    ),
    "reads_saw_what_was_acknowledged": ("No read missed an acknowledged repayment", "读取未遗漏已确认的还款"),
    "unknowns_are_resolved": ("No operation is left with an unknown outcome", "没有结果未知的操作"),
    "took_over_in_time": (
        "Cells that lost their primary wrote again within 5 s",
        "失去主库的单元 5 秒内恢复写入",
    ),
    "survivors_kept_serving": (
        "Cells of the surviving site: no failed request, no pause over 5 s",
        "存活站点的单元无失败且停顿不超 5 秒",
    ),
    "rejoined_in_time": (
        "The dead site was back in sync within 60 s of its restart",
        "故障站点重启后 60 秒内重新同步",
    ),
    "went_home": ("Every cell went home by itself", "各单元自动回迁"),
    "day_end_was_finished": ("Day-end was finished without the lost site", "失去站点后日终批处理仍完成"),
    "day_end_rows_equal_undisturbed": (
        "Day-end's rows hash as those of an undisturbed run",
        "日终结果与未受干扰的运行一致（SM3）",
    ),
    "filings_equal_at_both_sites": ("Both sites compute the same filings", "两站点计算的报送数据逐字节一致"),
    "no_filing_lost": ("Every filing reached the regulator and was accepted", "报送批次无一丢失"),
    "no_filing_doubled": ("No filing is with the regulator twice or altered", "报送批次无重复、无改动"),
    "no_failed_request": ("No request failed meanwhile", "期间没有失败的请求"),
    "renewed_are_let_in": ("Every door lets the renewed certificates in", "所有入口接受新证书"),
    "renewed_are_presented": ("Every server presents a renewed certificate", "所有服务出示新证书"),
    "revoked_are_refused": (
        "Every door that asks for a certificate refuses the old ones",
        "所有要求证书的入口拒绝旧证书",
    ),
    "audit_chain_verifies": (
        "The audit trail verifies end to end, without the database",
        "审计链端到端离线验证通过",
    ),
    "audit_has_every_command": (
        "Every command in the books is in the audit trail, once",
        "账上每个命令在审计链中有且仅有一条",
    ),
    "keys_no_request_failed": ("No request failed while the key changed", "密钥轮换期间没有失败的请求"),
    "keys_no_error_answered": ("No entrance answered with an error", "各入口未返回服务器错误"),
    "keys_everybody_was_readable": (
        "Everybody's data were readable and right at every moment, by both entrances",
        "客户信息自始至终可读且正确（双入口）",
    ),
    "keys_no_row_under_a_retired_version": (
        "No value of any sealed column is under an older key version",
        "任何加密字段均未停留在旧版本密钥下",
    ),
    "keys_sites_agree": ("Both sites seal with the new version only", "两个站点仅使用新版本密钥加密"),
    "keys_rotation_was_resumed": (
        "The rotation was cut off among the rows and went on",
        "轮换中断后可继续完成",
    ),
    "keys_rotation_saw_a_failover": (
        "A primary was killed and another copy took over a cell meanwhile",
        "轮换期间一个主库被终止，另一单元由其他副本接管",
    ),
    "slots_were_moved": (
        "Every slot moved with equal checksums, and came back",
        "每个槽位迁移校验一致，并已迁回",
    ),
    "slots_waited_in_limit": (
        "Customers of a moved slot waited for a second at most",
        "被迁移槽位的客户等待不超过一秒",
    ),
    "moves_were_done": ("Every planned move reached its site", "每次计划迁移都已到位"),
    "matrix_acknowledged_is_kept": (
        "Every acknowledged write of the matrix is kept",
        "矩阵中已确认的写入均已保存",
    ),
    "matrix_no_phantom": ("Nothing is kept that nobody sent, or twice", "没有未发送或重复的写入"),
    "matrix_answers_agree": ("Each kept answer is the one that was given", "留存的结果与返回一致"),
    "matrix_acknowledged_epoch": (
        "What an epoch acknowledged is kept from that epoch",
        "各纪元确认的写入保存于该纪元",
    ),
    "epochs_do_not_overlap": (
        "By the servers' rows: an epoch ends before the next begins",
        "按服务器记录，纪元互不重叠",
    ),
    "epochs_have_one_place": (
        "By the journals: each epoch opened at one place",
        "按日志，每个纪元仅在一处开放",
    ),
    "money_is_constant": ("Money is neither made nor lost, no account below zero", "资金总额不变且无负余额"),
    "transfers_are_whole": ("No transfer is torn or doubled", "没有残缺或重复的转账"),
    "totals_read_are_constant": ("Every total read during transfers is right", "转账期间读到的总额均正确"),
    "registers_are_linearizable": ("Registers are linearizable", "寄存器满足线性一致性"),
    "plain_reads_are_bounded": ("Plain reads are stale within the limit only", "普通读取的陈旧时间在限度内"),
    "matrix_unknowns_are_resolved": ("No write of the matrix is left unknown", "矩阵中没有结果未知的写入"),
    "every_cell_served": ("Each cell served each workload in each batch", "每批次各单元均提供服务"),
    "whole_after_healing": ("The stand was whole in time after each batch", "每批次恢复后系统按时完整"),
    "nothing_ended_by_itself": ("No process ended that no fault ended", "没有进程自行退出"),
    "no_server_panicked": ("No server panicked or found damage", "没有服务器崩溃或数据损坏"),
    "faults_took_place": ("Faults took place", "故障确实发生"),
    "each_draw_is_ordered": (
        "Each draw has one payout order of its amount",
        "每笔放款有且仅有一笔等额支付指令",
    ),
    "nothing_is_paid_twice": ("No order is paid twice, all banks together", "各银行合计无重复支付"),
    "every_order_is_paid": (
        "Every order is paid, as that bank's book says",
        "每笔指令均已支付且与银行账一致",
    ),
    "no_payment_is_unknown_to_us": (
        "Each payment in a bank's book is one of our orders",
        "银行账上每笔支付均有我方指令",
    ),
    "shown_looks_are_recorded": ("Each look that was shown is recorded", "已展示的查看均有记录"),
    "idc_scored_each_look": (
        "The watcher at idc scored each look and search",
        "idc 站点对每次查看与检索均已评分",
    ),
    "cloud_scored_each_look": (
        "The watcher at cloud scored each look and search",
        "cloud 站点对每次查看与检索均已评分",
    ),
    "idc_scored_none_twice": ("The watcher at idc scored nothing twice", "idc 站点无重复评分"),
    "cloud_scored_none_twice": ("The watcher at cloud scored nothing twice", "cloud 站点无重复评分"),
    "somebody_looked": ("Somebody looked at somebody", "演练期间确有查看"),
    "somebody_searched": ("Somebody searched and tried to log in", "演练期间确有检索与登录"),
    "channel_switched_in_time": ("Payouts moved to the other bank within 10 s", "支付 10 秒内切换渠道"),
    "pauses_in_limit": ("Write pause of the moves: p99 at most 0.5 s", "迁移写停顿 p99 不超 0.5 秒"),
    "write_pauses_in_limit": ("No cell's writes paused longer than promised", "各单元写停顿均在承诺之内"),
    "nothing_was_promoted": ("No copy was promoted", "没有副本被提升"),
    "served_as_before": ("After the peak everyone is served as before", "高峰过后服务如常"),
    "went_on_alone": ("Every cell went on without its silent copy", "各单元在副本失联后继续服务"),
    "stayed_in_sync": ("Every cell stayed in sync", "各单元始终保持同步"),
    "stayed_while_held": ("Nothing went home while fail-back was held", "保持期间没有单元回切"),
    "fail_back_failed_nobody": ("No request failed on the way home", "回切过程没有失败的请求"),
    "fail_back_pauses_in_limit": ("Going home paused each cell's writes at most 1 s", "回切写停顿不超 1 秒"),
    "suspicion_was_real": ("Two servers did claim to be primary", "确有两个服务器自称主库"),
    "never_two_writers": ("At no look could two servers be written", "任何时刻均无两个可写主库"),
    "pretender_stepped_down": ("The pretender stepped down within 5 s", "伪主库 5 秒内退位"),
    "every_replica_served": ("Every replica that joined served customers", "每个扩容实例均提供了服务"),
    "faulty_release_was_rolled_back": (
        "The faulty release was taken back by itself, before any node was replaced",
        "缺陷版本在替换任何节点前自动回滚",
    ),
    "every_node_was_replaced": ("Every node runs the good release", "每个节点均已更新"),
    "not_interrupted": ("The drill was not killed before its end", "演练未被中断"),
    "sessions_ended_in_time": (
        "Both sites refused the session within 1 s of the account being shut",
        "禁用后 1 秒内两站点拒绝会话",
    ),
    "stolen_session_bound_to_address": ("A session is refused at another address", "会话换地址即被拒绝"),
    "password_refused": ("The right password no longer opens a shut account", "禁用后正确口令亦被拒绝"),
    "reopening_takes_two": ("One person alone cannot reopen it", "单人无法重新启用账号"),
    "changes_name_who_and_why": (
        "Each act on the account names who did it and its approval",
        "账号操作均记录操作人与审批",
    ),
    "scoring_saw_each_look": (
        "Both sites' scoring has each look of the thief once",
        "两站点对盗用者的每次查看各评分一次",
    ),
    "site_was_empty": ("Every cell had left before the site went dark", "站点断电前各单元均已撤离"),
    "archive_held_it_in_time": ("An archive held the chosen second within 5 s", "归档在 5 秒内包含所选时点"),
    "restore_is_that_second": (
        "Every restored row is that second's, debits equal credits",
        "恢复的每一行均为所选时点，借贷平衡",
    ),
    "cache_was_warm_in_time": ("The lost cache was warm again within 30 s", "缓存 30 秒内恢复预热"),
}
"""What each check means, in English and Chinese."""

VERDICT_WORDS: Mapping[Verdict, tuple[str, str]] = {
    Verdict.HOLDS: ("holds", "成立"),
    Verdict.BROKEN: ("BROKEN", "不成立"),
    Verdict.UNKNOWN: ("UNKNOWN", "无法判定"),
}

OVERALL: Mapping[Verdict, tuple[str, str]] = {
    Verdict.HOLDS: ("All checks hold.", "各项核验均成立。"),
    Verdict.BROKEN: ("Not all checks below hold.", "下列核验并非全部成立。"),
    Verdict.UNKNOWN: (
        "At least one check could not tell, which counts as red.",
        "至少一项核验无法判定，按不通过处理。",
    ),
}
"""How a summary ends: what was done is told as it was meant, so whether it came true is said beside it."""

HEADINGS: Mapping[str, str] = {
    "cell": "单元",
    "home": "归属",
    "lost its primary": "失去主库",
    "kill to first write": "至首次写入",
    "longest write pause": "最长写停顿",
    "failed": "失败",
    "epoch": "纪元",
    "new": "新证书",
    "old": "旧证书",
    "to": "迁至",
    "write pause": "写停顿",
    "outcome": "结果",
    "bank": "银行",
    "payments in its book": "账册中的付款",
    "door": "入口",
    "tls": "TLS 版本",
    "version": "密钥版本",
    "Figure": "指标",
    "Measured": "实测",
    "Promised": "承诺",
    "Cell": "单元",
    "Primary, mode, epoch": "主库、模式、纪元",
    "Seconds": "秒",
    "What was done": "所做之事",
    "Agent of": "代理",
    "Decision": "决策",
    "Reason": "理由",
    "Epoch": "纪元",
    "Check": "核验项",
    "Looked at": "核对数",
    "Defects": "缺陷",
    "UTC": "世界时",
    "Who": "谁",
    "What": "何事",
}
"""A table's heading in Chinese; one that is not here stands in English alone."""
VALUES: Mapping[str, str] = {
    "yes": "是",
    "no": "否",
    "never": "从未",
    "kept writing": "写入未中断",
    "let in": "放行",
    "unknown": "未知",
    "0 lost": "无丢失",
    "nobody: not a dangerous drill": "无需批准：本演练不具危险性",
    "nobody: this stand has no administrators": "无人批准：本测试台未设管理员",
}
"""What stands in a report's tables as words, in Chinese; figures and names stand as they are."""
SEEN: Mapping[str, tuple[str, str]] = {
    "bank": ("What each bank's book says", "各银行账册所记"),
    "door": ("What each door did", "各入口的反应"),
    "version": ("What is sealed under which key version", "各密钥版本下的数据"),
    "cell": ("What customers of each cell saw", "各单元客户所见"),
}
"""What a report's own table shows, by a word that one of its headings begins with; the first that does."""


_COUNTED = frozenset({"Seconds", "UTC", "Measured", "Looked at", "Defects", "Epoch"})
"""Headings of figures, which stand to the right."""


def head_row(*names: str) -> str:
    """Return a table's head, the Chinese of each heading below it; "" is a column without one.

    >>> head_row("Epoch", "")
    '<thead><tr><th class=n>Epoch<br><small lang=zh>纪元</small></th><th></th></tr></thead>'
    """
    return f"<thead><tr>{''.join(_head_cell(name) for name in names)}</tr></thead>"


def _head_cell(name: str) -> str:
    word = name.rstrip(" 0123456789")  # "version 2" is of the heading "version"
    beside = f"<br><small lang=zh>{HEADINGS[word]}{name[len(word) :]}</small>" if word in HEADINGS else ""
    return f"<th{' class=n' if name in _COUNTED else ''}>{html.escape(name)}{beside}</th>"
