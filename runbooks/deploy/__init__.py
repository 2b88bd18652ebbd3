"""`biyi deploy`: the Pulumi program of infra/, stack by stack, through Pulumi's Automation API.

`steps.py` says what may be done (pure), `engine.py` asks Pulumi, `run.py` goes through the stacks, `cost.py`
(pure) estimates, `cli.py` is the command. Nothing here imports infra/: stacks are known by their
configuration files, what must not go by its protection in Pulumi's state.
"""
