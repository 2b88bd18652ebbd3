"""Notices to borrowers: the port to whoever delivers them, what they say, and the process that sends them.

Lives here: the gateway's port and its fake, the texts, the sender. May not: decide who is told what; day-end
orders notices (`core_app.day_end.notices`) from what products say. Start reading at `send.py`.
"""
