"""The page says what the files say, and nothing else."""

from __future__ import annotations

import base64
import json
import re
import shlex
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from bids_group.errors import DataError, MissingInputError
from bids_group.executor import Threads
from bids_group.output.report import brains, build_report, write_citations
from bids_group.output.report.canvas import Box

HOSTILE = """<script>alert(1)</script>&"'"""


class Page(HTMLParser):
    """Tables by name, texts, and every address on a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.shown: dict[str, list[list[str]]] = {}
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.headings: list[int] = []
        self.images: list[dict[str, str | None]] = []
        self.text = ""
        self._table, self._is_cell = "", False
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        self.tags.append(tag)
        self.addresses += [value for key, value in attributes if key in ("src", "href") and value]
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag == "img":
            self.images.append(values)
        if tag == "table":
            self._table = str(values["data-name"])
            self.tables[self._table], self.shown[self._table] = [], []
        if tag == "tr" and self._table:
            self.tables[self._table].append([])
            self.shown[self._table].append([])
        if tag == "td" and "data-value" in values:
            self._is_cell = True
            self.tables[self._table][-1].append(str(values["data-value"]))

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self._table = ""
        if tag == "td":
            self._is_cell = False

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._is_cell:
            self.shown[self._table][-1].append(data)

    def rows(self, name: str) -> list[list[str]]:
        return [row for row in self.tables[name] if row]


@pytest.fixture(scope="module")
def page(example: Path) -> Page:
    return Page(example / "report.html")


def test_every_cell_of_every_cluster_table_is_that_of_its_file(example: Path, page: Page) -> None:
    tables = sorted((example / "group").glob("*_clusters.tsv"))
    assert len(tables) == 8
    n_compared = 0
    for path in tables:
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
        if len(table):
            assert page.rows(path.name) == table.to_numpy().tolist()
            n_compared += table.size
    assert n_compared > 100


def test_the_ledger_the_design_and_the_quality_are_those_of_their_files(example: Path, page: Page) -> None:
    stem = "task-faces_space-MNI152NLin2009cAsym_contrast-facesVsHouses"
    for path in (f"group/{stem}_design.tsv", f"group/{stem}_desc-quality_table.tsv", "ledger.tsv"):
        table = pd.read_csv(example / path, sep="\t", dtype=str, keep_default_na=False)
        if "is_outlier" in table:  # marked people first
            table = table.sort_values("is_outlier", ascending=False, kind="stable")
        assert page.rows(Path(path).name) == table.to_numpy().tolist()


def test_shown_numbers_are_the_exact_ones_rounded(example: Path, page: Page) -> None:
    n_numbers = 0
    for name, rows in page.tables.items():
        for exact, shown in zip(rows, page.shown[name], strict=True):
            for raw, text in zip(exact, shown, strict=True):
                if re.fullmatch(r"-?(0|[1-9]\d*)(\.\d+)?(e-?\d+)?", raw):
                    value = float(text.replace("−", "-").replace("\u202f", ""))
                    assert value == pytest.approx(float(raw), rel=5.1e-3, abs=1e-300)
                    n_numbers += 1
    assert n_numbers > 500


def test_a_table_can_be_downloaded_as_it_is_in_the_file(example: Path, page: Page) -> None:
    path = next((example / "group").glob("*SlopeDiff_desc-fdr_clusters.tsv"))
    head = "data:text/tab-separated-values;base64,"
    downloads = [base64.b64decode(a.removeprefix(head)) for a in page.addresses if a.startswith(head)]
    assert path.read_bytes() in downloads


def test_the_answer_counts_the_clusters_and_names_the_strongest_peak(example: Path, page: Page) -> None:
    path = next((example / "group").glob("*SlopeDiff_desc-fweVoxel_clusters.tsv"))
    table = pd.read_csv(path, sep="\t")
    strongest = table.loc[table["t"].abs().idxmax()]
    where = ", ".join(f"{strongest[axis]:.0f}".replace("-", "−") for axis in ("x", "y", "z"))
    n_clusters = table["cluster"].nunique()
    peak = f"({where}) mm, t = {strongest['t']:.4g}"
    assert f"{n_clusters} cluster{'s' * (n_clusters > 1)}; the strongest at {peak}." in page.text


def test_the_strongest_voxel_of_the_map_is_the_one_of_the_viewer(example: Path, page: Page) -> None:
    for path in sorted((example / "group").glob("*_stat-t_statmap.nii.gz")):
        image = nib.load(path)
        data = image.get_fdata()
        voxel = np.unravel_index(np.abs(data).argmax(), data.shape)
        name = path.name.removesuffix("_stat-t_statmap.nii.gz")
        text = re.search(rf'id="volume-contrast-{name}">(.*?)</script>', page.source)
        assert text is not None
        assert json.loads(text[1])["strongest"] == pytest.approx(
            nib.affines.apply_affine(image.affine, voxel)
        )


def test_the_number_of_outlined_voxels_is_that_of_the_map(example: Path, page: Page) -> None:
    path = next((example / "group").glob("*SlopeDiff_stat-p_desc-fweVoxel_statmap.nii.gz"))
    n_significant = int((nib.load(path).get_fdata(dtype=np.float32) <= np.float32(0.05)).sum())
    assert n_significant > 0
    assert f"{n_significant} voxels outlined (family-wise error, voxel (permutation))" in page.text


def test_the_leave_one_out_range_is_that_of_the_peaks_table(example: Path, page: Page) -> None:
    path = next((example / "group").glob("*SlopeDiff_desc-peaks_data.tsv"))
    without = pd.read_csv(path, sep="\t").set_index("label")["statistic_without_row"]
    name = next(name for name in page.tables if name.endswith("SlopeDiff_leave_one_out.tsv"))
    (row,) = page.rows(name)
    assert [float(row[1]), row[2]] == [pytest.approx(without.abs().min()), without.abs().idxmin()]
    assert [float(row[3]), row[4]] == [pytest.approx(without.abs().max()), without.abs().idxmax()]


def test_the_flow_counts_everybody_once(example: Path, page: Page) -> None:
    flow = next(str(image["alt"]) for image in page.images if str(image["alt"]).startswith("From "))
    assert flow == "From 17 people to 16 in the analysis (16 rows); 1 out: no first-level map."
    (picture,) = (example / "group" / "figures").glob("*_desc-flow_participants.svg")
    drawn = picture.read_text()
    assert "pooled from 31 first-level maps" in drawn
    assert "Out: 1 map: second run is all zero" in drawn


def test_warnings_stand_in_the_first_section(page: Page) -> None:
    glance = page.source[page.source.index('<section id="glance">') : page.source.index('<section id="who">')]
    assert '<li class="warning"><strong>Warning:</strong> Mind the n_cigs.' in glance


def test_the_page_needs_nothing_but_itself(page: Page) -> None:
    assert [a for a in page.addresses if not a.startswith(("#", "data:"))] == []
    anchors = {a[1:] for a in page.addresses if a.startswith("#")}
    assert anchors == {a for a in anchors if f'id="{a}"' in page.source}
    assert "link" in page.tags  # the empty icon, so that browsers do not ask for one
    assert "default-src 'none'" in page.source


def test_every_picture_has_an_alternative_text_and_headings_are_in_order(page: Page) -> None:
    seen = [image for image in page.images if image["alt"]]
    assert len(page.images) - len(seen) == 2  # the thumbnails, beside the same link as text
    assert len(seen) >= 14
    assert page.headings[0] == 1
    assert all(after - before <= 1 for before, after in zip(page.headings, page.headings[1:], strict=False))


def test_figures_are_files_of_the_outputs(example: Path, page: Page) -> None:
    embedded = {a for a in page.addresses if a.startswith("data:image")}
    files = [*(example / "group" / "figures").iterdir()]
    for path in files:
        spelled = base64.b64encode(path.read_bytes()).decode()
        assert any(spelled in a for a in embedded) or path.read_text() in page.source, path.name
    assert {path.suffix for path in files} == {".png", ".svg"}


def test_the_same_outputs_give_the_same_bytes(example: Path, tmp_path: Path) -> None:
    copy = tmp_path / "another place"
    shutil.copytree(example, copy, ignore=shutil.ignore_patterns("figures", "report.html"))
    command = copy / "code" / "command.json"
    info = json.loads(command.read_text())
    words = f"bids-group /data/bids '{copy}' group --nprocs=1 -w /scratch --formula '~ group * n_cigs'"
    info["Command"] = shlex.split(words)
    info |= {"RunTimeSeconds": 99.9, "PeakMemoryMb": 1.0}
    command.write_text(json.dumps(info))
    build_report(copy, executor=Threads(n_procs=3))
    assert (copy / "report.html").read_bytes() == (example / "report.html").read_bytes()
    for path in (example / "group" / "figures").iterdir():
        assert (copy / "group" / "figures" / path.name).read_bytes() == path.read_bytes()


def test_the_command_is_shown_without_folders_and_execution_options(page: Page) -> None:
    assert "bids-group BIDS_DIR OUTPUT_DIR group --formula '~ group * n_cigs'" in page.text
    assert "--nprocs" not in page.text
    assert "/data/" not in page.source


def test_the_head_says_whose_data_how_many_people_and_which_programs(example: Path, page: Page) -> None:
    head = page.source[page.source.index("<header>") : page.source.index("</header>")]
    facts = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", head))
    assert facts == {
        "Dataset": "Faces &amp; houses",
        "Participants": "16 of 17",
        "First level": "SPM12 7771, fMRIPrep 23.1",
        "Group level": "bids_group 0.1.0; ordinary least squares",
    }


def test_the_card_says_where_which_way_how_large_and_how_sure(example: Path, page: Page) -> None:
    table = pd.read_csv(next((example / "group").glob("*SlopeDiff_desc-fweVoxel_clusters.tsv")), sep="\t")
    peak = table.loc[table["t"].abs().idxmax()]
    (_, card) = re.findall(r'<p class="strongest-peak">([^<]*)</p>', page.source)
    assert card.startswith("Strongest at (")
    assert f" mm; above zero; effect {peak['effect']:.4g}; " in card
    assert f"t = {peak['t']:.4g}; corrected p = {peak['p_corrected']:.2g}." in card


def test_points_tell_their_names_and_the_caption_that_they_are_adjusted(example: Path, page: Page) -> None:
    drawn = next((example / "group" / "figures").glob("*SlopeDiff_desc-peaks_statmap.svg")).read_text()
    assert re.findall(r"<title>(sub-\d+): ", drawn) != []
    assert {f"sub-{k:02d}" for k in range(1, 17)} == set(re.findall(r"<title>(sub-\d+): ", drawn))
    assert ">sub-04</text>" in drawn  # who is marked in the table of quality is named


def test_losses_are_coloured_where_some_rows_are_missing(
    write_outputs: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_outputs(tmp_path / "out", n_people=10, corrections=("fdr",), step_mm=16.0)
    path = next((root / "group").glob("*_stat-n_statmap.nii.gz"))
    image = nib.load(path)
    counts = image.get_fdata(dtype=np.float32)
    inside = np.argwhere(counts > 0)
    counts[tuple(inside[5])], counts[tuple(inside[9])], counts[tuple(inside[11])] = 9, 3, 0
    nib.Nifti1Image(counts, image.affine).to_filename(path)
    seen: list[tuple[object, ...]] = []
    monkeypatch.setattr(brains, "draw_amounts", lambda *given: seen.append(given) or _Blank())
    page = build_report(root).read_text()
    amounts, limit = seen[0][0], seen[0][4]
    assert isinstance(amounts, Box)
    assert sorted(amounts.data[amounts.data > 0].tolist()) == [1, 7]
    assert limit == 7
    assert "missing at each voxel that others observe (2 voxels, 0 of them outside the analysed" in page


class _Blank:
    width = 10

    def render(self) -> bytes:
        return b""


def test_hostile_names_are_text_everywhere_and_other_spaces_get_no_template(
    write_outputs: Callable[..., Path], tmp_path: Path
) -> None:
    root = write_outputs(
        tmp_path / "out", first_level=HOSTILE, group=HOSTILE, covariate=f"{HOSTILE} $x^2$", contrast=HOSTILE,
        levels=(f"a{HOSTILE}", f"b{HOSTILE}"), reason=HOSTILE, n_people=10, corrections=("fdr",), space="T1w",
    )  # fmt: skip
    page = Page(build_report(root))
    assert "<script>alert" not in page.source
    assert page.tags.count("script") == 4  # palette, two volumes, the program
    assert page.text.count(HOSTILE) > 20
    assert f"b{HOSTILE}" in page.text
    assert all("<script" not in path.read_text() for path in (root / "group" / "figures").glob("*.svg"))
    assert 'id="anatomy"' not in page.source  # T1w is not an MNI space: no template behind these maps
    assert "No anatomy is drawn" in page.text
    assert "MNI152" not in page.text


@pytest.mark.usefixtures("placeholders")
def test_what_is_not_significant_is_said_not_to_be(
    write_outputs: Callable[..., Path], tmp_path: Path
) -> None:
    root = write_outputs(tmp_path / "out", n_people=10, corrections=("bonferroni",))
    for path in (root / "group").glob("*_desc-bonferroni_*"):
        if path.name.endswith("clusters.tsv"):
            path.write_text(path.read_text().splitlines()[0] + "\n")
        if path.name.endswith("statmap.nii.gz"):
            image = nib.load(path)
            nib.Nifti1Image(np.ones(image.shape, dtype=np.float32), image.affine).to_filename(path)
    page = Page(build_report(root))
    assert page.text.count("Bonferroni, α = 0.05: nothing is significant (smallest corrected p: 1).") == 4
    assert "nothing outlined: nothing is significant" in page.text
    assert "Glass brain" not in page.text


def test_citations_are_written_beside_the_log(example: Path) -> None:
    markdown, bibtex = write_citations(example)
    assert markdown.read_text().startswith("# Methods\n\nThe group analysis was done with bids_group 0.1.0")
    assert "@article{freedman1983," in bibtex.read_text()


def test_an_output_without_a_group_analysis_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="no group analysis to report"):
        build_report(tmp_path)


def test_a_missing_mask_is_named(write_outputs: Callable[..., Path], tmp_path: Path) -> None:
    root = write_outputs(tmp_path / "out", n_people=10, corrections=("fdr",))
    next((root / "group").glob("*_mask.nii.gz")).unlink()
    with pytest.raises(DataError, match="has no analysis mask"):
        build_report(root)


@pytest.mark.usefixtures("placeholders")
def test_two_analyses_share_one_page(write_outputs: Callable[..., Path], tmp_path: Path) -> None:
    root = write_outputs(tmp_path / "out", n_people=10, corrections=("fdr",))
    other = write_outputs(
        tmp_path / "other", n_people=10, corrections=("fdr",), first_level="wordsVsRest", seed=3
    )
    for path in (other / "group").iterdir():
        if path.is_file():
            shutil.copy(path, root / "group" / path.name)
    page = Page(build_report(root))
    assert page.text.count("in 10 participants, model") == 2
    cards = re.findall(r'<p class="card-title"><a href="#([^"]+)">', page.source)
    assert len(cards) == 4
    assert all(f'<article id="{card}"' in page.source for card in cards)
    assert "facesVsHouses" in cards[0]
    assert "wordsVsRest" in cards[3]


@pytest.mark.usefixtures("placeholders")
def test_an_f_contrast_has_an_unsigned_scale_of_its_own(example: Path, tmp_path: Path) -> None:
    root = tmp_path / "out"
    shutil.copytree(
        example, root, ignore=shutil.ignore_patterns("figures", "sub-*", "*desc-fwe*", "*desc-none*")
    )
    for path in sorted((root / "group").glob("*SlopeDiff_stat-t_statmap.*")):
        if path.suffix == ".gz":
            image = nib.load(path)
            nib.Nifti1Image(image.get_fdata(dtype=np.float32) ** 2, image.affine).to_filename(path)
        path.rename(path.with_name(path.name.replace("stat-t", "stat-F")))
    for path in (root / "group").glob("*SlopeDiff_desc-*_clusters.tsv"):
        table = pd.read_csv(path, sep="\t").rename(columns={"t": "F"})
        table.assign(F=table["F"] ** 2).to_csv(path, sep="\t", index=False)
    page = Page(build_report(root))
    volumes = [json.loads(text) for text in re.findall(r'id="volume[^>]*>(.*?)</script>', page.source)]
    assert [(one["name"], one["is_signed"]) for one in volumes] == [("t", True), ("F", False)]
    assert 12 < volumes[1]["limit"] <= 60
    assert "The whole F map;" in page.text
    assert re.search(r"strongest at \([^)]*\) mm, F = \d", page.text)


def test_a_report_at_2_mm_is_small(write_outputs: Callable[..., Path], tmp_path: Path) -> None:
    """The bar is 15 MB for three contrasts; here are two."""
    root = write_outputs(tmp_path / "out", n_people=6, step_mm=2.0, corrections=("fweVoxel", "bonferroni"))
    page = build_report(root)
    assert page.stat().st_size < 10e6
