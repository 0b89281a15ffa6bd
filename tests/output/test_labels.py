import pytest

from bids_group.labels import camel_label, natural_order


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("f-test", "fTest"),
        ("n_cigs", "nCigs"),
        ("faces > houses", "facesGtHouses"),
        ("faces>houses", "facesGtHouses"),
        ("A - B", "AMinusB"),
        ("A-B", "AB"),
        ("aGtB", "aGtB"),
        ("Größe", "GroE"),
        ("café noir", "cafeNoir"),
        ("group[T.patient]", "groupTPatient"),
        ("2nd level", "2ndLevel"),
        ("../../etc", "etc"),
        ("<>", "Gt"),
        ("…", ""),
    ],
)
def test_names_become_letters_and_digits(name: str, label: str) -> None:
    assert camel_label(name) == label


def test_numbers_sort_as_numbers_and_before_letters():
    labels = ["wk10", "b", "10", "2", "wk2", "x²", "a"]
    assert natural_order(labels) == ["2", "10", "a", "b", "wk2", "wk10", "x²"]
