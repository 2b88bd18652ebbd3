"""The web console: the platform live, drills, reviews of staff, audit, keys, Level 3, customers, figures.

Lives here: pages, their words in two languages, what browsers are sent beside. May not: read a database, keep
a password, decide who somebody is or what he may do, or compute what a module computes: the own site's core
API and the commands of `biyi` say that. Start at `rights.py` (which page is whose), then `frame.py` (what
every page stands on), `watch.py` (the live page), `readings.py` and `jobs.py` (commands), `app.py`.
"""
