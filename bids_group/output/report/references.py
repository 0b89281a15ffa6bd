"""The literature a report can stand on: as text and as BibTeX."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A publication. ``short`` is how it is cited in a sentence."""

    key: str
    kind: str
    authors: str
    year: int
    title: str
    journal: str
    volume: str
    pages: str
    doi: str

    @property
    def short(self) -> str:
        """Family names and year: ``Freedman & Lane, 1983``."""
        names = [author.split(",")[0].strip() for author in self.authors.split(" and ")]
        if names[-1] == "others" or len(names) > 2:
            return f"{names[0]} et al., {self.year}"
        return f"{' & '.join(names)}, {self.year}"

    @property
    def text(self) -> str:
        """One line of a list of references."""
        names = self.authors.replace(" and others", ", et al.").replace(" and ", "; ")
        return f"{names} ({self.year}). {self.title}. {self.journal}, {self.volume}, {self.pages}. https://doi.org/{self.doi}"

    @property
    def bibtex(self) -> str:
        """One BibTeX entry."""
        fields = {
            "author": self.authors,
            "title": f"{{{self.title}}}",
            "journal": self.journal,
            "year": str(self.year),
            "volume": self.volume,
            "pages": self.pages.replace("–", "--"),
            "doi": self.doi,
        }
        lines = [f"  {name} = {{{value}}}," for name, value in fields.items()]
        return "\n".join([f"@{self.kind}{{{self.key},", *lines, "}"])


def _article(
    key: str, authors: str, year: int, title: str, journal: str, volume: str, pages: str, doi: str
) -> Reference:
    return Reference(
        key=key,
        kind="article",
        authors=authors,
        year=year,
        title=title,
        journal=journal,
        volume=volume,
        pages=pages,
        doi=doi,
    )


REFERENCES: dict[str, Reference] = {
    entry.key: entry
    for entry in (
        _article(
            "abraham2014",
            "Abraham, A. and Pedregosa, F. and Eickenberg, M. and others",
            2014,
            "Machine learning for neuroimaging with scikit-learn",
            "Frontiers in Neuroinformatics",
            "8",
            "14",
            "10.3389/fninf.2014.00014",
        ),
        _article(
            "gorgolewski2016",
            "Gorgolewski, K. J. and Auer, T. and Calhoun, V. D. and others",
            2016,
            "The brain imaging data structure, a format for organizing and describing outputs of neuroimaging experiments",
            "Scientific Data",
            "3",
            "160044",
            "10.1038/sdata.2016.44",
        ),
        _article(
            "yarkoni2019",
            "Yarkoni, T. and Markiewicz, C. J. and de la Vega, A. and others",
            2019,
            "PyBIDS: Python tools for BIDS datasets",
            "Journal of Open Source Software",
            "4(40)",
            "1294",
            "10.21105/joss.01294",
        ),
        _article(
            "searle1980",
            "Searle, S. R. and Speed, F. M. and Milliken, G. A.",
            1980,
            "Population marginal means in the linear model: an alternative to least squares means",
            "The American Statistician",
            "34(4)",
            "216–221",
            "10.1080/00031305.1980.10483031",
        ),
        _article(
            "freedman1983",
            "Freedman, D. and Lane, D.",
            1983,
            "A nonstochastic interpretation of reported significance levels",
            "Journal of Business & Economic Statistics",
            "1(4)",
            "292–298",
            "10.1080/07350015.1983.10509354",
        ),
        _article(
            "winkler2014",
            "Winkler, A. M. and Ridgway, G. R. and Webster, M. A. and Smith, S. M. and Nichols, T. E.",
            2014,
            "Permutation inference for the general linear model",
            "NeuroImage",
            "92",
            "381–397",
            "10.1016/j.neuroimage.2014.01.060",
        ),
        _article(
            "winkler2015",
            "Winkler, A. M. and Webster, M. A. and Vidaurre, D. and Nichols, T. E. and Smith, S. M.",
            2015,
            "Multi-level block permutation",
            "NeuroImage",
            "123",
            "253–268",
            "10.1016/j.neuroimage.2015.05.092",
        ),
        _article(
            "winkler2016",
            "Winkler, A. M. and Ridgway, G. R. and Douaud, G. and Nichols, T. E. and Smith, S. M.",
            2016,
            "Faster permutation inference in brain imaging",
            "NeuroImage",
            "141",
            "502–516",
            "10.1016/j.neuroimage.2016.05.068",
        ),
        _article(
            "nichols2002",
            "Nichols, T. E. and Holmes, A. P.",
            2002,
            "Nonparametric permutation tests for functional neuroimaging: a primer with examples",
            "Human Brain Mapping",
            "15(1)",
            "1–25",
            "10.1002/hbm.1058",
        ),
        _article(
            "bullmore1999",
            "Bullmore, E. T. and Suckling, J. and Overmeyer, S. and others",
            1999,
            "Global, voxel, and cluster tests, by theory and permutation, for a difference between two groups of structural MR images of the brain",
            "IEEE Transactions on Medical Imaging",
            "18(1)",
            "32–42",
            "10.1109/42.750253",
        ),
        _article(
            "smith2009",
            "Smith, S. M. and Nichols, T. E.",
            2009,
            "Threshold-free cluster enhancement: addressing problems of smoothing, threshold dependence and localisation in cluster inference",
            "NeuroImage",
            "44(1)",
            "83–98",
            "10.1016/j.neuroimage.2008.03.061",
        ),
        _article(
            "benjamini1995",
            "Benjamini, Y. and Hochberg, Y.",
            1995,
            "Controlling the false discovery rate: a practical and powerful approach to multiple testing",
            "Journal of the Royal Statistical Society: Series B",
            "57(1)",
            "289–300",
            "10.1111/j.2517-6161.1995.tb02031.x",
        ),
        _article(
            "rosenblatt2018",
            "Rosenblatt, J. D. and Finos, L. and Weeda, W. D. and Solari, A. and Goeman, J. J.",
            2018,
            "All-Resolutions Inference for brain imaging",
            "NeuroImage",
            "181",
            "786–796",
            "10.1016/j.neuroimage.2018.07.060",
        ),
        _article(
            "hedges1981",
            "Hedges, L. V.",
            1981,
            "Distribution theory for Glass's estimator of effect size and related estimators",
            "Journal of Educational Statistics",
            "6(2)",
            "107–128",
            "10.3102/10769986006002107",
        ),
        _article(
            "taylor2023",
            "Taylor, P. A. and Reynolds, R. C. and Calhoun, V. and others",
            2023,
            "Highlight results, don't hide them: Enhance interpretation, reduce biases and improve reproducibility",
            "NeuroImage",
            "274",
            "120138",
            "10.1016/j.neuroimage.2023.120138",
        ),
    )
}
