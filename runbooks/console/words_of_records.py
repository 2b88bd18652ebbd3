"""Words of what the audit trail tells, who looks after a figure or a requirement, what is filed. Pure.

Others add to these codes: one without a word stands as it is (`coded` of `pages`).
"""

from types import MappingProxyType
from typing import Final

_WHAT = {
    "alert.closed": ("告警任务已结", "alert task closed"),
    "alert.raised": ("告警任务已开", "alert task opened"),
    "notice.closed": ("通知已结", "notice closed"),
    "notice.ordered": ("通知已生成", "notice ordered"),
    "application.decided": ("授信已决定", "application decided"),
    "bill.paid": ("账单已还", "bill paid"),
    "business_date.insert": ("业务日期已建立", "business date begun"),
    "business_date.update": ("业务日期已推进", "business date moved on"),
    "campaign.chosen": ("营销人群已选定", "campaign's customers chosen"),
    "campaign.set": ("营销活动已变更", "campaign changed"),
    "channel.cleared": ("渠道已清算", "channel cleared"),
    "channels.matched": ("渠道已对账", "channels reconciled"),
    "custody.caught_up": ("存管已补核", "custody caught up"),
    "collection.ordered": ("催收任务已生成", "collection ordered"),
    "window.seen": ("申请频次已计", "application counted in a window"),
    "complaint.acted": ("投诉已处理", "complaint acted on"),
    "complaint.taken": ("投诉已受理", "complaint taken"),
    "contact.asked": ("触达已申请", "contact asked for"),
    "contact.ended": ("触达已结束", "contact ended"),
    "contract.signed": ("合同已签", "contract signed"),
    "contract.voided": ("合同已作废", "contract voided"),
    "coupon.issued": ("优惠券已发", "coupon issued"),
    "customer.consented": ("客户已授权", "customer consented"),
    "customer.registered": ("客户已登记", "customer registered"),
    "customer.verified": ("身份已核验", "identity verified"),
    "debit.booked": ("代扣已入账", "debit booked"),
    "debits.agreed": ("代扣协议已签", "debits agreed"),
    "decisions.purged": ("到期决策数据已清除", "decision data purged"),
    "funder.published": ("资金方已发布", "funder published"),
    "funder.quota": ("资金方额度已变更", "funder's quota changed"),
    "funder.settled": ("资金方已结算", "funder settled"),
    "hardship.granted": ("困难纾缓已批准", "hardship relief granted"),
    "limit.reviewed": ("额度已复审", "limit reviewed"),
    "limit.set": ("额度已设定", "limit set"),
    "loan.drawn": ("贷款已放", "loan drawn"),
    "loan.repaid": ("贷款已还款", "loan repaid"),
    "loan.repayment_reversed": ("还款已冲正", "repayment reversed"),
    "loan.repriced": ("贷款已重定价", "loan repriced"),
    "loan.voided": ("贷款已作废", "loan voided"),
    "loan.written_off": ("贷款已核销", "loan written off"),
    "page_events.kept": ("页面行为已存", "page events kept"),
    "partner_score.kept": ("合作方评分已存", "partner's score kept"),
    "payout_events.insert": ("放款状态变化", "payout moved on"),
    "pre_screen.set": ("预筛名单已变更", "pre-screen changed"),
    "product.published": ("产品已发布", "product published"),
    "rfm.graded": ("客户已分级", "customers graded"),
    "segment.set": ("客群已变更", "segment changed"),
    "strategy.set": ("策略已变更", "strategy changed"),
    "staff.account_changed": ("员工账号变更", "staff account changed"),
    "staff.approval": ("双人审批", "approval by two"),
    "staff.login": ("员工登录", "staff signed in"),
    "staff.look_beat": ("查看仍在屏上", "look still on the screen"),
    "staff.look_ended": ("查看结束", "look ended"),
    "staff.looked": ("员工查看客户", "staff looked at a customer"),
    "staff.paged": ("员工浏览名单", "staff paged a list"),
    "staff.reviewed": ("行为复核", "behaviour reviewed"),
    "staff.session_refused": ("会话被拒", "session refused"),
    "attestations.insert": ("等保声明", "attestation"),
    "confirmations.insert": ("声明已确认", "attestation confirmed"),
    "withdrawals.insert": ("声明已撤回", "attestation withdrawn"),
    "runs.insert": ("等保探测", "Level-3 probing"),
    "batches.insert": ("报送批次已存", "filing kept as a batch"),
    "events.insert": ("报送状态变化", "filing moved on"),
    "remarks.insert": ("监管意见", "regulator's remark"),
}
_OWNERS = {
    "chief risk officer": ("首席风险官", "chief risk officer"),
    "chief financial officer": ("首席财务官", "chief financial officer"),
    "head of products": ("产品负责人", "head of products"),
    "head of collections": ("催收负责人", "head of collections"),
    "head of operations": ("运营负责人", "head of operations"),
    "head of models": ("模型负责人", "head of models"),
    "head of service": ("客服负责人", "head of service"),
    "head of compliance": ("合规负责人", "head of compliance"),
    "head of funding": ("资金负责人", "head of funding"),
    "servicing": ("贷后", "servicing"),
    "security": ("安全", "security"),
    "cloud": ("云平台", "cloud"),
    "operations": ("运维", "operations"),
    "management": ("管理层", "management"),
    "facility": ("机房", "facility"),
    "platform": ("平台", "platform"),
    "procurement": ("采购", "procurement"),
    "network": ("网络", "network"),
    "audit": ("审计", "audit"),
    "hr": ("人力资源", "human resources"),
    "development": ("研发", "development"),
    "data": ("数据", "data"),
}
_FILED = {
    "east": ("EAST 明细", "EAST tables"),
    "1104": ("1104 报表", "1104 returns"),
    "pboc": ("征信报送", "credit bureau"),
}
_SEALED = {
    "core.customers": ("客户", "customers"),
    "access.accounts": ("员工账号", "staff accounts"),
}
WORDS_OF_RECORDS: Final = MappingProxyType(
    {f"what.{code}": both for code, both in _WHAT.items()}
    | {f"owner.{code}": both for code, both in _OWNERS.items()}
    | {f"sealed.{table}": both for table, both in _SEALED.items()}
    | {f"filed.{code}": both for code, both in _FILED.items()}
)
"""Key -> (Chinese, English)."""
