"""The questions of the gallery that are about covariates."""

from __future__ import annotations

from questions import Command, Question, Shown

_DIFFERENCE = "slope(n_cigs, group=patient) - slope(n_cigs, group=control)"

SLOPES = Question(
    name="slopes",
    title="Does the slope of a covariate differ between two groups?",
    asked=(
        "Patients and controls smoke; is the relation of the response and the number of "
        "cigarettes steeper in "
        "patients, controlling for age? Asked by meaning, asked by a vector, and asked of a formula that "
        "cannot answer."
    ),
    commands=(
        Command("bids-group-demo data"),
        Command(
            "bids-group data meaning group --formula '~ group * n_cigs + age' --missing drop "
            f"--contrast 'slopeDiff = {_DIFFERENCE}'"
        ),
        Command(
            "bids-group data vector group --formula '~ group * n_cigs + age' --missing drop "
            "--contrast 'slopeDiff = [0, 0, 0, 0, 1]' --no-report"
        ),
        Command("bids-group-compare meaning vector same"),
        Command(
            "bids-group data trap group --formula '~ group + n_cigs + age' --missing drop "
            f"--contrast 'slopeDiff = {_DIFFERENCE}' -q",
            exit_code=64,
            is_answer=True,
        ),
    ),
    python=f"""
import bids_group

results = bids_group.analyse(
    "data",
    "python",
    formula="~ group * n_cigs + age",
    missing="drop",
    contrasts={{"slopeDiff": "{_DIFFERENCE}"}},
    no_report=True,
)
results.table("slopeDiff")
results.image("slopeDiff", "t")
""",
    reading=(
        "The expression says what is meant and means it under every coding of the groups; the "
        "vector over the "
        "printed columns is the same test, as the comparison shows: t is the same at every voxel.",
        "Warm colours: the slope is steeper in patients; where both slopes are zero or alike, "
        "colours are faint, "
        "however large the mean response.",
        "The formula with + in place of * gives both groups one slope, so their difference is "
        "zero whatever the "
        "data: this is refused, with the formula that answers.",
    ),
    figures=(
        Shown(
            name="mosaic",
            pattern="meaning/group/figures/*SlopeDiff_desc-mosaic_statmap.png",
            caption="Where the slope differs between the groups.",
        ),
        Shown(
            name="same-t",
            pattern="same/figures/*_stat-t_agreement.svg",
            caption="The expression and the vector: the same t.",
        ),
    ),
)

ASSOCIATION = Question(
    name="association",
    title="Which voxels respond more in fast readers?",
    asked=(
        "94 people read aloud, and three of them have no score. The slope on reading speed, "
        "with the corrections "
        "that are asked for most beside each other; and of each cluster, how much of it is true."
    ),
    commands=(
        Command("bids-group-demo data --kind association"),
        Command(
            "bids-group data answer group --formula '~ reading_speed' --missing drop --smoothing-fwhm 5 "
            "--contrast 'speed = slope(reading_speed)' --correction none fdr bonferroni ari fwe-voxel "
            "--cluster-forming-p 0.001 --n-permutations 2000"
        ),
    ),
    python="""
import bids_group

results = bids_group.analyse(
    "data",
    "python",
    formula="~ reading_speed",
    missing="drop",
    smoothing_fwhm=5,
    contrasts={"speed": "slope(reading_speed)"},
    correction=["fdr", "bonferroni"],
    no_report=True,
)
results.clusters("speed", "bonferroni")
""",
    reading=(
        "Uncorrected p below 0.001 is passed by one voxel in a thousand without any effect, so "
        "the small specks "
        "away from the large cluster are what chance gives.",
        "FDR allows a share of false voxels among those shown; Bonferroni and the permutation of scores (the "
        "maximum over voxels) allow one false voxel in 20 studies, and permutation is the less strict of the "
        "two where neighbours are alike. The three people without a score are left out because --missing "
        "drop says so: the ledger names them, and without the option the run stops and names them.",
        "The true discoveries (ari) say of each cluster, in the table and in the map stat-tdp, at least what "
        "share of its voxels is active: of a cluster of 0 nothing can be said, and the claim holds for all "
        "clusters at once, also for parts of them that are looked at later.",
    ),
    figures=(
        Shown(
            name="mosaic",
            pattern="answer/group/figures/*Speed_desc-mosaic_statmap.png",
            caption="The slope on reading speed.",
        ),
        Shown(
            name="corrections",
            pattern="answer/group/figures/*Speed_desc-corrections_statmap.png",
            caption="Corrections side by side: the same slices and colours, and what each leaves.",
        ),
    ),
    tables={
        "answer/group/*Speed_desc-ari_clusters.tsv": (
            "cluster",
            "n_elements",
            "x",
            "y",
            "z",
            "t",
            "true_discovery_proportion",
        )
    },
)

VBM = Question(
    name="vbm",
    title="Grey matter, age and sex",
    asked=(
        "Maps of grey matter are no contrasts: they are found by their suffix. Heads differ in size, and men "
        "have more of everything; so each map is scaled in proportion to the total volume."
    ),
    commands=(
        Command("bids-group-demo data --kind vbm"),
        Command(
            "bids-group data scaled group --input-suffix probseg --formula '~ age + sex' --scale-by tiv "
            "--correction bonferroni"
        ),
        Command(
            "bids-group data unscaled group --input-suffix probseg --formula '~ age + sex' "
            "--correction bonferroni --no-report"
        ),
        Command("bids-group-compare scaled unscaled size"),
    ),
    python="""
import bids_group

results = bids_group.analyse(
    "data",
    "python",
    formula="~ age + sex",
    input_suffix="probseg",
    scale_by="tiv",
    correction="bonferroni",
    no_report=True,
)
results.table("test(age)")
""",
    reading=(
        "Cold colours in the map of age: less grey matter in older people, at the place where "
        "the demo put it.",
        "Scaled, the sexes differ at one place (outlined: significant both ways); unscaled, voxels all over "
        "the brain are significant too (warm), because the heads of men are larger.",
        "Scaling supposes that grey matter grows in proportion to the head; '+ tiv' in the "
        "formula supposes a "
        "straight line at each voxel instead, and both at once would take the same thing away twice.",
    ),
    figures=(
        Shown(
            name="age",
            pattern="scaled/group/figures/*GMProbsegAge_desc-mosaic_statmap.png",
            caption="Grey matter and age.",
        ),
        Shown(
            name="sex",
            pattern="size/figures/*GMProbsegSex_desc-bonferroni_overlap.png",
            caption="Men against women: significant scaled, unscaled, and both ways.",
        ),
    ),
)

COVARIATES = (SLOPES, ASSOCIATION, VBM)
