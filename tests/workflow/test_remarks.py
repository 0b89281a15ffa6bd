"""What a request says that does nothing, or that is likelier a slip than a wish, is told."""

import pytest

from bids_group.cli import main


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--n-permutations 200", "(fdr, bonferroni) uses --n-permutations."),
        (
            "--permutation-p --tail-approximation --n-permutations 200",
            "(fdr, bonferroni) uses --tail-approximation.",
        ),
        ("--cluster-forming-p 0.01", "(fdr, bonferroni) uses --cluster-forming-p."),
        ("--cluster-forming-p 0.01 --correction fwe-tfce", "(fwe-tfce) uses --cluster-forming-p."),
        ("--cluster-forming-p 0.01 --correction none", None),
        ("--cluster-forming-p 0.01 --correction fwe-mass", None),
        ("--cluster-forming-p 0.01 --cluster-extent 100", None),
        ("--cluster-forming-p 0.01 --log10-p", None),
        ("--smoothing-fwhm 31", "--smoothing-fwhm 31 (mm) is wider"),
        ("--smoothing-fwhm 12", None),
        ("--alpha 0.5", "--alpha 0.5 finds more than one analysis in ten"),
        ("--alpha 0.1", None),
    ],
)
def test_options_without_effect_and_odd_numbers_are_told(small, tmp_path, capsys, options, told):
    assert main([str(small), str(tmp_path / "out"), "group", *options.split(), "--dry-run"]) == 0
    said = capsys.readouterr().err
    is_told = any(words in said for words in ("No correction asked for", "Check it: most analyses"))
    assert is_told == (told is not None)
    assert told is None or told in said
