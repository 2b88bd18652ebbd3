"""The Level-3 checks as a policy pack: `pulumi preview --policy-pack infra/policy_pack`."""
