"""Rules of ID numbers (GB 11643-1999) and mobile numbers. Pure. Findings never quote the value."""

import datetime as dt
import re
import unicodedata

_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECK_CHARACTERS = "10X98765432"
_ID_NUMBER = re.compile(r"[1-9][0-9]{16}[0-9X]")
_ID_INSIDE = re.compile(r"(?<![0-9])(?=([1-9][0-9]{16}[0-9X]))")
_PHONE_INSIDE = re.compile(r"(?<![0-9A-F])(?:86)?1[3-9][0-9]{9}(?![0-9A-F])")
_PHONE = re.compile(r"(?:\+?86)?(1[3-9][0-9]{9})")


def normalise(text: str) -> str:
    """Return `text` in the one form that is hashed and sealed: half-width, upper case, no spaces."""
    return "".join(unicodedata.normalize("NFKC", text).upper().split())


def compute_check_character(first_17: str) -> str:
    """Return the 18th character of an ID number whose first 17 digits are given.

    >>> compute_check_character("11010519491231002")
    'X'
    """
    weighted = sum(weight * int(digit) for weight, digit in zip(_WEIGHTS, first_17, strict=True))
    return _CHECK_CHARACTERS[weighted % 11]


def find_id_number_fault(id_number: str) -> str | None:
    """Return what is wrong with a normalised ID number, without quoting it, or None."""
    if _ID_NUMBER.fullmatch(id_number) is None:
        return "a text that is not 17 digits and a check character"
    if birth_date(id_number) is None:
        return "an ID number whose birth date is no date"
    if compute_check_character(id_number[:17]) != id_number[17]:
        return "an ID number whose check character does not match"
    return None


def birth_date(id_number: str) -> dt.date | None:
    """Return the birth date inside a normalised ID number, or None when it is no date."""
    try:
        return dt.date(int(id_number[6:10]), int(id_number[10:12]), int(id_number[12:14]))
    except ValueError:
        return None


def province(id_number: str) -> str:
    """Return the province in which a normalised ID number was first given out (GB/T 2260, two digits).

    >>> province("11010519491231002X")
    '11'
    """
    return id_number[:2]


def names_a_person(text: str) -> bool:
    """Say whether an identifier chosen by a client holds an ID number or a mainland mobile number.

    An ID number counts by its own date and check character, wherever it stands among other characters; a
    mobile number where no hexadecimal digit stands next to it, so that a random id is not taken for one.

    >>> names_a_person("order-11010519491231002X"), names_a_person("tel_13912345678")
    (True, True)
    >>> names_a_person("7f3e13912345678a9b0c1d2e3f4a5b6c"), names_a_person("order-20261122-000001")
    (False, False)
    """
    upper = text.upper()
    ids = (match.group(1) for match in _ID_INSIDE.finditer(upper))
    return any(find_id_number_fault(one) is None for one in ids) or _PHONE_INSIDE.search(upper) is not None


def read_mobile(phone: str) -> str | None:
    """Return the 11 digits of a normalised mainland mobile number, or None."""
    match = _PHONE.fullmatch(phone.replace("-", ""))
    return match.group(1) if match else None
