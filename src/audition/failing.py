"""An error in one line, whatever it is: what fails may fail again when it is asked why."""

from __future__ import annotations


def told(error: BaseException, limit: int = 300) -> str:
    """The error's kind and what it says, in at most `limit` characters; never raises."""
    kind = type(error).__name__
    try:
        says = str(error)
    except Exception:  # noqa: BLE001  it was made by whoever failed
        says = "it cannot say why"
    plain = says[:limit].encode("utf-8", "backslashreplace").decode()
    return f"{kind}: {plain}"[:limit]
