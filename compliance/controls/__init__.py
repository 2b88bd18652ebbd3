"""Level-3 (等保三级) control evidence: 257 items, probes of the running system, attestations, scores, packs.

Lives here: the catalogue as data, the judging of readings (pure), the reading of a running system, what two
people attest, the signed pack. May not: call an item met that nobody has seen met; change a business row;
know how a deployment is started (that is `ground.Ground`, which a runbook fills in).
Start reading at `catalogue.py`, then `judge.py`. Pure: judge, readings, score.
"""
