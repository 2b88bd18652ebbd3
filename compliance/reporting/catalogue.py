"""The tables of filings, read from `tables/` and put together into statements.

A statement is the named sets of `sets.sql` before one table's query. Values go in as SQL literals, composed
by psycopg: COPY takes no parameters.
"""

import functools
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Literal, NamedTuple, TypeVar

import yaml
from psycopg.sql import SQL, Composable, Composed, Identifier
from psycopg.sql import Literal as Value
from pydantic import ConfigDict, TypeAdapter, ValidationError

from compliance.reporting.batch import Words
from compliance.reporting.bureau import Record
from compliance.reporting.errors import TablesInvalid
from compliance.reporting.statements import StatedCell

T = TypeVar("T")
_STRICT = ConfigDict(extra="forbid")
_ONE_VALUE = re.compile(r"\{\w+\}")
FORMATS: Mapping[str, str] = {
    "text": "coalesce(({})::text, '')",
    "code": "coalesce(({})::text, '')",
    # Of whole fen, so there are two digits; the field check would find a third.
    "amount": "({}) * 0.01",
    # Without a time zone: `to_char` of a date takes the way round by one.
    "date": "coalesce(to_char(({})::timestamp, 'YYYYMMDD'), '99991231')",
    "int": "({})::integer",
    "rate": "round(({}) * 100, 6)",
    "flag": "case when {} then '是' else '否' end",
}
"""How each type is written down: fen as yuan, rates in percent. Source: research on lending, 3, EAST."""
Column = tuple[str, str, Literal["text", "code", "amount", "date", "int", "rate", "flag"], str]


@dataclass(frozen=True, slots=True)
class Table:
    """One EAST table. `whole`: its rows are the company's, filed from the first cell only.

    `codes`: what a column may be; `optional`: columns that may be empty.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", validate_by_name=True)
    name: Words
    mode: Literal["full", "increment"]
    key: list[str]
    source: str
    order: str
    columns: list[Column]
    codes: dict[str, list[str]] = field(default_factory=dict)
    optional: list[str] = field(default_factory=list)
    where: str = ""
    whole: bool = False
    why_empty: Words | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """A rule over filed rows: its query returns key, found, needed of every row that breaks it."""

    __pydantic_config__ = _STRICT
    table: str
    zh: str
    en: str
    sql: str


class ReturnCell(NamedTuple):
    """A cell of a return: the query of its values, and how those of all cells of the company become one."""

    cell: str
    zh: str
    en: str
    sql: str
    way: Literal["sum", "max", "ten"] = "sum"


@dataclass(frozen=True, slots=True)
class Return:
    """A 1104 return. `stated`: cells that come from elsewhere, and `why_stated`."""

    __pydantic_config__ = _STRICT
    name: Words
    cells: list[ReturnCell]
    stated: list[StatedCell] = field(default_factory=list)
    why_stated: Words | None = None


@dataclass(frozen=True, slots=True)
class Tables:
    """Everything that is filed, as data; `sm3` is of the files. The labels say what nobody verified.

    `sets` go before every query; `known` is a condition that queries name as a value, as `{day}`.
    """

    sets: str
    known: str
    east: Mapping[str, Table]
    east_label: Words
    delimiter: str
    returns: Mapping[str, Return]
    returns_label: Words
    records: Mapping[str, Record]
    records_label: Words
    account_sql: str
    agreement_sql: str
    deletion_sql: str
    checks: Mapping[str, Check]
    sm3: str

    def stated(self) -> dict[str, list[StatedCell]]:
        """Return the cells that others state, by return."""
        return {name: made.stated for name, made in self.returns.items() if made.stated}

    def name_tables(self) -> dict[str, str]:
        """Return the Chinese name of every table, record and return."""
        words = {name: table.name for name, table in self.east.items()}
        words |= {name: record.name for name, record in self.records.items()}
        words |= {name: made.name for name, made in self.returns.items()}
        return {name: one.zh for name, one in words.items()}


@functools.cache
def read_tables() -> Tables:
    """Return the tables; TablesInvalid names the file and the field that is wrong."""
    names = ("sets.sql", "known.sql", "east.yaml", "1104.yaml", "pboc.yaml", "checks.yaml")
    texts = {
        name: files("compliance.reporting.tables").joinpath(name).read_text(encoding="utf-8")
        for name in names
    }
    east, returns, pboc = (yaml.safe_load(texts[name]) for name in names[2:5])
    for table in east["tables"].values():
        table["source"] = table.pop("from")
    made = Tables(
        sets=texts["sets.sql"],
        known=texts["known.sql"],
        east=_checked(dict[str, Table], east["tables"], "east.yaml"),
        east_label=_checked(Words, east["label"], "east.yaml"),
        delimiter=east["delimiter"],
        returns=_checked(dict[str, Return], returns["reports"], "1104.yaml"),
        returns_label=_checked(Words, returns["label"], "1104.yaml"),
        records=_checked(dict[str, Record], pboc["records"], "pboc.yaml"),
        records_label=_checked(Words, pboc["label"], "pboc.yaml"),
        account_sql=pboc["account_sql"],
        agreement_sql=pboc["agreement_sql"],
        deletion_sql=pboc["deletion_sql"],
        checks=_checked(dict[str, Check], yaml.safe_load(texts["checks.yaml"]), "checks.yaml"),
        sm3=hashlib.new("sm3", "".join(texts[name] for name in names).encode()).hexdigest(),
    )
    for name, check in made.checks.items():
        if check.table not in made.east:
            raise TablesInvalid(f"checks.yaml: {name}: there is no table {check.table}")
    for name, table in made.east.items():
        columns = {column[0] for column in table.columns}
        if strays := {*table.codes, *table.optional, *table.key} - columns:
            raise TablesInvalid(f"east.yaml: {name}: there is no column {', '.join(sorted(strays))}")
    return made


def _checked(kind: Any, plain: Any, name: str) -> Any:
    try:
        return TypeAdapter(kind).validate_python(plain)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise TablesInvalid(f"{name}: {'; '.join(lines)}") from error


def _format(kind: str, expression: str) -> str:
    """Return a column's SQL; a day that is the same in every row is written down once, not for each."""
    made = FORMATS[kind].format(expression)
    return f"(select {made})" if kind == "date" and _ONE_VALUE.fullmatch(expression) else made


