"""What each correction finds in one contrast, side by side: in a sentence, in numbers and in one picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import ndimage

from bids_group.config.corrections import UNCORRECTED, find_correction, in_order
from bids_group.output.files.clusters import spell_clusters
from bids_group.output.report.brains import Row, draw_rows
from bids_group.output.report.canvas import cuts_through, place
from bids_group.output.report.figures import Picture
from bids_group.output.report.folder import alpha_of, read_table, sidecar_of
from bids_group.output.report.inputs import ContrastInputs
from bids_group.output.report.tables import PageTable, page_table, show_number
from bids_group.records.sidecars import Sidecar
from bids_group.words import counted

UNCORRECTED_P = 0.001
"""Height of the uncorrected row of the picture, where no other was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one correction says of a contrast; ``short`` is for one glance."""

    sentence: str
    short: str
    is_found: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Clusters under one correction: their rows, those of the significant ones, and the sidecar's words."""

    correction: str
    table: pd.DataFrame
    significant: pd.DataFrame
    sidecar: Sidecar

    @property
    def title(self) -> str:
        """The correction in words; with an extent, also that this controls nothing."""
        more = "" if self.extent is None else f", {self.extent} (no error rate is controlled)"
        return find_correction(self.correction).title + more

    @property
    def extent(self) -> str | None:
        """The least size of a cluster, where one was asked for."""
        extent = self.sidecar.cluster_extent_mm3
        return None if extent is None else f"at least {extent:g} mm³"

    @property
    def n_significant(self) -> int:
        """Number of significant clusters."""
        return int(self.significant["cluster"].nunique())

    @property
    def counted(self) -> str:
        """Say how many clusters there are: of all-resolutions inference also those without discoveries."""
        if find_correction(self.correction).bounds_discoveries:
            return spell_clusters(int(self.table["cluster"].nunique()), self.n_significant)
        return spell_clusters(self.n_significant)


def find(desk: ContrastInputs, correction: str) -> Finding:
    """Read what a correction found."""
    path = desk.contrast.clusters[correction]
    table, sidecar = read_table(path), sidecar_of(path)
    significant = _significant(correction, table, alpha_of(sidecar))
    return Finding(correction=correction, table=table, significant=significant, sidecar=sidecar)


