"""The public HTTP API of one site: FastAPI under /v1, problem+json errors with field paths.

Lives here: request and answer models, routes, error answers, the process entry point.
May not: decide anything about lending; personal data never in an error or a log.
Start reading at `app.py`, then `routes.py`.
"""
