"""`biyi controls`: Level-3 evidence of the stand. Rules and judging are in `compliance.controls`.

Lives here: what of the stand the probes are shown (`stand_ground.py`), the commands, the page. Start reading
at `cli.py`.
"""