def compose_rows(table: Table, values: Mapping[str, Composable]) -> Composed:
    """Return the query of a table's rows, without the sets it is computed from."""
    columns = SQL(", ").join(
        SQL(_format(kind, expression) + " as {named}").format(**values, named=Identifier(name))
        for name, _, kind, expression in table.columns
    )
    where = SQL(" where " + table.where).format(**values) if table.where else SQL("")
    return SQL("select {columns} from ").format(columns=columns) + SQL(table.source).format(**values) + where


def compose(tables: Tables, query: Composable, values: Mapping[str, Composable]) -> Composed:
    """Return a whole statement: the sets, then the query."""
    return SQL("with ") + SQL(tables.sets).format(**values) + query


def compose_table(tables: Tables, name: str, values: Mapping[str, Composable]) -> Composed:
    """Return the statement of one table in the order that makes the same books the same bytes."""
    table = tables.east[name]
    rows = compose_rows(table, values)
    return compose(tables, SQL(" {} order by ").format(rows) + SQL(table.order), values)


def compose_check(tables: Tables, check: Check, values: Mapping[str, Composable]) -> Composed:
    """Return the statement of one check, over the very rows that are filed."""
    rows = {
        f"t{name}": SQL("({})").format(compose_rows(table, values)) for name, table in tables.east.items()
    }
    return compose(tables, SQL(" " + check.sql).format(**values, **rows), values)


def compose_field_check(tables: Tables, name: str, values: Mapping[str, Composable]) -> Composed:
    """Return the statement of the field checks of one table: key, rule, found, needed of what breaks them."""
    table = tables.east[name]
    rules, conditions = [], []
    for column, _, kind, _ in table.columns:
        for rule, needed, holds in _field_rules(table, column, kind):
            codes = Value(table.codes.get(column, []))
            condition = SQL("({})").format(SQL(holds).format(column=Identifier(column), codes=codes))
            conditions.append(condition)
            rules.append(
                SQL("({}, {}::text, {}, {})").format(
                    Value(f"{column}: {rule}"), Identifier(column), Value(needed), condition
                )
            )
    query = SQL(
        " select concat_ws('/', {key}), c.rule, c.found, c.needed"
        " from (select * from ({rows}) as f where not coalesce({all}, false)) as r"
        " cross join lateral (values {rules}) as c (rule, found, needed, holds)"
        " where not coalesce(c.holds, false)"
    ).format(
        key=SQL(", ").join(SQL("{}::text").format(Identifier(column)) for column in table.key),
        rows=compose_rows(table, values), all=SQL(" and ").join(conditions), rules=SQL(", ").join(rules),
    )  # fmt: skip
    return compose(tables, query, values)


def _field_rules(table: Table, column: str, kind: str) -> list[tuple[str, str, str]]:
    """Return rule, what is needed, and the condition, of a column's fields."""
    may_be_empty = column in table.optional
    if column in table.codes:
        return [("is of its code list", ", ".join(table.codes[column]), "{column} = any({codes})")]
    if kind == "date":
        empty = "" if may_be_empty else " and {column} <> '99991231'"
        real = "{column} ~ '^[0-9]{{8}}$' and {column} between '19000101' and '99991231'" + empty
        return [("is a day", "YYYYMMDD" + ("" if may_be_empty else ", not empty"), real)]
    if kind in ("text", "code"):
        clean = ("has no control characters", "one line without tabs", "{column} !~ '[[:cntrl:]]'")
        filled = ("is not empty", "a value", "{column} <> ''")
        return [clean] if may_be_empty else [clean, filled]
    if kind == "flag":  # its format makes it one of two words: no value could break a rule
        return []
    most = {"amount": "999999999999999999.99", "rate": "100", "int": "100000"}[kind]
    number = "{column} is null or " if may_be_empty else ""
    held = f"{{column}} between 0 and {most}" + (" and scale({column}) = 2" if kind == "amount" else "")
    return [("is in its range", f"0 to {most}", f"{number}({held})")]