def _significant(correction: str, table: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """Return the rows of the significant clusters: where discoveries are bounded of those with one."""
    rule = find_correction(correction)
    if rule.bounds_discoveries:
        return table[pd.to_numeric(table["true_discovery_proportion"]) > 0]
    column = f"p_{rule.measure}" if rule.measure and rule.is_clusterwise else "p_corrected"
    if table.empty or column not in table or table[column].isna().all():
        return table
    best = pd.to_numeric(table[column]).groupby(table["cluster"]).transform("min")
    return table[best <= np.float32(alpha)]


def answer(desk: ContrastInputs, finding: Finding) -> Answer:
    """Say in a sentence what a correction found."""
    title, n_found = finding.title, finding.n_significant
    rule = find_correction(finding.correction)
    n_all = f" of {finding.table['cluster'].nunique()}" if rule.bounds_discoveries else ""
    short = f"{rule.title}: {n_found}{n_all}"
    head = f"{title[0].upper()}{title[1:]}, α = {alpha_of(finding.sidecar):g}: "
    if not n_found:
        return Answer(sentence=f"{head}nothing is significant.", short=short, is_found=False)
    peak = _describe_peak(desk, finding.significant)
    return Answer(sentence=f"{head}{finding.counted}; the strongest {peak}.", short=short, is_found=True)


def _describe_peak(desk: ContrastInputs, clusters: pd.DataFrame) -> str:
    test = desk.contrast.test
    sizes = pd.to_numeric(clusters[test]).abs().to_numpy()
    row = clusters.iloc[int(sizes.argmax())]
    where = ", ".join(show_number(row[axis], is_mm=True) for axis in ("x", "y", "z"))
    region = f", {row['region']}" if pd.notna(row.get("region")) else ""
    return f"at ({where}) mm{region}, {test} = {show_number(row[test])}"


def view_verdicts(desk: ContrastInputs, findings: Mapping[str, Finding]) -> PageTable | None:
    """List threshold, voxels and clusters of each correction; None where there is one."""
    if len(findings) < 2:
        return None
    table = pd.DataFrame([_verdict(finding) for finding in findings.values()])
    return page_table(table, name=f"{desk.stem}_corrections.tsv", caption="What each correction finds.")


def _verdict(finding: Finding) -> dict[str, str | None]:
    sidecar = finding.sidecar
    rule = find_correction(finding.correction)
    n_shuffles, n_elements = sidecar.number_of_permutations, sidecar.number_of_significant_elements
    return {
        "correction": finding.title,
        "α": str(alpha_of(sidecar)),
        "threshold": threshold_text(sidecar),
        "significant voxels": "n/a" if n_elements is None else str(n_elements),
        "clusters": finding.counted if rule.bounds_discoveries else str(finding.n_significant),
        "shuffles": None if n_shuffles is None else str(n_shuffles),
    }


def threshold_text(sidecar: Sidecar) -> str:
    """Spell a threshold with its statistic."""
    if sidecar.threshold is None:
        return "none passes"
    return f"{sidecar.threshold_statistic or ''} {sidecar.threshold:.4g}".strip()


# ------------------------------------------------------------------------------------- picture


def view_rows(desk: ContrastInputs, findings: Mapping[str, Finding]) -> Picture:
    """Draw the same slices under each correction, on one scale, with the numbers of voxels and clusters."""
    rows = list(_rows(desk, findings))
    at_mm = desk.focus_mm
    said = "; ".join(f"{' '.join(row.words[:-1])}: {row.words[-1]}" for row in rows)
    return desk.figures.add(
        draw_rows(desk.layers, rows, cuts_through(desk.stage.cuts[2], at_mm[2])),
        f"{desk.stem}_desc-corrections_statmap.png",
        alt=f"The same slices under each correction. {said}.",
        caption=(
            "What is left under each correction: the same slices and the same colours; what is not "
            "significant is not drawn. One of the slices goes through z = "
            f"{at_mm[2]:.0f} mm, {desk.focus_words}.".replace("-", "−")
        ),
    )


def _rows(desk: ContrastInputs, findings: Mapping[str, Finding]) -> Iterator[Row]:
    if "none" not in findings and desk.maps.p is not None:
        is_in = (desk.maps.p <= np.float32(UNCORRECTED_P)) & desk.stage.inside
        n_clusters = _count(is_in, desk.maps.statistic, findings)
        yield _row(desk, f"uncorrected, p ≤ {UNCORRECTED_P:g}", is_in, spell_clusters(n_clusters))
    for correction in in_order(findings):
        finding = findings[correction]
        level = f"p ≤ {alpha_of(finding.sidecar):g}" if correction == UNCORRECTED.label else None
        title = ", ".join(part for part in (find_correction(correction).title, level, finding.extent) if part)
        yield _row(desk, title, elements_of(desk, finding), finding.counted)


def _row(desk: ContrastInputs, title: str, is_in: npt.NDArray[np.bool_], clusters: str) -> Row:
    numbers = f"{counted(int(is_in.sum()), 'voxel')}, {clusters}"
    return Row(words=(title, numbers), significant=place(is_in.astype(np.float32), desk.stage.grid))


def elements_of(desk: ContrastInputs, finding: Finding) -> npt.NDArray[np.bool_]:
    """Significant elements: those of the p map, or of the significant clusters where there is none."""
    if finding.correction in desk.maps.significant:
        return desk.maps.significant[finding.correction]
    labels = desk.maps.labels[finding.correction]
    return np.isin(labels, pd.to_numeric(finding.significant["cluster"]).unique()) & (labels > 0)


def _count(
    is_in: npt.NDArray[np.bool_], statistic: npt.NDArray[np.float32], findings: Mapping[str, Finding]
) -> int:
    """Count clusters of one sign, with the neighbours of the corrections."""
    neighbours = next((one.sidecar.connectivity for one in findings.values()), None) or 6
    structure = ndimage.generate_binary_structure(3, {6: 1, 18: 2, 26: 3}[int(neighbours)])
    signs = (statistic > 0, statistic < 0)
    return sum(int(ndimage.label(is_in & is_sign, structure)[1]) for is_sign in signs)
