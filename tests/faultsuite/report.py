"""The outcomes of a part of the suite, and the table of all parts."""
from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from faultsuite.processes import Ended


@dataclass
class Part:
    """One part of the suite: its fault, and the outcomes of its trials.

    Attributes:
        outcomes: number of trials by outcome.
        violations: a line for each trial with a wrong outcome.
    """

    name: str
    outcomes: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    def clean(self, outcome: str) -> None:
        """Count a trial with a correct outcome."""
        self.outcomes[outcome] += 1

    def violation(self, trial: str, what: str) -> None:
        """Count a trial with a wrong outcome."""
        self.outcomes["VIOLATION"] += 1
        self.violations.append(f"{self.name}: {trial}: {what}")

    def require(self, trial: str, conditions: dict[str, bool], outcome: str) -> None:
        """Count a trial as `outcome` if all conditions hold, else as a violation."""
        failed = [name for name, holds in conditions.items() if not holds]
        if failed:
            self.violation(trial, "does not hold: " + ", ".join(failed))
        else:
            self.clean(outcome)


def why_not_clean(ended: Ended) -> str | None:
    """Return the problem with an exit, unless it is success (0), partial success (1) or an error in one line (2)."""
    if ended.status is None:
        return "it hung"
    if "Traceback" in ended.said:
        return "a traceback: " + ended.said.strip().splitlines()[-1]
    if ended.status not in (0, 1, 2):
        return f"exit status {ended.status}"
    last = ended.said.strip().rpartition("\n")[2]
    if ended.status == 2 and not last.startswith("liif_basicsr: error: "):
        return f"exit status 2, and the last line is: {last}"
    return None


def table(parts: Sequence[Part]) -> str:
    """Return the parts as a Markdown table."""
    lines = ["| fault | times | outcome | violations |", "|---|---|---|---|"]
    for part in parts:
        ways = ", ".join(f"{count} {outcome}" for outcome, count in part.outcomes.most_common())
        lines.append(f"| {part.name} | {part.outcomes.total()} | {ways} | {len(part.violations)} |")
    return "\n".join(lines)
