"""Times and sizes as a person says them."""


def duration(seconds: float) -> str:
    """Return a time in the largest unit of which it has at least one.

    >>> [duration(each) for each in (62_244.0, 270.0, 4.21, 0.05, 2e-6, 0.0)]
    ['17.3 h', '4.5 min', '4.2 s', '50 ms', '<1 ms', '0 s']
    """
    for unit, size_s in (("h", 3600), ("min", 60), ("s", 1)):
        if seconds >= size_s:
            return f"{seconds / size_s:,.1f} {unit}"
    if seconds >= 1e-3:
        return f"{seconds * 1e3:.0f} ms"
    return "<1 ms" if seconds > 0 else "0 s"


def size(n_bytes: float) -> str:
    """Return a number of bytes in the largest unit of which it has at least one.

    >>> size(0), size(1_400), size(104_000_000_000)
    ('0 B', '1.4 kB', '104.0 GB')
    """
    value, units = float(max(n_bytes, 0)), ["B", "kB", "MB", "GB", "TB", "PB"]
    while value >= 1000 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.0f} B" if units[0] == "B" else f"{value:.1f} {units[0]}"
