"""The embedded stand: idc, cloud and witness as processes on one machine, with real servers.

Lives here: which ports and processes there are, the border relays between the sites, how to start,
lose and stop a site. May not: know what a loan or a grant decides. Start reading at `topology.py`,
then `relay.py` (what a link can do to a connection) and `up.py`.
"""
