"""The results: a contrast after the other, each with its pictures, tables and files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bids_group.elements import expand, read_map
from bids_group.output.files.names import list_maps
from bids_group.output.files.sidecars import SHARED_STATS
from bids_group.output.report import brains, charts
from bids_group.output.report.canvas import pack_flags, pack_statistic
from bids_group.output.report.corrections import answer, clusters, side_by_side
from bids_group.output.report.folder import entities_of, read_numbers, read_table
from bids_group.output.report.influence import influence, sensitivity, sum_up_sensitivity
from bids_group.output.report.inputs import AnalysisInputs, Brain, ContrastInputs, Slices
from bids_group.output.report.methods import OWN_TITLE
from bids_group.output.report.regions import has_intervals, regions
from bids_group.output.report.sections import Article, Details, Part, Picture, Report, Section, Shown
from bids_group.output.report.surfaces import VIEWS, draw_surfaces, pack_map, strongest_half
from bids_group.output.report.tables import page_table

NO_ATLAS = (
    "Clusters and peaks are not named by region, because no atlas was given, and the one that comes with "
    "this program is for adult MNI spaces: run again with --atlas FILE (a labelled image with its table of "
    "names)."
)
REGIONS = (
    "Regions are those of the {}. {}A name is a guide: it says where a peak lies, not what is active there."
)
OF_OWN_ATLAS = "It has no cerebellum and no white matter; places up to 4 mm from a region have its name. "
ONE_SIDED = "The test is one-sided: negative values are no evidence, and stay faint at any size. "
NO_ANATOMY = "No anatomy is drawn: the name of the maps does not say that they are in an adult MNI space."
NO_PICTURE = "No picture is drawn of {what}: the tables below say what was found; the files hold {where}."
NO_SURFACE = "The cortex is drawn where there are surfaces: give midthickness surfaces with --surfaces. "
WHERE = {
    "regions": "the numbers of every region",
    "vertices": "the maps, which Connectome Workbench and nilearn.plotting draw on a surface",
    "grayordinates": "the maps, which Connectome Workbench draws",
}
SIDES = {"L": "left", "R": "right"}
TEMPLATE = "Behind it: the MNI152 template."
_BESIDE_T, _BESIDE_F = {"effect": "effect", "g": "g"}, {"partialR2": "partial R²"}
"""Maps that the viewer reads beside t and beside F, and what it calls them."""
_NAMES = {
    "icc": "intraclass correlation (rows of one {group})",
    "I2": "I² (%)",
    "tau2": "τ²: variance between people",
    "residual": "variance of rows of one {group}",
}
_SHARES = {
    "icc": (1.0, "ICC", "share of the variance that rows of one {group} have in common"),
    "I2": (100.0, "I² (%)", "share of the variance that is between people, in percent"),
}
"""Maps that are drawn: the end of their scale, its name, and what they are."""
_GROUPING = re.compile(r"[|/]\s*`?([^|/`]+?)`?\s*\)")
"""Whose rows a random term takes for alike; the inner ones of groups within groups."""


def results(report: Report) -> Section:
    """Show every contrast; with an atlas, offer each row's mean effect per region before those of a model."""
    parts: list[Shown] = []
    for one in report.analyses:
        file = f"{one.files.stem}_desc-regions_effects.tsv"
        path = one.folder.root / file
        if path.is_file():
            table = page_table(read_table(path), name=path.name, caption="", file=file)
            parts.append(Part("regions", table))
        parts += _variances(one)
        parts += [article for article in report.articles if article.of == one.stem]
    atlas = next(filter(None, (one.facts["atlas"] for one in report.analyses)), None)
    told = REGIONS.format(atlas, OF_OWN_ATLAS if atlas == OWN_TITLE else "") if atlas else NO_ATLAS
    has_points = atlas or any(one.brain is not None for one in report.analyses)
    return Section("results", "Results", [*([Part("quiet", told)] if has_points else []), *parts])


