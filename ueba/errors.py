"""Errors of staff-behaviour scoring. Pure."""


class UebaError(Exception):
    """Something is missing or contradictory: the message says what was found, where, and what is needed."""
