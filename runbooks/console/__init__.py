"""The web console: both sites, witness, links and cells, live; the drills. It shows, and changes nothing.

Lives here: pages, their words in two languages, what browsers are sent beside. May not: read a database,
keep a password, or decide who somebody is; the own site's core API says that. Start at `view.py` (what a
page is made of), then `watch.py` (where that comes from) and `app.py` (what a browser may ask).
"""