def _variances(inputs: AnalysisInputs) -> Iterator[Shown]:
    """Draw what share of the variance is between people, and list the estimator's variances over voxels."""
    found = _find_variances(inputs)
    if not found:
        return
    yield Part("subheading", "How much people differ")
    grouping, rows = _GROUPING.search(inputs.facts["random_terms"] or ""), []
    for name, path in found.items():
        stat, _, level = name.partition("_desc-")
        group = level or (grouping[1] if grouping else "group")
        volume = read_map(path).data
        values = volume[inputs.inside].astype(np.float64)
        quantiles = dict(zip(("5 %", "median", "95 %"), np.quantile(values, (0.05, 0.5, 0.95)), strict=True))
        zero = {f"{inputs.elements_word} where it is 0": f"{100 * (values == 0).mean():.1f} %"}
        numbers = {key: str(one) for key, one in quantiles.items()}
        what = _NAMES.get(stat, f"variance of {name}").format(group=group)
        rows.append({"what": what, **numbers, **zero})
        if stat in _SHARES and (brain := inputs.brain) is not None:
            limit, short, words = _SHARES[stat]
            amounts, cuts = brain.layout.place(np.where(inputs.inside, volume, 0)), brain.cuts[2]
            yield inputs.picture(
                brains.draw_amounts(amounts, brain.mask, brain.anatomy, cuts, limit, short),
                f"stat-{name}_statmap.png",
                alt=f"Slices of the map of {short}; its median is {quantiles['median']:.2g}.",
                caption=f"{short}: the {words.format(group=group)}. Where it is 0 the anatomy is seen.",
            )
    yield from inputs.table(
        rows, "variances", f"Variances that the estimator found, over the analysed {inputs.elements_word}."
    )


def _find_variances(inputs: AnalysisInputs) -> Mapping[str, Path]:
    """Find the estimator's maps that belong to no contrast, shares first, by ``stat`` or ``desc``."""
    stem = inputs.folder.root / inputs.files.stem
    there = dict(list_maps(stem.parent, stem.name))
    shares = {name: f"stat-{name}_statmap" for name in SHARED_STATS}
    by_level = [name for name in there if re.fullmatch(r"stat-icc_desc-[A-Za-z0-9]+_statmap", name)]
    shares |= {f"icc_desc-{entities_of(name)['desc']}": name for name in by_level}
    found = {name: there[ending] for name, ending in shares.items() if ending in there}
    parts = {name: path for name, path in there.items() if name.startswith("stat-variance_desc-")}
    named = {entities_of(name)["desc"]: path for name, path in parts.items() if name.endswith("_statmap")}
    return found | {name: named[name] for name in sorted(named, key=lambda one: one == "residual")}


def draw_contrast(inputs: ContrastInputs, *, is_one_of_many: bool) -> Article:
    """Draw the figures of a contrast and prepare its tables."""
    contrast = inputs.files
    is_unnamed = contrast.name == contrast.expression  # a default test, which is called as it is written
    return Article(
        id=f"contrast-{inputs.stem}",
        of=inputs.analysis.stem,
        title=inputs.analysis.files.title if is_one_of_many else "",
        name=contrast.words if is_unnamed else contrast.name,
        words=contrast.name if is_unnamed else contrast.words,
        answers=[answer(inputs, correction) for correction in inputs.found],
        without=sum_up_sensitivity(inputs),
        thumbnail=_thumbnail(inputs),
        parts=[part for make in CONTRAST_PARTS for part in make(inputs)],
        volume=None if inputs.slices is None else _volume(inputs, inputs.slices),
        surface=pack_map(inputs.hemispheres, inputs.look, inputs.outlined) if inputs.hemispheres else None,
    )


def _thumbnail(inputs: ContrastInputs) -> Picture | None:
    if inputs.hemispheres:
        one = strongest_half(inputs.hemispheres, inputs.look)
        return inputs.picture(
            draw_surfaces([one], inputs.look, VIEWS[:2], is_small=True),
            "desc-views_statmap.png",
            alt=f"{SIDES[one.hemi].capitalize()} hemisphere, with the strongest {inputs.files.test}.",
        )
    if (slices := inputs.slices or inputs.subcortex) is None:
        return None
    where = ", ".join(f"{value:.0f}" for value in slices.focus_mm)
    return inputs.picture(
        brains.draw_views(slices.layers, slices.focus_mm),
        "desc-views_statmap.png",
        alt=f"Three slices through {where} mm, {slices.focus_words}.",
    )


