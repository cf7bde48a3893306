"""Numbers as tables show them: a dash where there is none."""


def number(value: float | None, form: str = ".4f") -> str:
    """A number in the given format."""
    return "-" if value is None else format(value, form)


def with_interval(value: float | None, low: float | None, high: float | None, form: str = ".4f") -> str:
    """A number and its interval, ``0.7970 [0.7897, 0.8042]``; without one where it has none."""
    if value is None:
        return "-"
    span = "" if low is None or high is None else f" [{low:{form}}, {high:{form}}]"
    return f"{value:{form}}{span}"
