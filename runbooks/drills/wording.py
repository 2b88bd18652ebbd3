"""What checks and verdicts are called for people, in English and Chinese. Pure."""

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
    "no_failed_request": ("No request failed during the moves", "迁移期间没有失败的请求"),
    "moves_were_done": ("Every planned move reached its site", "每次计划迁移都已到位"),
    "pauses_in_limit": ("Write pause of the moves: p99 at most 1 s", "迁移写停顿 p99 不超 1 秒"),
}
"""What each check means, in English and Chinese."""

VERDICT_WORDS: Mapping[Verdict, tuple[str, str]] = {
    Verdict.HOLDS: ("holds", "成立"),
    Verdict.BROKEN: ("BROKEN", "不成立"),
    Verdict.UNKNOWN: ("UNKNOWN", "无法判定"),
}