def _outlined(inputs: ContrastInputs, n_significant: int, what: str) -> str:
    if not n_significant:
        return "nothing outlined: nothing is significant"
    return f"{n_significant} {what} outlined ({inputs.outlined})"


def _hemispheres(inputs: ContrastInputs) -> Iterator[Shown]:
    """Show the cortex from four sides, and the viewer of it."""
    cortex, shown, test, look = inputs.analysis.cortex, inputs.hemispheres, inputs.files.test, inputs.look
    if cortex is None:
        return
    outlined = _outlined(inputs, sum(int(one.is_significant.sum()) for one in shown), "vertices")
    sides = " and ".join(SIDES[one.hemi] for one in shown)
    yield inputs.picture(
        draw_surfaces(shown, look),
        "desc-surfaces_statmap.png",
        alt=f"The {test} map of {inputs.files.name} on the {sides} hemisphere from four sides; {outlined}.",
        caption=(
            f"The whole {test} map; {outlined}. {_say_opacity(inputs)}Colours end at {look.limit:.1f}, as in "
            f"all {test} contrasts of this analysis. Dark grey are folds that go inwards."
        ),
    )
    yield Part("surface_viewer", {**_name_viewer(inputs), "meshes": cortex.id})


def _say_opacity(inputs: ContrastInputs) -> str:
    return (
        "Opacity grows with the square of the statistic and is full from "
        f"{inputs.look.opaque_at:.2f} on (line in the colour scale): weak evidence is faint, not hidden. "
        f"{ONE_SIDED if inputs.look.is_one_sided else ''}"
    )


def _mosaic(inputs: ContrastInputs) -> Iterator[Shown]:
    slices = inputs.slices or inputs.subcortex
    if slices is None:
        if not inputs.hemispheres and not has_intervals(inputs):
            what = inputs.analysis.elements_word
            surface = "" if what == "regions" else NO_SURFACE
            yield Part("quiet", surface + NO_PICTURE.format(what=what, where=WHERE[what]))
        return
    if inputs.slices is None and not inputs.hemispheres:
        yield Part("quiet", NO_SURFACE)
    test, layers = inputs.files.test, slices.layers
    outlined = _outlined(inputs, int((layers.significant.data > 0).sum()), "voxels")
    whole = "The whole" if inputs.slices else "What lies below the cortex in the"
    yield inputs.picture(
        brains.draw_mosaic(layers, slices.brain.cuts),
        "desc-mosaic_statmap.png",
        alt=f"Slices of the {test} map of {inputs.files.name}; {outlined}.",
        caption=(
            f"{whole} {test} map; {outlined}. {_say_opacity(inputs)}"
            f"Colours end at {inputs.look.limit:.1f}; cuts and scale are those of all {test} contrasts of "
            f"this analysis. Left is left. {NO_ANATOMY if layers.anatomy is None else TEMPLATE}"
        ),
    )


def _viewer(inputs: ContrastInputs) -> Iterator[Part]:
    if inputs.slices is not None:
        yield Part("viewer", _name_viewer(inputs))


def _name_viewer(inputs: ContrastInputs) -> dict[str, str]:
    test = inputs.files.test
    size = "|t|" if test == "t" and not inputs.files.is_one_sided else test
    return {"id": f"contrast-{inputs.stem}", "test": test, "size": size}


def _projection(inputs: ContrastInputs) -> Iterator[Picture]:
    if inputs.slices is not None and (inputs.slices.layers.significant.data > 0).any():
        yield inputs.picture(
            brains.draw_projection(inputs.slices.layers),
            "desc-projection_statmap.png",
            alt=f"Significant {inputs.files.test} seen through the brain from the right, the back and above.",
            caption=(
                f"Glass brain: the strongest significant voxel ({inputs.outlined}) along each line of sight; "
                "seen from the right, from the back and from above."
            ),
        )


