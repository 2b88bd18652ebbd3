"""The register of all columns (`columns.yaml`), and what is wrong when a live schema is held against it."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files

import yaml

from compliance.protection.errors import ProtectionError
from compliance.protection.fields import PROTECTED_COLUMNS

LABELS = ("sealed", "index", "pseudonym", "financial", "staff", "scanned", "internal")
_PERSONAL = re.compile(
    r"(^|_)(name|phone|mobile|tel|email|mail|address|addr|id_?number|id_?card|cert_?no|passport|birth\w*|gender|"
    r"sex|bank_?card|card_?no|account_?no|cvv2?|pin|password|passwd|face|finger\w*|voice|wechat|qq|device_?id|imei|"
    r"mac|ip|wifi|gps|location)(_|$)"
)
_NOT_A_PERSON = frozenset(
    {
        "core.accounts.name_en",
        "core.accounts.name_zh",
        "core.page_events.name",
        "biyi_migrations.applied.name",
    }
)
"""Names of accounts in the books, of the dictionary's page events, and of migrations."""
_PROTECTED_LABELS = frozenset({"sealed", "index", "staff"})


class RegisterInvalid(ProtectionError):
    """`columns.yaml` is not as it must be; the message names table and column."""


@dataclass(frozen=True, slots=True)
class LiveColumn:
    """A column as the database has it: `core.customers`, `name`, `bytea`."""

    table: str
    name: str
    kind: str

    @property
    def path(self) -> str:
        """Return table and column in one."""
        return f"{self.table}.{self.name}"


def read_register() -> dict[str, str]:
    """Return the label of every registered column by its path; RegisterInvalid for an unknown label."""
    text = files("compliance.protection").joinpath("columns.yaml").read_text(encoding="utf-8")
    labels: dict[str, str] = {}
    for table, by_label in yaml.safe_load(text).items():
        for label, names in by_label.items():
            if label not in LABELS:
                raise RegisterInvalid(
                    f"columns.yaml: {table}: label {label}, needs one of {', '.join(LABELS)}"
                )
            for name in names:
                if f"{table}.{name}" in labels:
                    raise RegisterInvalid(f"columns.yaml: {table}.{name} stands there twice")
                labels[f"{table}.{name}"] = label
    return labels


def find_faults(live: Iterable[LiveColumn], register: Mapping[str, str]) -> list[str]:
    """Return what is wrong, one line a column; empty when every column is registered and rightly so."""
    found = {column.path: column for column in live}
    faults = [
        f"{path}: not registered; say in columns.yaml what it holds" for path in found if path not in register
    ]
    faults += [f"{path}: registered, but there is no such column" for path in register if path not in found]
    for path, column in found.items():
        label = register.get(path)
        if label is None:
            continue
        if label in ("sealed", "index") and column.kind != "bytea":
            faults.append(f"{path}: labelled {label} but of type {column.kind}: a clear value fits in")
        if _PERSONAL.search(column.name) and label not in _PROTECTED_LABELS and path not in _NOT_A_PERSON:
            faults.append(f"{path}: its name says personal data, its label {label} leaves it in clear")
    sealed = {f"{column.table}.{column.name}" for column in PROTECTED_COLUMNS if column.sealed}
    registered = {path for path, label in register.items() if label == "sealed"}
    faults += [f"{path}: sealed in fields.py or columns.yaml, not in both" for path in sealed ^ registered]
    return sorted(faults)
