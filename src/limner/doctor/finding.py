"""One line of the doctor's report."""

from __future__ import annotations

from typing import NamedTuple

OK, NOTE, FAULT = "ok", "note", "FAULT"


class Finding(NamedTuple):
    """`state`: "ok", "note" (something is left out, all works) or "FAULT" (something will fail)."""

    state: str
    name: str
    text: str

    def __str__(self) -> str:
        return f"{self.state:<5}  {self.name:<18} {self.text}"
