"""Fixed texts of the output dataset."""

from __future__ import annotations

BIDSIGNORE = (
    "group",
    "figures",
    "logs",
    ".work",
    "*_statmap.*",
    "*_design.*",
    "*_clusters.*",
    "*.html",
    "ledger.tsv",
)
"""Names without trailing slash: the validator takes no other."""

PARTICIPANTS_JSON = {
    "Description": "People with pooled maps in this dataset",
    "participant_id": {"Description": "Participant, as in the input dataset"},
    "analysed": {
        "Description": "Whether the person is in at least one group model (ledger.tsv says why not)",
        "Levels": {"yes": "in a group model", "no": "in none", "n/a": "no group model was run yet"},
    },
}

README = """# Group analysis of first-level maps

Written by bids_group. Start with `report.html`.

| where | what |
|---|---|
| `report.html` | the whole analysis on one page |
| `ledger.tsv` | every participant and map: used or not, and why |
| `participants.tsv` | everyone with maps here; `analysed` says who is in a group model |
| `sub-*/` | maps pooled over runs and sessions; `stat-n` is the number of maps at each voxel |
| `group/` | group maps, designs, masks, cluster tables and labels, values at peaks, nulls, figures |
| `code/model-*_smdl.json` | the resolved model: run it again to get the same results |
| `code/command.json` | the command, versions, seeds and hashes of the inputs |
| `code/analysis.json`, `code/outputs.json` | which analysis this folder holds, and which files are its own |
| `logs/` | log, citations, crash reports |

## How to read the maps

* `stat-p` holds plain p-values in (0, 1]; those with `desc-` are corrected, the sidecar says how (but
  `desc-permutation`: each element's own p by shuffling). They are two-sided unless the sidecar says
  otherwise.
* `stat-z` is signed and does not depend on sidedness (`desc-varianceGroups`: what corrections by
  shuffling judged where groups have variances of their own).
* Outside the analysis mask (`desc-analysis_mask`) maps are 0, and 1 where they hold p-values.
* In pooled maps, a voxel where `stat-n` is 0 was observed in no map; its effect is missing, not zero.
"""

COLUMNS = {
    "label": "Row of the design: participant (and session)",
    "n_elements_observed": "Number of elements observed in this map",
    "n_elements_lost_only_by_this_row": "Number of elements that the mask lacks because of this map alone",
    "mean_effect": "Mean of the effect over the analysed elements",
    "sd_effect": "Standard deviation of the effect over the analysed elements",
    "correlation_loo": "Spatial correlation with the mean of all other maps",
    "mahalanobis": "Mahalanobis distance from the other maps",
    "cooks_at_peak": "Cook's distance at the strongest peak",
    "leverage": "Leverage of the row in the design",
    "is_outlier": "Whether the row is marked as an outlier (never removed)",
    "outlier_reasons": "Why the row is marked",
    "cluster": "Number of the cluster, as in the label image",
    "peak": "1 is the strongest local maximum of the cluster, larger numbers its further ones",
    "sign": "positive or negative",
    "x": {"Description": "Position in the space of the maps", "Units": "mm"},
    "y": {"Description": "Position in the space of the maps", "Units": "mm"},
    "z": {"Description": "Position in the space of the maps", "Units": "mm"},
    "t": "t value of the fit at the peak",
    "F": "F value of the fit at the peak",
    "z_score": "Statistic that was judged at the peak as a normal deviate (variance groups: Welch's v or G)",
    "p_uncorrected": "Uncorrected p-value at the peak",
    "p_corrected": "Corrected p-value at the peak",
    "size_mm3": {"Description": "Volume of the cluster", "Units": "mm^3"},
    "n_elements": "Number of elements of the cluster",
    "mass": "Sum over the cluster of what the statistic (as z) exceeds the forming threshold by",
    "p_size": "Family-wise corrected p-value of the cluster's size",
    "p_mass": "Family-wise corrected p-value of the cluster's mass",
    "p_tfce": "Family-wise corrected p-value of threshold-free cluster enhancement, smallest in the cluster",
    "p_peak": "Smallest corrected p-value in the cluster (fwe-: of the voxelwise maximum)",
    "true_discovery_proportion": "Lower bound of the share of truly active elements in the cluster",
    "effect": "Effect, in the units of the input maps",
    "effect_lower": "Lower limit of the effect's confidence interval (1 - alpha)",
    "effect_upper": "Upper limit of the effect's confidence interval (1 - alpha)",
    "g": "Hedges' g",
    "g_lower": "Lower limit of Hedges' g (95 %)",
    "g_upper": "Upper limit of Hedges' g (95 %)",
    "region": "Region of the atlas at the peak",
    "cluster_regions": "Regions of the atlas that the cluster reaches, with its share in each",
    "is_significant": "Whether the peak is significant",
    "fitted": "Fitted value of the model",
    "partial_residual": "Effect without the centred share of regressors that the contrast does not weight",
    "statistic_without_row": "Statistic at the peak when this row is left out",
}
"""What the columns of our tables mean."""
