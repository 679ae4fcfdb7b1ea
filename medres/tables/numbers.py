"""What numbers and dates of a typed file are as texts."""

import datetime
from typing import Any

LARGEST_WHOLE = 2**53
"""Above it, not every whole number is a floating-point number."""


def number_text(number: Any) -> str:
    """Return the shortest text of a floating-point number, without the `.0` of a whole one.

    >>> number_text(3.0), number_text(2.5), number_text(1e20)
    ('3', '2.5', '1e+20')
    """
    if float(number).is_integer() and abs(float(number)) <= LARGEST_WHOLE:
        return str(int(number))
    return str(number)


def date_text(value: Any) -> str:
    """Return a date or time as ISO 8601 writes it; midnight is left out.

    >>> date_text(datetime.datetime(2026, 1, 3)), date_text(datetime.time(8, 30))
    ('2026-01-03', '08:30:00')
    """
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return value.date().isoformat() if value.tzinfo is None else value.isoformat()
    return str(value) if isinstance(value, datetime.timedelta) else str(value.isoformat())
