"""What a group analysis wrote, for notebooks: tables as DataFrames, maps as nibabel images."""

from __future__ import annotations

import html
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd

from bids_group.elements import expand, read_map
from bids_group.errors import DataError, MissingInputError, UsageError
from bids_group.labels import camel_label
from bids_group.output.files.names import list_maps
from bids_group.output.report import folder
from bids_group.words import suggest


@dataclass(frozen=True, kw_only=True)
class Results:
    """A finished OUTPUT_DIR; files are read when they are asked for.

    A contrast is named as it was asked for (``slopeDiff``; ``mean`` and ``test(group)`` by default), or,
    where several analyses have one of that name, by its label in file names (``facesVsHousesSlopeDiff``).
    """

    output_dir: Path

    @cached_property
    def _folder(self) -> folder.Folder:
        return folder.read_folder(self.output_dir)

    @property
    def contrasts(self) -> list[str]:
        """Names of the group contrasts; labels of file names where names are not unique."""
        found = [contrast for _, contrast in self._folder.contrasts]
        names = [contrast.name for contrast in found]
        return [one.name if names.count(one.name) == 1 else one.label for one in found]

    @property
    def design(self) -> pd.DataFrame:
        """Design matrix, rows by label; where the analyses have different ones see ``designs``."""
        first, *others = self.designs.values()
        if not all(first.equals(other) for other in others):
            raise UsageError(
                "The analyses of this run have different designs.",
                found=", ".join(self.designs),
                fix=f"Choose one: .designs[{next(iter(self.designs))!r}]",
            )
        return first

    @property
    def designs(self) -> dict[str, pd.DataFrame]:
        """Design matrix of each analysis, by its first-level contrast."""
        return {one.title: one.matrix.copy() for one in self._folder.analyses}

    @property
    def ledger(self) -> pd.DataFrame:
        """Every participant and map: used or not, and why."""
        path = self._need(self.output_dir / "ledger.tsv")
        return folder.read_numbers(path, text_columns=("participant_id", "session", "run", "task", "used"))

    @property
    def report(self) -> Path:
        """The page that shows all of it."""
        return self._need(self.output_dir / "report.html")

    def table(self, contrast: str) -> pd.DataFrame:
        """Sum up what each correction finds of a contrast, a row per correction.

        Columns ``correction``, ``alpha``, ``threshold`` (of the statistic ``threshold_statistic``),
        ``n_elements`` and ``n_clusters`` that are significant, ``smallest_p`` (NaN where there is no p map).
        """
        _, found = self._find(contrast)
        return pd.DataFrame([_sum_up(found, name) for name in found.corrections])

    def image(self, contrast: str, stat: str, correction: str | None = None) -> Any:
        """Read a map of a contrast, or of its analysis (``n``, ``icc``, ``tau2`` …); ``stat`` as in names.

        ``correction``: as on the command line (``fdr``, ``fwe-voxel`` …; also ``permutation``), for p; or the
        ``desc`` of another map (``subjectIntercept``, ``residual``, of the variances of a mixed model).
        A volume is nibabel's image, CIFTI too; hemispheres are a tuple of its images (left, right), numbers
        of regions a DataFrame.
        """
        desc = "" if correction is None else f"_desc-{camel_label(correction)}"
        stems = [one.stem for one in reversed(self._find(contrast))]  # of the contrast, or of its analysis
        paths = [self.output_dir / stem for stem in stems]
        name = f"stat-{stat}{desc}_statmap"
        found = (dict(list_maps(path.parent, path.name)).get(name) for path in paths)
        path = next(filter(None, found), Path(f"{paths[0]}_{name}.nii.gz"))
        if path.suffix == ".tsv":
            return folder.read_numbers(path, text_columns=("region",))
        images = tuple(nib.load(self._need(one)) for one in expand(path))
        return images if len(images) > 1 else images[0]

    def clusters(self, contrast: str, correction: str) -> pd.DataFrame:
        """Read the table of significant clusters and their peaks."""
        _, found = self._find(contrast)
        path = self.output_dir / f"{found.stem}_desc-{camel_label(correction)}_clusters.tsv"
        return folder.read_numbers(self._need(path), text_columns=("region", "cluster_regions"))

    def _find(self, contrast: str) -> tuple[folder.AnalysisFiles, folder.ContrastFiles]:
        every = self._folder.contrasts
        named = [pair for pair in every if pair[1].name == contrast]
        for pairs in (named, [pair for pair in every if pair[1].label == contrast]):
            if len(pairs) == 1:
                return pairs[0]
        labels = ", ".join(one.label for _, one in named)
        raise UsageError(
            f"There is {'more than one' if named else 'no'} contrast {contrast!r}.",
            found=labels or ", ".join(self.contrasts),
            fix="Name one by its label." if named else suggest(contrast, self.contrasts),
        )

    def _need(self, path: Path) -> Path:
        if path.is_file():
            return path
        near = sorted(path.parent.glob(f"{path.name.split('_stat-')[0].split('_desc-')[0]}_*{path.suffix}"))
        raise MissingInputError(
            f"This analysis has no {path.relative_to(self.output_dir)}.",
            found=", ".join(one.name for one in near) or None,
            fix="See that the statistic and the correction were asked for.",
        )

    def __repr__(self) -> str:
        return f"Results({str(self.output_dir)!r})"

    def _repr_html_(self) -> str:
        """Show the glance: who, which model, and what each correction finds of each contrast."""
        parts = []
        for one in self._folder.analyses:
            head = f"{one.title}: {len(one.people)} participants, {one.info.formula}"
            rows = [
                {"contrast": contrast.name, "in words": contrast.words} | _sum_up(contrast, name)
                for contrast in one.contrasts
                for name in contrast.corrections
            ]
            table = pd.DataFrame(rows).to_html(index=False, na_rep="", float_format="{:.4g}".format)
            parts += [f"<p><b>{html.escape(head)}</b></p>", table]
        return "\n".join([*parts, f"<p>{html.escape(str(self.output_dir / 'report.html'))}</p>"])


def _sum_up(contrast: folder.ContrastFiles, correction: str) -> dict[str, Any]:
    table = contrast.clusters.get(correction)
    if table is None:
        raise DataError(f"The correction {correction} of {contrast.label} has no table of clusters.")
    said = folder.sidecar_of(table)
    path = contrast.corrected.get(correction)
    return {
        "correction": said.correction,
        "alpha": said.alpha,
        "threshold": said.threshold,
        "threshold_statistic": said.threshold_statistic,
        "n_elements": said.number_of_significant_elements,
        "n_clusters": said.number_of_clusters,
        "smallest_p": np.nan if path is None else float(np.nanmin(read_map(path).data)),
    }
