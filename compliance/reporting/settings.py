"""Who files: the institution as filings name it."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import ConfigDict, Field


@dataclass(frozen=True, slots=True)
class Institution:
    """The company that files. The shipped one is made up and says so in its name."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    licence: Annotated[str, Field(pattern=r"^[A-Z][0-9A-Z]{14}$")] = "X0000H000000001"
    """Financial licence number; the default is none that was ever issued."""
    org: Annotated[str, Field(min_length=1)] = "0001"
    org_name: Annotated[str, Field(min_length=1)] = "示例消费金融公司 (example)"
    bureau_org: Annotated[str, Field(min_length=1)] = "X00000000000001"
    """Code under which the credit bureau knows the company."""
