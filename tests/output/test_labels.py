import pytest

from bids_group.labels import camel_label


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
