"""What our three dashboards show: sites and cells, lending, security."""

from infra.dashboards.panels import Board, Row, Shown

ROUTES = {
    "/v1/customers": "开户 / customers", "/v1/applications": "授信申请 / applications",
    "/v1/quotes": "试算 / quotes",
    "/v1/contracts": "合同 / contracts", "/v1/draws": "放款 / draws", "/v1/repayments": "还款 / repayments",
    "/v1/prepayments": "提前还款 / prepayments",
}  # fmt: skip
"""Routes that lend and collect. A test compares them with the application's own."""


def _rate(selector: str, by: str) -> str:
    return f"sum by ({by}) (rate(biyi_api_requests_total{{{selector}}}[1m]))"


def _p99(route: str) -> str:
    return (
        "histogram_quantile(0.99, sum by (site, le) "
        f'(rate(biyi_api_request_seconds_bucket{{route="{route}"}}[5m])))'
    )


SITES = Board(
    "biyi-sites",
    "比翼：站点与单元 / Biyi: sites and cells",
    (
        Row(
            "现在 / now",
            (
                Shown(
                    "单备份单元 / cells alone", 'sum(max by (cell) (biyi_cell_mode{mode="ALONE"}))', now=True
                ),
                Shown(
                    "敞口金额 / money exposed",
                    "sum(max by (cell) (biyi_cell_exposed_yuan))",
                    unit="currencyCNY",
                    now=True,
                ),
                Shown(
                    "敞口字节 / bytes exposed",
                    "sum(max by (cell) (biyi_cell_exposed_bytes))",
                    unit="bytes",
                    now=True,
                ),
                Shown("etcd 失联成员 / etcd silent", "max(biyi_etcd_members_silent)", now=True),
                Shown("最长失联 / longest silence", "max(biyi_site_silent_seconds)", unit="s", now=True),
                Shown(
                    "未服务副本 / copies not serving",
                    "count(min by (place) (biyi_copy_serves) == 0)",
                    now=True,
                ),
            ),
        ),
        Row(
            "单元 / cells",
            (
                Shown(
                    "主副本所在站点 / where primaries are",
                    "count by (at) (max by (cell, at) (biyi_cell_primary))",
                    "{{at}}",
                ),
                Shown("世代 / epoch", "max by (cell) (biyi_cell_epoch)", "{{cell}}"),
                Shown(
                    "模式 / mode",
                    'max by (cell, mode) (biyi_cell_mode{mode!="SYNC"}) == 1',
                    "{{cell}} {{mode}}",
                ),
                Shown("同步副本数 / sync copies", "min by (cell) (biyi_cell_sync_copies)", "{{cell}}"),
                Shown(
                    "敞口字节 / bytes exposed", "max by (cell) (biyi_cell_exposed_bytes)", "{{cell}}", "bytes"
                ),
                Shown(
                    "敞口金额 / yuan exposed",
                    "max by (cell) (biyi_cell_exposed_yuan)",
                    "{{cell}}",
                    "currencyCNY",
                ),
            ),
        ),
        Row(
            "副本 / copies",
            (
                Shown(
                    "落后 / lag",
                    "max by (place, follower) (biyi_copy_lag_bytes)",
                    "{{place}} → {{follower}}",
                    "bytes",
                ),
                Shown("状态 / state", "max by (place, state) (biyi_copy_state) == 1", "{{place}} {{state}}"),
                Shown(
                    "决策 / decision",
                    "max by (place, step, why) (biyi_copy_decision)",
                    "{{place}}: {{step}} ({{why}})",
                ),
                Shown("磁盘满 / disk full", "max by (place) (biyi_copy_disk_full)", "{{place}}"),
            ),
        ),
        Row(
            "站点 / sites",
            (
                Shown("心跳沉默 / silence", "max by (peer) (biyi_site_silent_seconds)", "{{peer}}", "s"),
                Shown("etcd 可用 / etcd answers", "min by (site) (biyi_etcd_up)", "{{site}}"),
                Shown(
                    "缓存落后 / cache age",
                    "max by (site, cell) (biyi_cache_age_seconds)",
                    "{{site}} {{cell}}",
                    "s",
                ),
            ),
        ),
    ),
)