def _distributions(inputs: ContrastInputs) -> Iterator[Part]:
    """Draw z and p beside their nulls, and the maxima of shuffled data beside the observed one."""
    z, p = inputs.z[inputs.analysis.inside], None if inputs.p is None else inputs.p[inputs.analysis.inside]
    observed = f"z (mean {z.mean():.2f}, SD {z.std():.2f}){'' if p is None else ' and p'} over "
    observed += f"{z.size} {inputs.analysis.elements_word}"
    sidecar = inputs.files.sidecar
    without = "Without any effect"
    if sidecar.equivalence_bounds:
        without = "If every effect were at a bound,"
    elif sidecar.conjunction:
        without = "If one of the effects were absent everywhere, and the others large,"
    picture = inputs.picture(
        charts.draw_distributions(z, p),
        "desc-distributions_statmap.svg",
        alt=f"Histograms of {observed}, beside the null.",
        caption=f"{without} z would follow the curve{'' if p is None else ' and p the line'}.",
    )
    yield Part("pair", [picture, *_nulls(inputs)])


def _nulls(inputs: ContrastInputs) -> Iterator[Picture]:
    """Draw each null distribution, with the observed maximum (its first row) and the threshold."""
    for correction in (name for name in inputs.found if name in inputs.files.nulls):
        rule, table = inputs.found[correction].rule, read_numbers(inputs.files.nulls[correction])
        for column in map(str, table.columns):
            values = table[column].to_numpy(dtype=float)
            said, part = inputs.found[correction].sidecar, column.partition("_")[2]
            where = f"in the {part}" if part else "over the brain"
            is_area = "mm2" in str((said.extent or {}).get(part or "cortex"))
            measured = (rule.measured or inputs.files.test).replace("mm³", "mm²" if is_area else "mm³")
            name = f"maximum of {measured} {where}"
            label = f"{correction}Null{''.join(filter(str.isalnum, column)).capitalize()}"
            threshold = (said.threshold_by_part or {}).get(part, said.threshold)
            yield inputs.picture(
                charts.draw_null(values[1:], values[0], threshold, name),
                f"desc-{label}_statmap.svg",
                alt=f"Histogram of the {name} in {len(values) - 1} shuffles; observed {values[0]:.4g}.",
                caption=f"{rule.title}: the {name} in the shuffled data.",
            )


def _files(inputs: ContrastInputs) -> Iterator[Details]:
    root, stem = inputs.analysis.folder.root, Path(inputs.files.stem)
    there = list_maps(root / stem.parent, stem.name)
    paths = sorted(str(one.relative_to(root)) for _, path in there for one in expand(path))
    yield Details("Files of this contrast", Part("files", [*paths, *inputs.figures]))


def _volume(inputs: ContrastInputs, slices: Slices) -> Mapping[str, Any]:
    layers = slices.layers
    return {
        "beside": list(_beside(inputs, slices.brain)),
        **inputs.look.told,
        "strongest": list(slices.strongest_mm),
        "start": list(slices.focus_mm),
        "correction": inputs.outlined,
        "statistic": pack_statistic(layers.statistic),
        "mask": pack_flags(layers.mask),
        "significant": pack_flags(layers.significant),
    }


def _beside(inputs: ContrastInputs, brain: Brain) -> Iterator[Mapping[str, Any]]:
    """Pack what the viewer says beside the statistic; what is in proportion to it needs its factor alone."""
    inside = inputs.analysis.inside
    statistic = inputs.statistic[inside].astype(np.float64)
    for stat, words in (_BESIDE_T if inputs.files.test == "t" else _BESIDE_F).items():
        if stat in inputs.files.maps:
            volume = np.where(inside, read_map(inputs.files.maps[stat]).data, 0)
            factor = float(volume[inside] @ statistic) / max(float(statistic @ statistic), 1e-300)
            if np.allclose(volume[inside], factor * statistic, rtol=1e-4, atol=1e-6):
                yield {"name": words, "factor": factor}
            else:
                yield {"name": words, "volume": pack_statistic(brain.layout.place(volume))}


CONTRAST_PARTS: tuple[Callable[[ContrastInputs], Iterable[Shown]], ...] = (
    regions,
    _hemispheres,
    _mosaic,
    _viewer,
    _projection,
    side_by_side,
    clusters,
    sensitivity,
    _distributions,
    influence,
    _files,
)
"""What stands under a contrast, in order."""
