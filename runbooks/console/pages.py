"""HTML of the console: templates, the words they may use, how instants and figures are written."""

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from core_app.business_calendar import SHANGHAI
from runbooks.console.view import SiteView
from runbooks.console.words import LANGUAGES, WORDS, other, word
from runbooks.drills.report_sections import mark_code
from runbooks.drills.wording import MEANINGS
from runbooks.exposure import word_age, word_count, word_yuan

TEMPLATES = Path(__file__).parent / "templates"
STATIC = Path(__file__).parent / "static"


class Pages:
    """The templates, read once; everything that is filled in is escaped."""

    def __init__(self, site: str) -> None:
        self._site = site
        self.environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.environment.filters |= {
            "clock": clock, "day": day, "stamp": stamp, "unseen_told": tell_unseen,
            "code_marked": mark_code_spans, "bytes": word_size, "instant": instant, "figure": figure,
        }  # fmt: skip

    def render(self, template: str, language: str, **values: Any) -> str:
        """Return a page or a part of one."""
        known = {**words_for(language), "console_site": self._site, **values}
        return self.environment.get_template(template).render(known)


def words_for(language: str) -> Mapping[str, Any]:
    """Return what every template may call: `w` a text, `both` a heading with the other language beside
    (`w_other`).

    `change` is why a grant was written: a reason, or what an operator said. `coded` is the word of a code
    that others may add to (a role, an action): one without a word stands as it is. `check` is what a
    drill's check says when it holds.
    """

    def w(key: str, **filled: object) -> str:
        return word(language, key, **filled)

    def both(key: str) -> Markup:
        second = other(language)
        beside = Markup('<small lang="{}">{}</small>').format(LANGUAGES[second], word(second, key))
        return escape(word(language, key)) + " " + beside

    def w_other(key: str) -> str:
        return word(other(language), key)

    def change(why: str) -> str:
        return word(language, f"why.{why}") if f"why.{why}" in WORDS else why.replace("_", " ")

    def coded(prefix: str, code: str | None) -> str:
        if code is None:
            return "-"
        key = f"{prefix}.{code}"
        return word(language, key) if key in WORDS else code.replace("_", " ")

    def check(name: str) -> str:
        chinese, english = MEANINGS.get(name, (name, name))[::-1]
        return chinese if language == "zh" else english

    worded: dict[str, Callable[..., Any]] = {
        "w": w, "both": both, "change": change, "coded": coded, "exposure": exposure_for(language),
        "check": check, "w_other": w_other,
    }  # fmt: skip
    return {**worded, "language": language, "html_language": LANGUAGES[language]}


def exposure_for(language: str) -> Callable[[Mapping[str, Any]], str]:
    """Return what writes a row's exposure in a language."""

    def write(row: Mapping[str, Any]) -> str:
        if row["exposed_bytes"] == 0 and row["age_s"] == 0:
            return word(language, "exposure.nothing")
        if row["known_age_s"] is None:
            return word(language, "exposure.unknown")
        return word(
            language,
            "exposure.is",
            bytes=word_size(row["exposed_bytes"]),
            commits=word_count(row["commits"]),
            yuan=word_yuan(row["moved_fen"]),
            age=word_age(row["age_s"]),
            known=word_age(row["known_age_s"]),
        )

    return write


def clock(instant: dt.datetime) -> str:
    """Return the time of day in Beijing.

    >>> clock(dt.datetime(2026, 11, 22, 16, 31, 7, tzinfo=dt.UTC))
    '00:31:07'
    """
    return f"{instant.astimezone(SHANGHAI):%H:%M:%S}"


def day(instant: dt.datetime) -> str:
    """Return day and time in Beijing.

    >>> day(dt.datetime(2026, 11, 22, 16, 31, 7, tzinfo=dt.UTC))
    '2026-11-23 00:31'
    """
    return f"{instant.astimezone(SHANGHAI):%Y-%m-%d %H:%M}"


def stamp(instant: dt.datetime) -> str:
    """Return day and second in Beijing.

    >>> stamp(dt.datetime(2026, 11, 22, 16, 31, 7, tzinfo=dt.UTC))
    '2026-11-23 00:31:07'
    """
    return f"{instant.astimezone(SHANGHAI):%Y-%m-%d %H:%M:%S}"


def tell_unseen(sites: Iterable[SiteView]) -> str:
    """Return which sites a page says are not seen, as it tells the console when it asks again."""
    return "+".join(sorted(site.site for site in sites))


def mark_code_spans(text: str) -> Markup:
    """Return a text with what stands in backticks as code.

    >>> mark_code_spans("run `biyi cells` <now>")
    Markup('run <code>biyi cells</code> &lt;now&gt;')
    """
    return Markup(mark_code(text))  # noqa: S704 - it escapes everything


def instant(text: str | None) -> str:
    """Return an ISO 8601 instant as day and time in Beijing; "-" for None, what is none as it is.

    >>> instant("2026-11-22T16:31:07.5Z"), instant(None), instant("soon")
    ('2026-11-23 00:31:07', '-', 'soon')
    """
    if text is None:
        return "-"
    try:
        read = dt.datetime.fromisoformat(text)
    except ValueError:
        return text
    return stamp(read) if read.tzinfo else text


def figure(value: float | None) -> str:
    """Return a figure for people; "-" when there is none.

    >>> figure(3.0), figure(0.123456), figure(12345.6), figure(None)
    ('3', '0.12', '12,346', '-')
    """
    if value is None:
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}".rstrip("0").rstrip(".")


def word_size(count: int | None) -> str:
    """Return bytes for people; "?" when not known.

    >>> word_size(120), word_size(4_300_000), word_size(None)
    ('120 B', '4.3 MB', '?')
    """
    if count is None:
        return "?"
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"
