"""What a part of the suite did, and the table of all parts."""
from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from faultsuite.processes import Ended


@dataclass
class Part:
    """One part: what it does, how each trial ended, and what should not have been.

    Attributes:
        outcomes: how many trials ended in which way.
        violations: a line for each that ended in no clean way.
    """

    name: str
    outcomes: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    def clean(self, outcome: str) -> None:
        """Count a trial that ended well."""
        self.outcomes[outcome] += 1

    def violation(self, trial: str, what: str) -> None:
        """Count a trial that did not."""
        self.outcomes["VIOLATION"] += 1
        self.violations.append(f"{self.name}: {trial}: {what}")

    def require(self, trial: str, conditions: dict[str, bool], outcome: str) -> None:
        """Count a trial that ended as `outcome`, if all the conditions hold."""
        corrupt = [name for name, holds in conditions.items() if not holds]
        if corrupt:
            self.violation(trial, "not so: " + ", ".join(corrupt))
        else:
            self.clean(outcome)


def why_not_clean(ended: Ended) -> str | None:
    """What is wrong with how a process ended that should have gone well (0), made some (1), or told a mistake (2)."""
    if ended.status is None:
        return "it hung"
    if "Traceback" in ended.said:
        return "a traceback: " + ended.said.strip().splitlines()[-1]
    if ended.status not in (0, 1, 2):
        return f"exit status {ended.status}"
    last = ended.said.strip().rpartition("\n")[2]
    if ended.status == 2 and not last.startswith("liif_basicsr: error: "):
        return f"exit status 2, and last was said: {last}"
    return None


def table(parts: Sequence[Part]) -> str:
    """The parts as Markdown."""
    lines = ["| what was done | times | how it ended | violations |", "|---|---|---|---|"]
    for part in parts:
        ways = ", ".join(f"{count} {outcome}" for outcome, count in part.outcomes.most_common())
        lines.append(f"| {part.name} | {part.outcomes.total()} | {ways} | {len(part.violations)} |")
    return "\n".join(lines)
