"""Studies of people who come several times, maps of their analyses, and mixed models by dense matrices."""

import json

import nibabel as nib
import numpy as np
from scipy import optimize

from tests.studies import begin_study

STEM = "task-rest_space-MNI"


def write_visits(root, table, maps):
    """Write people who come several times, with the months of each visit.

    ``table`` has a row per visit: ``participant_id``, ``session_id``, ``months``, and what else is known of
    the person. ``maps``: by stat, arrays ``(n_visits, …)``. Names are ``task-rest_space-MNI_contrast-go``.
    """
    people = table.drop(columns=["session_id", "months"]).drop_duplicates()
    first = begin_study(root, people)
    for number, (person, visit) in enumerate(zip(table["participant_id"], table["session_id"], strict=True)):
        folder = first / person / visit / "func"
        folder.mkdir(parents=True)
        for stat, values in maps.items():
            name = f"{person}_{visit}_{STEM}_contrast-go_stat-{stat}_statmap.nii.gz"
            nib.save(nib.Nifti1Image(values[number], np.diag([3.0, 3, 3, 1])), folder / name)
    for person, own in table.groupby("participant_id"):
        (root / person).mkdir()
        path = root / person / f"{person}_sessions.tsv"
        own[["session_id", "months"]].to_csv(path, sep="\t", index=False)


def image(group, stat, label="", desc=""):
    """Numbers of a map of the folder of an analysis, in a row."""
    path = group / f"{STEM}_contrast-go{label}_stat-{stat}{desc}_statmap.nii.gz"
    return np.asarray(nib.load(path).dataobj, dtype=np.float64).ravel()


def sidecar_of(group, stat, label="", desc=""):
    return json.loads((group / f"{STEM}_contrast-go{label}_stat-{stat}{desc}_statmap.json").read_text())


def design_of(table):
    """Columns of ``~ group * months`` (centred) of patients and controls."""
    months, is_patient = table["months"] - table["months"].mean(), (table["group"] == "patient").astype(float)
    return np.column_stack([np.ones(len(table)), is_patient, months, is_patient * months])


def reml(y, X, alike, starts):
    """Fit by generalised least squares at the REML estimate, all matrices dense.

    ``alike``: for each random effect how its rows vary together, ``(n, n)``; ``starts`` of their roots.
    Gives t of the last column, the variance of each effect, and that of the residuals.
    """
    free = len(y) - X.shape[1]

    def solve(roots):
        H = np.eye(len(y)) + sum(root**2 * one for root, one in zip(roots, alike, strict=True))
        inverse = np.linalg.inv(H)
        A = X.T @ inverse @ X
        beta = np.linalg.solve(A, X.T @ inverse @ y)
        square = (y - X @ beta) @ inverse @ (y - X @ beta)
        deviance = np.linalg.slogdet(A)[1] + np.linalg.slogdet(H)[1] + free * np.log(square)
        return deviance, beta, square / free * np.linalg.inv(A), square / free

    options = {"xatol": 1e-9, "fatol": 1e-13, "maxiter": 4000}
    found = [
        optimize.minimize(lambda roots: solve(roots)[0], start, method="Nelder-Mead", options=options)
        for start in starts
    ]
    best = min(found, key=lambda one: one.fun).x
    _, beta, covariance, residual = solve(best)
    return beta[-1] / np.sqrt(covariance[-1, -1]), best**2 * residual, residual
