"""What stands in the JSON files beside maps and tables: every key is spelled here, as the name of a field.

``degrees_of_freedom`` is the key ``DegreesOfFreedom``. A record is written in the order in which its fields
were given; None is written as null, a field that was not given is not written, and reads as None.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any, ClassVar, Self, dataclass_transform

_KINDS: Mapping[str, tuple[type, ...]] = {
    "str": (str,),
    "bool": (bool,),
    "int": (int,),
    "float": (int, float),
    "Any": (object,),
    "list": (list,),
    "Sequence": (list,),
    "Mapping": (dict,),
}
"""What JSON has for the kinds of fields."""


@dataclass_transform(kw_only_default=True, frozen_default=True)
class JsonRecord:
    """An object of a JSON file.

    ``parts`` names the fields that hold records (one, or a list; by name those that are ``is_by_name``),
    ``optional`` those that are left out, and not null, where they are None.
    """

    is_camel_case: ClassVar[bool] = True
    is_by_name: ClassVar[bool] = False
    parts: ClassVar[Mapping[str, type[JsonRecord]]] = {}
    optional: ClassVar[Collection[str]] = ()

    def __init__(self, **given: Any) -> None:
        if unknown := [name for name in given if not hasattr(type(self), name)]:
            raise TypeError(f"{type(self).__name__} has no field {', '.join(unknown)}")
        vars(self).update({k: v for k, v in given.items() if v is not None or k not in self.optional})

    @classmethod
    @cache
    def key_of(cls, name: str) -> str:
        """Spell a field as the key of JSON files."""
        return "".join(word.capitalize() for word in name.split("_")) if cls.is_camel_case else name

    @classmethod
    @cache
    def names(cls) -> list[str]:
        """List the fields in the order of the class."""
        return [name for name, kind in cls.__annotations__.items() if not str(kind).startswith("ClassVar")]

    @classmethod
    def of(cls, record: object, **more: Any) -> Self:
        """Take the fields that another record has under the same names; those of ``more`` come from there."""
        names = [name for name in cls.names() if name in more or hasattr(record, name)]
        return cls(**{name: more[name] if name in more else getattr(record, name) for name in names})

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> Self:
        """Take what is known of a JSON object; keys of others (columns of a table) are left out.

        Raises
        ------
        ValueError
            The value of a key is of another kind than that of its field: the object is damaged.
        """
        found = {}
        for name in (one for one in cls.names() if cls.key_of(one) in content):
            value, part = content[cls.key_of(name)], cls.parts.get(name)
            if value is not None and not cls._is_like(name, value):
                raise ValueError(
                    f"{cls.key_of(name)} is {value!r:.40}, of the kind of {type(value).__name__}"
                )
            if part is not None and isinstance(value, list):
                value = [part.read(one) for one in value]
            elif part is not None and value:
                value = {k: part.read(v) for k, v in value.items()} if part.is_by_name else part.read(value)
            found[name] = value
        return cls(**found)

    @classmethod
    def _is_like(cls, name: str, value: Any) -> bool:
        """Whether a value is of the kind of a field; what is in lists and objects is not looked at."""
        if (part := cls.parts.get(name)) is not None:
            values = list(value.values()) if part.is_by_name and isinstance(value, dict) else value
            return all(isinstance(one, dict) for one in (values if isinstance(values, list) else [value]))
        return isinstance(value, cls._kinds_of(name))

    @classmethod
    @cache
    def _kinds_of(cls, name: str) -> tuple[type, ...]:
        """List what Python reads from JSON for a field without parts."""
        words = re.findall(r"\w+", re.sub(r"\[.*\]", "", str(cls.__annotations__[name])))
        return tuple(kind for word in words for kind in _KINDS.get(word, ()))

    def to_json(self) -> dict[str, Any]:
        """Spell the keys that were given; values may hold records."""
        return {self.key_of(name): value for name, value in vars(self).items()}

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def but(self, *others: JsonRecord, **given: Any) -> Self:
        """Copy it with other values in the same places; what is new stands at the end."""
        more = {name: value for other in others for name, value in vars(other).items()}
        return type(self)(**{**vars(self), **more, **given})


class Smoothing(JsonRecord):
    """Width of the kernel."""

    kernel: str = "Gaussian"
    full_width_at_half_maximum: float = 0.0
    units: str = "mm"


class Centering(JsonRecord):
    """What covariates were centred at: a number each, or one for each level of a factor."""

    method: str | None = None
    values: Mapping[str, Any] | None = None


class ScalingFacts(JsonRecord):
    """What each map was multiplied by."""

    column: str | None = None
    mean: float | None = None
    method: str | None = None


class ContrastEntry(JsonRecord):
    """A group contrast in the sidecar of its design."""

    name: str | None = None
    label: str | None = None
    file_label: str | None = None
    test: str | None = None
    expression: str | None = None
    words: str | None = None
    weights: list[list[float]] | None = None
    estimable: bool | None = None


class VariableKind(JsonRecord):
    """How a column of the tables was taken."""

    is_by_name: ClassVar[bool] = True
    kind: str | None = None
    kind_source: str | None = None
    levels: list[str] | None = None
    units: str | None = None
    description: str | None = None


class LargestWeight(JsonRecord):
    """A map that has nearly all the weight among those pooled, and its share (median over elements)."""

    source: str = ""
    share: float = 0.0


class SphericityFacts(JsonRecord):
    """How unequally alike the rows of a person are: Greenhouse & Geisser's ε, 1 (equally) to 1/(k − 1).

    ``covariance`` is that of the k ``measurements`` between people who have all of them, on
    ``degrees_of_freedom``, in squared units of the effect; its mean over elements. Variances of differences
    are in ascending order.
    """

    greenhouse_geisser_epsilon: float = 1.0
    measurements: Sequence[str] = ()
    covariance: Sequence[Sequence[float]] = ()
    variances_of_differences: Mapping[str, float] = MappingProxyType({})
    number_of_people: int = 0
    number_of_people_left_out: int = 0
    degrees_of_freedom: int = 0
    number_of_elements: int = 0


class RowEntry(JsonRecord):
    """Whose row of the design it is."""

    is_camel_case: ClassVar[bool] = False
    optional: ClassVar[Collection[str]] = ("contrast",)
    label: str = ""
    participant_id: str | None = None
    session: str | None = None
    n_maps: int | None = None
    contrast: str | None = None


class RunRecord(JsonRecord):
    """What ran, on what, with which seed, for how long: ``code/command.json``.

    ``dataset`` is the name that BIDS_DIR gives itself; programs are those that say so, with their versions.
    """

    command: list[str] | None = None
    version: str | None = None
    versions: Mapping[str, str] | None = None
    container: str | None = None
    platform: str | None = None
    random_seed: int | None = None
    start_time: str | None = None
    run_time_seconds: float | None = None
    peak_memory_mb: float | None = None
    input_hashes: Mapping[str, str] | None = None
    dataset: str | None = None
    first_level_programs: list[str] | None = None


class OutputList(JsonRecord):
    """Files that are there; those that a run will write; and those of runs before, until it is done.

    ``pooling``: sidecars that mark pooled maps as ours, and that the disk may not hold yet.
    """

    optional: ClassVar[Collection[str]] = ("files", "planned", "earlier", "pooling")
    description: str | None = None
    format: int | None = None
    files: list[str] | None = None
    planned: list[str] | None = None
    earlier: list[str] | None = None
    pooling: list[str] | None = None


class Sidecar(JsonRecord):
    """Everything that the sidecars of an analysis say; each kind of file gives its own part."""

    parts: ClassVar[Mapping[str, type[JsonRecord]]] = {
        "smoothing": Smoothing, "centering": Centering, "scaling": ScalingFacts,
        "contrasts": ContrastEntry, "observations": RowEntry, "variable_kinds": VariableKind,
        "sphericity": SphericityFacts, "largest_weight": LargestWeight,
    }  # fmt: skip
    optional: ClassVar[Collection[str]] = (
        "first_level_contrasts", "design_matrix", "scaling", "mask_threshold", "group_by", "outliers_within",
        "input_statistic", "input_statistic_warning", "input_suffix", "cut_coordinates", "standardiser",
        "random_terms", "estimator_variant", "equivalence_bounds", "equivalence_method", "conjunction",
        "sphericity", "largest_weight", "atlas", "density",
    )  # fmt: skip

    # every file
    description: str | None = None
    sources: list[str] | None = None
    spatial_reference: str | None = None
    resolution: str | None = None
    density: str | None = None
    first_level_contrast: str | None = None
    first_level_contrasts: list[str] | None = None
    group_contrast: str | None = None
    test: str | None = None
    weights: list[Any] | None = None
    columns: list[str] | None = None
    formula: str | None = None
    design_matrix: str | None = None
    estimator: str | None = None
    random_terms: str | None = None
    estimator_variant: str | None = None
    degrees_of_freedom: float | list[float] | str | None = None
    sample_size: int | None = None
    number_of_participants: int | None = None
    smoothing: Smoothing | None = None
    scaling: ScalingFacts | None = None
    mask: str | None = None
    mask_threshold: float | None = None
    minimum_coverage: float | None = None
    pooling: str | None = None
    centering: Centering | None = None
    group_by: Mapping[str, str] | None = None
    input_statistic: str | None = None
    input_statistic_warning: str | None = None
    input_suffix: str | None = None
    # pooled maps
    input_hashes: Mapping[str, str] | None = None
    pooling_key: str | None = None
    files: Mapping[str, str] | None = None
    affine: Any = None
    largest_weight: LargestWeight | None = None
    # the design, masks and tables of rows
    terms: Mapping[str, list[str]] | None = None
    variables: Mapping[str, Mapping[str, Any]] | None = None
    variable_kinds: Mapping[str, VariableKind] | None = None
    centers: Mapping[str, Any] | None = None
    rank: int | None = None
    details: Mapping[str, Any] | None = None
    contrasts: list[ContrastEntry] | None = None
    notices: list[Any] | None = None
    observations: list[RowEntry] | None = None
    blocks: Mapping[str, str] | None = None
    node: str | None = None
    sphericity: SphericityFacts | None = None
    cut_coordinates: list[float] | None = None
    type: str | None = None
    number_of_elements: int | None = None
    outliers_within: Any = None
    # maps of a contrast
    group_contrast_expression: str | None = None
    group_contrast_words: str | None = None
    two_sided: bool | None = None
    standardiser: str | None = None
    equivalence_bounds: list[float] | None = None
    equivalence_method: str | None = None
    conjunction: list[str] | None = None
    bayes_factor_prior: str | None = None
    cauchy_scale: float | None = None
    effective_sample_size: float | str | None = None
    covariate_standard_deviation: float | None = None
    variance_groups: Any = None
    variance_estimate: str | None = None
    ignored_exchangeability_blocks: str | None = None
    cap: float | None = None
    cap_reason: str | None = None
    # corrections
    correction: str | None = None
    alpha: float | None = None
    threshold: float | None = None
    threshold_statistic: str | None = None
    number_of_significant_elements: int | None = None
    number_of_clusters: int | None = None
    connectivity: int | None = None
    number_of_tests: int | None = None
    error_control: str | None = None
    atlas: str | None = None
    cluster_forming_p: float | None = None
    cluster_forming_z: float | None = None
    cluster_extent_mm3: float | None = None
    thresholds_of_parts: list[float | None] | None = None
    number_of_clusters_with_true_discoveries: int | None = None
    hommel_value: Mapping[str, int] | None = None
    alpha_per_sign: float | None = None
    correction_degrees_of_freedom: float | str | None = None
    correction_degrees_of_freedom_rule: str | None = None
    # shuffling
    number_of_permutations: int | None = None
    random_seed: int | None = None
    shuffling: str | None = None
    shuffling_scheme: str | None = None
    is_exhaustive: bool | None = None
    exchangeability_blocks: str | None = None
    familywise: str | None = None
    number_of_contrasts_together: int | None = None
    tail_approximation: Mapping[str, Any] | None = None
    familywise_parts: str | None = None
    threshold_by_part: Mapping[str, float | None] | None = None
    extent: Mapping[str, str] | None = None