LENDING = Board(
    "biyi-lending",
    "比翼：信贷 / Biyi: lending",
    (
        Row(
            "总量 / whole",
            (
                Shown("请求 / requests", "sum(rate(biyi_api_requests_total[1m]))", unit="reqps", now=True),
                Shown(
                    "失败率 / share failed", "max(site:biyi_api_errors:share5m)", unit="percentunit", now=True
                ),
                Shown("决策 p99 / decisions p99", f"max({_p99('/v1/applications')})", unit="s", now=True),
                Shown(
                    "未知付款 / payouts unknown", 'sum(biyi_payout_orders_total{state="unknown"})', now=True
                ),
                Shown(
                    "熔断通道 / channels open", "sum(min by (channel) (biyi_payout_channel_open))", now=True
                ),
                Shown("发件箱 / outbox age", "max(biyi_outbox_age_seconds)", unit="s", now=True),
            ),
        ),
        Row(
            "每秒 / a second",
            tuple(
                Shown(
                    f"{title}",
                    _rate(f'route="{route}",method="POST"', "site, status"),
                    "{{site}} {{status}}",
                    "reqps",
                )
                for route, title in ROUTES.items()
            ),
        ),
        Row(
            "p99 延迟 / p99",
            tuple(Shown(f"{title}", _p99(route), "{{site}}", "s") for route, title in ROUTES.items()),
        ),
        Row(
            "出款 / money out",
            (
                Shown(
                    "付款结果 / payouts",
                    "sum by (state) (rate(biyi_payout_orders_total[5m]))",
                    "{{state}}",
                    "ops",
                ),
                Shown(
                    "通道 / channels",
                    "max by (site, channel) (biyi_payout_channel_open)",
                    "{{site}} {{channel}}",
                ),
                Shown(
                    "发件箱 / outbox age",
                    "max by (site, cell) (biyi_outbox_age_seconds)",
                    "{{site}} {{cell}}",
                    "s",
                ),
                Shown(
                    "缓存状态 / cache state",
                    "max by (site, cell, state) (biyi_cache_state) == 1",
                    "{{site}} {{cell}} {{state}}",
                ),
            ),
        ),
    ),
)

SECURITY = Board(
    "biyi-security",
    "比翼：安全 / Biyi: security",
    (
        Row(
            "被拒绝的 / refused",
            (
                Shown("限流 / rate limited", _rate('status="429"', "site"), "{{site}}", "reqps"),
                Shown(
                    "格式不符 / invalid",
                    _rate('status=~"400|404|405|413|422"', "site, status"),
                    "{{site}} {{status}}",
                    "reqps",
                ),
                Shown(
                    "未授权 / not allowed",
                    _rate('status=~"401|403"', "site, route"),
                    "{{site}} {{route}}",
                    "reqps",
                ),
                Shown(
                    "过慢或中断 / slow or cut",
                    _rate('status=~"0|408"', "site, status"),
                    "{{site}} {{status}}",
                    "reqps",
                ),
            ),
        ),
        Row(
            "员工查看 / staff",
            (
                Shown(
                    "查看 / looks",
                    _rate('route=~"/v1/staff/.*looks.*"', "site, status"),
                    "{{site}} {{status}}",
                    "reqps",
                ),
                Shown(
                    "明文 / unmaskings",
                    _rate('route=~"/v1/staff/.*unmaskings.*"', "site, status"),
                    "{{site}} {{status}}",
                    "reqps",
                ),
            ),
        ),
        Row(
            "审计 / audit",
            (
                Shown(
                    "封存 / sealed", "sum by (site) (rate(biyi_audit_sealed_total[5m]))", "{{site}}", "ops"
                ),
                Shown("检查点 / checkpoints", "max by (site) (biyi_audit_checkpoint)", "{{site}}"),
                Shown("缺失 / trails cut", "max by (site) (biyi_audit_lost)", "{{site}}"),
            ),
        ),
        Row(
            "进程 / processes",
            (
                Shown(
                    "重启 / restarts",
                    'changes(process_start_time_seconds{job=~"biyi-.*"}[1h])',
                    "{{job}} {{instance}}",
                ),
                Shown("文件句柄 / files", 'process_open_fds{job=~"biyi-.*"}', "{{job}} {{instance}}"),
                Shown("未采集 / not scraped", 'up{job=~"biyi-.*"} == 0', "{{job}} {{instance}}"),
                Shown(
                    "内部错误 / defects", _rate('status="500"', "site, route"), "{{site}} {{route}}", "reqps"
                ),
            ),
        ),
    ),
)

BOARDS = (SITES, LENDING, SECURITY)
