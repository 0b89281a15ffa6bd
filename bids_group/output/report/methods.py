"""The methods paragraph and its references, from what was really done."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bids_group.config.corrections import UNCORRECTED, find_correction
from bids_group.output.files.contrasts import PLAIN
from bids_group.output.files.sidecars import say_center
from bids_group.output.report.references import Reference, references
from bids_group.words import counted, list_some

Facts = Mapping[str, Any]

ALWAYS_CITED = ("gorgolewski2016", "yarkoni2019", "abraham2014", "taylor2023")
_MOST_COLUMNS = 12
_POOLINGS = {
    "precision": " Several maps of one participant were pooled as fixed effects, weighted by the inverse "
    "of their variances.",
    "mean": " Several maps of one participant were pooled by their unweighted mean.",
    "weights": " Maps of one participant were combined by the contrast weights of the model.",
}


def methods_text(facts: Facts) -> str:
    """Write the paragraph; a sentence stands only where its fact is known.

    Parameters
    ----------
    facts
        As `bids_group.output.report.facts.gather_facts` gives them; a missing or None fact leaves its
        sentence out.
    """
    return re.sub(r"\{(\w+)\}", lambda match: references()[match[1]].short, _draft(facts))


def citations(facts: Facts) -> tuple[Reference, ...]:
    """Return the references of the paragraph and of the software, in alphabetical order."""
    used = {*ALWAYS_CITED, *re.findall(r"\{(\w+)\}", _draft(facts))}
    return tuple(sorted((references()[key] for key in used), key=lambda entry: (entry.authors, entry.year)))


def _draft(facts: Facts) -> str:
    """Write the paragraph with ``{key}`` for citations; braces in names are spelled as parentheses."""
    plain = {name: _without_braces(value) for name, value in facts.items()}
    writers = (_software, _who, _model, _centering, _contrasts, _elements, _tests, _effect_sizes)
    return " ".join(sentence for writer in writers if (sentence := writer(plain)))


def _without_braces(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("{", "(").replace("}", ")")
    if isinstance(value, Mapping):
        return {_without_braces(key): _without_braces(item) for key, item in value.items()}
    return [_without_braces(item) for item in value] if isinstance(value, (list, tuple)) else value


def _software(facts: Facts) -> str:
    nilearn = dict(facts.get("versions") or {}).get("nilearn")
    with_nilearn = f" and nilearn {nilearn} ({{abraham2014}})" if nilearn else ""
    version = f" {facts['version']}" if facts.get("version") else ""
    return f"The group analysis was done with bids_group{version}{with_nilearn}."


def _who(facts: Facts) -> str:
    people, rows = facts.get("n_people"), facts.get("n_rows")
    if not people:
        return ""
    contrast = facts.get("first_level_contrast")
    effect = f" of the first-level contrast '{contrast}'" if contrast else ""
    if facts.get("input_suffix"):
        effect = f" '{contrast}' (files with the suffix {facts['input_suffix']})"
    apart = " and ".join(facts.get("kept_apart") or ["maps"])
    entered = f" as {rows} rows, {apart} kept apart," if rows and rows != people else ""
    pooled = _POOLINGS.get(str(facts.get("pooling")), "") if facts.get("has_pooled_maps") else ""
    stat = facts.get("input_stat")
    warned = f" The maps held {stat} statistics in place of effects." if stat else ""
    return f"Maps{effect} of {counted(people, 'participant')}{entered} entered the analysis.{pooled}{warned}"


def _model(facts: Facts) -> str:
    if not facts.get("formula"):
        return ""
    how = f" by {facts['estimator']}" if facts.get("estimator") else ""
    what = f"the model '{facts['formula']}'"
    if facts.get("design_matrix"):
        named = list_some(facts["columns"], _MOST_COLUMNS, none="")
        what = f"a design matrix made by hand (columns {named})"
    fitted = f"At each voxel {what} was fitted{how}{_spell_dof(facts.get('dof'))}."
    if not facts.get("variance_groups"):
        return fitted
    return (
        f"{fitted} Each level of {facts['variance_groups']} had a residual variance of its own, with the "
        "degrees of freedom of {satterthwaite1946}."
    )


def _spell_dof(dof: float | str | None) -> str:
    """Spell the degrees of freedom; where they differ between voxels the sidecars say so in words."""
    if not dof:
        return ""
    return (
        f" (residual degrees of freedom: {dof})"
        if isinstance(dof, str)
        else f" ({dof:g} residual degrees of freedom)"
    )


def _centering(facts: Facts) -> str:
    centers = dict(facts.get("centers") or {})
    if not centers:
        return ""
    how = str(facts.get("centering") or "")
    within = f"within each level of {how.removeprefix('within:')}"
    around = within if how.startswith("within:") else "over the analysed rows"
    values = _listed(f"{name}: {say_center(value)}" for name, value in centers.items())
    return f"Numeric covariates were centred at their mean {around} ({values})."


def _contrasts(facts: Facts) -> str:
    words = list(facts.get("contrasts") or [])
    if not words:
        return ""
    source = (
        " Marginal means and slopes are those of {searle1980}." if facts.get("has_marginal_means") else ""
    )
    return f"The following {'was' if len(words) == 1 else 'were'} tested: {'; '.join(words)}.{source}"


def _elements(facts: Facts) -> str:
    parts = []
    if facts.get("n_elements"):
        coverage = facts.get("min_coverage", 1.0)
        observed = "every row" if coverage == 1.0 else f"at least {100 * coverage:g} % of the rows"
        where = f" of the mask {facts['mask_name']}" if facts.get("mask_name") else ""
        if facts.get("mask_threshold") is not None:
            where += f" (masks that are not of two values: values above {facts['mask_threshold']:g})"
        count = f"{facts['n_elements']:,}".replace(",", "\u202f")
        parts.append(f"The {count} voxels{where} that were observed in {observed} were analysed.")
    if facts.get("scaling"):
        column, mean = facts["scaling"].column, float(facts["scaling"].mean)
        parts.append(
            f"Maps were scaled in proportion to {column}: each was multiplied by its mean ({mean:.4g}) over "
            "the participant's value."
        )
    if facts.get("smoothing_mm"):
        kernel = f"a Gaussian kernel of {facts['smoothing_mm']:g} mm full width at half maximum"
        parts.append(f"Before the group model the maps were smoothed with {kernel}.")
    elif facts.get("smoothing_mm") is not None:
        parts.append("The maps were not smoothed before the group model.")
    return " ".join(parts)


def _tests(facts: Facts) -> str:
    corrections: Sequence[Facts] = list(facts.get("corrections") or [])
    if not corrections:
        return ""
    sides = {True: "Tests were two-sided (t). ", False: "Tests were one-sided. "}
    side = sides.get(bool(facts["is_two_sided"]), "") if facts.get("is_two_sided") is not None else ""
    judged = "; ".join(_say_correction(entry) for entry in corrections)
    first = f"{side}Significance was judged by {judged}."
    parts = (
        first,
        _extent(corrections),
        _parametric(facts),
        _family(corrections),
        _forming(facts),
        *_shuffling(facts),
    )
    return " ".join(part for part in parts if part)


def _extent(corrections: Sequence[Facts]) -> str:
    extent = next((one["cluster_extent_mm3"] for one in corrections if one.get("cluster_extent_mm3")), None)
    if extent is None:
        return ""
    return f"Uncorrected clusters of less than {extent:g} mm³ were left out, which controls no error rate."


def _family(corrections: Sequence[Facts]) -> str:
    n_together = max((int(entry.get("n_together") or 1) for entry in corrections), default=1)
    return f"Family-wise errors were counted over {n_together} contrasts together." if n_together > 1 else ""


def _parametric(facts: Facts) -> str:
    """Say what corrections without shuffling make of variance groups and blocks."""
    rules = [find_correction(one["name"]) for one in facts["corrections"]]
    parametric = [one for one in rules if not one.needs_shuffling]
    sentences = []
    if facts.get("variance_groups") and set(parametric) - {UNCORRECTED}:
        sentences.append(
            "Corrections without shuffling took the degrees of freedom of the smallest variance group on "
            "which a contrast depends."
        )
    if facts.get("ignored_blocks"):
        which = " and corrections without shuffling" if parametric else ""
        sentences.append(
            f"Parametric p-values{which} take rows for independent, also within {facts['ignored_blocks']}."
        )
    return " ".join(sentences)


def _say_correction(entry: Facts) -> str:
    return find_correction(entry["name"]).sentence.format(alpha=float(entry.get("alpha") or 0.05))


def _forming(facts: Facts) -> str:
    """Say how clusters were formed where their extent was tested."""
    for entry in facts["corrections"]:
        if find_correction(entry["name"]).uses_forming_p and entry.get("cluster_forming_z"):
            size = "|z|" if facts.get("is_two_sided") else "z"
            p = f" (uncorrected p < {entry['cluster_forming_p']:g})" if entry.get("cluster_forming_p") else ""
            near = f", {entry['connectivity']} neighbours" if entry.get("connectivity") else ""
            return f"Clusters were formed at {size} > {entry['cluster_forming_z']:.3f}{p}{near}."
    return ""


def _shuffling(facts: Facts) -> list[str]:
    schemes = dict(facts.get("schemes") or {})
    own = facts.get("permutation_p")
    entries = [*facts["corrections"], *([own] if own else [])]
    entry = next((one for one in entries if one.get("n_permutations")), None)
    if entry is None or not schemes:
        return []
    text = "The residuals of the nuisance model were shuffled ({freedman1983}; {winkler2014})"
    if len(schemes) == 1:
        how = next(iter(schemes))
    else:
        how = "; ".join(f"for {_listed(names)}, {words}" for words, names in schemes.items())
    sentences = [f"{text}: {how}."]
    if entry.get("blocks"):
        sentences.append(f"Exchangeability blocks were given by {entry['blocks']} ({{winkler2015}}).")
    if entry.get("variance_groups"):
        sentences.append(
            f"Shuffling judged Welch's v or G of the levels of {entry['variance_groups']} ({{winkler2014}})."
        )
    if entry.get("has_tail_approximation"):
        tail = "a generalised Pareto distribution fitted to the tail ({winkler2016})"
        sentences.append(f"Small p-values come from {tail}.")
    if own:
        sentences.append("Uncorrected p-values by shuffling are given for each element.")
    return sentences


def _effect_sizes(facts: Facts) -> str:
    sizes = []
    if facts.get("has_g"):
        others = {name: unit for name, unit in dict(facts.get("standardisers") or {}).items() if unit}
        told = "; ".join(f"{unit} for {name}" for name, unit in others.items() if unit != PLAIN)
        units = f", in units of the residual SD (but {told})," if told else ""
        sizes.append(f"Hedges' g ({{hedges1981}}){units} with limits from the non-central t distribution")
    if facts.get("has_partial_r2"):
        sizes.append("partial R² with limits from the non-central F distribution")
    return f"Effect sizes are {_listed(sizes)}." if sizes else ""


def _listed(words: Iterable[str]) -> str:
    items = list(words)
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"
