"""Which maps a demo has, and what they are called."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from bids_group.demo.kinds import Kind

TASK, CONTRAST, SPACE = "faces", "facesVsHouses", "MNI152NLin2009cAsym"
LABEL = "GM"
"""Of maps that are no contrasts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MapPlan:
    """One first-level map to be written."""

    subject: str
    session: str | None
    run: str | None
    is_reduced: bool
    suffix: str = "statmap"

    def stem(self, res: str) -> str:
        """File name up to the ``stat`` entity (all but the extension: no contrast), with its folders."""
        session = f"_ses-{self.session}" if self.session else ""
        run = f"_run-{self.run}" if self.run else ""
        is_contrast = self.suffix == "statmap"
        datatype = "func" if is_contrast else "anat"
        folder = f"sub-{self.subject}/" + (f"ses-{self.session}/" if self.session else "") + f"{datatype}/"
        who = f"sub-{self.subject}{session}"
        if not is_contrast:
            return f"{folder}{who}{run}_space-{SPACE}_res-{res}_label-{LABEL}_{self.suffix}"
        return f"{folder}{who}_task-{TASK}{run}_space-{SPACE}_res-{res}_contrast-{CONTRAST}"


def plan_maps(recipe: Kind, labels: Sequence[str]) -> Iterator[MapPlan]:
    """All maps in the order in which they are drawn; of an irregular person the last one is odd."""
    odd = {position: what for what, position in recipe.irregular}
    sessions, runs = recipe.sessions or (None,), recipe.runs or (None,)
    for position, subject in enumerate(labels):
        for session, run in product(sessions, runs):
            is_last = (session, run) == (sessions[-1], runs[-1])
            if is_last and odd.get(position) == "missing run":
                continue
            is_reduced = is_last and odd.get(position) == "reduced coverage"
            yield MapPlan(
                subject=subject, session=session, run=run, is_reduced=is_reduced, suffix=recipe.suffix
            )
