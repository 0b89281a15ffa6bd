"""The methods paragraph and its references, from what was really done."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from bids_group.output.report.references import REFERENCES, Reference

Facts = Mapping[str, Any]

ALWAYS_CITED = ("gorgolewski2016", "yarkoni2019", "abraham2014", "taylor2023")
_CORRECTION_WORDS = {
    "none": "uncorrected p-values",
    "fdr": "the false discovery rate ({benjamini1995})",
    "bonferroni": "the Bonferroni correction",
    "ari": "all-resolutions inference, a lower bound of the proportion of true discoveries in each cluster ({rosenblatt2018})",
    "fweVoxel": "the permutation distribution of the maximum statistic over voxels ({nichols2002})",
    "fweSize": "the permutation distribution of the largest cluster size ({nichols2002})",
    "fweMass": "the permutation distribution of the largest cluster mass ({bullmore1999})",
    "fweTfce": "threshold-free cluster enhancement (E = 0.5, H = 2) and the permutation distribution of its maximum ({smith2009})",
}


def methods_text(facts: Facts) -> str:
    """Write the paragraph; a sentence stands only where its fact is known.

    Parameters
    ----------
    facts
        As `bids_group.output.report.facts.gather_facts` gives them. A missing or None fact leaves its sentence out.
    """
    return cite(_draft(facts))


def citations(facts: Facts) -> tuple[Reference, ...]:
    """Return the references of the paragraph and of the software, in alphabetical order."""
    used = {*ALWAYS_CITED, *re.findall(r"\{(\w+)\}", _draft(facts))}
    return tuple(sorted((REFERENCES[key] for key in used), key=lambda entry: (entry.authors, entry.year)))


def cite(text: str) -> str:
    """Replace ``{key}`` of a reference by its short form."""
    return re.sub(r"\{(\w+)\}", lambda match: REFERENCES[match[1]].short, text)


def _draft(facts: Facts) -> str:
    """The paragraph with ``{key}`` in place of citations; braces in names are spelled as parentheses."""
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
    versions = facts.get("versions") or {}
    with_nilearn = f" and nilearn {versions['nilearn']}" if "nilearn" in versions else ""
    version = f" {facts['version']}" if facts.get("version") else ""
    return f"The group analysis was done with bids_group{version}{with_nilearn} ({{abraham2014}})."


def _who(facts: Facts) -> str:
    people, rows = facts.get("n_people"), facts.get("n_rows")
    if not people:
        return ""
    effect = (
        f"the first-level contrast '{facts['first_level_contrast']}'"
        if facts.get("first_level_contrast")
        else "the effect"
    )
    of = f"Maps of {effect} of {people} participant{'s' if people != 1 else ''}"
    entered = f" ({rows} rows: sessions were kept apart)" if rows and rows != people else ""
    return f"{of} entered the analysis{entered}.{_pooling(facts)}{_input_stat(facts)}"


def _pooling(facts: Facts) -> str:
    return (
        {
            "precision": " Several maps of one participant were pooled by fixed effects with weights inverse to their variances.",
            "mean": " Several maps of one participant were pooled by their unweighted mean.",
            "none": " Runs were pooled within sessions, sessions were not pooled.",
        }.get(str(facts.get("pooling")), "")
        if facts.get("has_pooled_maps")
        else ""
    )


def _input_stat(facts: Facts) -> str:
    return " The maps were z statistics, not effects." if facts.get("input_stat") == "z" else ""


def _model(facts: Facts) -> str:
    if not facts.get("formula"):
        return ""
    how = {
        "ols": "ordinary least squares",
        "meta": "weighted least squares with the first-level variances taken as known",
    }.get(str(facts.get("estimator")), "least squares")
    dof = f" ({facts['dof']:g} residual degrees of freedom)" if facts.get("dof") else ""
    return f"At each voxel the model {facts['formula']} was fitted by {how}{dof}."


def _centering(facts: Facts) -> str:
    centers = facts.get("centers") or {}
    if not centers:
        return ""
    how = str(facts.get("centering") or "")
    around = (
        f"their mean within each level of {how.removeprefix('within:')}"
        if how.startswith("within:")
        else "their mean over the analysed rows"
    )
    return f"Numeric covariates were centred at {around} ({_listed(f'{name}: {value}' for name, value in centers.items())})."


def _contrasts(facts: Facts) -> str:
    words = facts.get("contrasts") or []
    if not words:
        return ""
    source = " Marginal means and slopes follow {searle1980}." if facts.get("has_marginal_means") else ""
    return f"Tested {'was' if len(words) == 1 else 'were'}: {'; '.join(words)}.{source}"


def _elements(facts: Facts) -> str:
    parts = []
    if facts.get("n_elements"):
        n_elements, coverage = facts["n_elements"], facts.get("min_coverage", 1.0)
        observed = "every row" if coverage == 1.0 else f"at least {100 * coverage:g} % of the rows"
        where = f" within the mask {facts['mask_name']}" if facts.get("mask_name") else ""
        parts.append(
            f"The {n_elements:,} voxels{where} that were observed in {observed} were analysed.".replace(
                ",", "\u202f"
            )
        )
    if facts.get("smoothing_mm") is not None:
        fwhm = facts["smoothing_mm"]
        done = (
            f"smoothed with a Gaussian kernel of {fwhm:g} mm full width at half maximum"
            if fwhm
            else "not smoothed further"
        )
        parts.append(f"Before the group model the maps were {done}.")
    return " ".join(parts)


def _tests(facts: Facts) -> str:
    corrections: Sequence[Facts] = facts.get("corrections") or []
    if not corrections:
        return ""
    sides = {True: "two-sided", False: "one-sided"}.get(facts.get("is_two_sided"), "")  # type: ignore[arg-type]
    judged = _listed(_CORRECTION_WORDS.get(str(entry["name"]), str(entry["name"])) for entry in corrections)
    level = f" at α = {facts['alpha']:g}" if facts.get("alpha") else ""
    first = f"Significance{f' ({sides} for t tests)' if sides else ''} was judged{level} by {judged}."
    return " ".join(part for part in (first, _forming(corrections), _shuffling(corrections)) if part)


def _forming(corrections: Sequence[Facts]) -> str:
    for entry in corrections:
        if entry.get("cluster_forming_p"):
            near = f", {entry['connectivity']} neighbours" if entry.get("connectivity") else ""
            return f"Clusters were formed at p < {entry['cluster_forming_p']:g} (uncorrected{near})."
    return ""


def _shuffling(corrections: Sequence[Facts]) -> str:
    entry = next((entry for entry in corrections if entry.get("n_permutations")), None)
    if entry is None:
        return ""
    how = f" by {entry['shuffling']}" if entry.get("shuffling") else ""
    seed = f", random seed {entry['random_seed']}" if entry.get("random_seed") is not None else ""
    text = f"Permutation tests shuffled the residuals of the nuisance model ({{freedman1983}}; {{winkler2014}}){how}: {entry['n_permutations']} shuffles{seed}."
    if entry.get("has_blocks"):
        text += " Rows were exchanged with respect to exchangeability blocks ({winkler2015})."
    if entry.get("has_tail_approximation"):
        text += " Small p-values were taken from a generalised Pareto distribution fitted to the tail ({winkler2016})."
    return text


def _effect_sizes(facts: Facts) -> str:
    return (
        "Effect sizes are Hedges' g ({hedges1981}) with limits from the non-central t distribution."
        if facts.get("has_g")
        else ""
    )


def _listed(words: Any) -> str:
    items = list(words)
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else ""
