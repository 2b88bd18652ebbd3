"""What people see of a protected value, by its shape and a profile. Pure and total.

The numbers are market practice (research/compliance.md section 5.2), not the text of JR/T 0171
annex A. A value too short to hide anything, and any unknown shape, shows stars only.
"""

import enum
import unicodedata

from compliance.protection.fields import DataClass, Shape

STAR = "*"
_CONSTANT = "******"
_COMPOUND_SURNAMES = frozenset(
    ("欧阳", "司马", "上官", "诸葛", "夏侯", "皇甫", "尉迟", "公孙", "慕容", "令狐", "东方", "司徒")
)


class Profile(enum.StrEnum):
    """Who looks: `standard` is staff at work, `strict` is lists, exports, third parties and logs."""

    STANDARD = "standard"
    STRICT = "strict"


def mask(value: str, shape: Shape, data_class: DataClass, profile: Profile = Profile.STANDARD) -> str:
    """Return `value` with its hidden part as stars; authentication data (C3) shows nothing at all."""
    if data_class is DataClass.C3:
        return _CONSTANT
    text = unicodedata.normalize("NFKC", value).strip()
    match shape:
        case Shape.NAME:
            return _mask_name(text, profile)
        case Shape.ID_NUMBER:
            return _keep(text, 3, 4) if profile is Profile.STANDARD else _keep(text, 1, 1)
        case Shape.PHONE:
            return _keep(text, 3, 4) if profile is Profile.STANDARD else _keep(text, 0, 4)
        case Shape.OTHER:
            third = len(text) // 3
            return _keep(text, third, third) if profile is Profile.STANDARD else STAR * len(text)


def _keep(text: str, first: int, last: int) -> str:
    """Show `first` and `last` characters; stars only when fewer than two would be hidden."""
    if len(text) < first + last + 2:
        return STAR * len(text)
    return text[:first] + STAR * (len(text) - first - last) + text[len(text) - last :]


def _mask_name(text: str, profile: Profile) -> str:
    words = text.split(" ")
    if profile is Profile.STRICT:
        return " ".join(STAR * len(word) for word in words)
    if len(words) > 1:
        return " ".join(_first(word, 1) for word in words)
    return _first(text, 2 if len(text) > 2 and text[:2] in _COMPOUND_SURNAMES else 1)


def _first(word: str, shown: int) -> str:
    return STAR * len(word) if len(word) <= shown else word[:shown] + STAR * (len(word) - shown)
