"""Hostile words of the command line."""

import os

from tests.faults.hostile.of_json import DIGITS
from tests.faults.hostile.trials import hostile

_DRY = ("group", "-q", "--dry-run")


def say(*words):
    return lambda study: words


def formula(text):
    return say("--formula", text)


def contrast(text):
    return say("--formula", "~ age", "--contrast", text)


EXPLODES = "~ bs(age, df=50) * bs(age, df=51) * cr(age, df=52)"
_NUMBERS = {
    "--alpha": ("nan", "inf", "1e-400", "1e999999999", "0", "-1"),
    "--smoothing-fwhm": ("nan", "inf", "1e308", "-1"),
    "--min-coverage": ("nan", "inf", "-1", "2"),
    "--cluster-forming-p": ("nan", "0", "1e999"),
    "--n-permutations": (DIGITS, "0", "-1", "9" * 5000),
    "--mem-gb": ("nan", "-1", "0"),
    "--nprocs": ("0", "-1"),
    "--cut-coords": ("inf,0,0", "nan,0,0", "1e999,1,1", "1,2", "a,b,c"),
    "--mask-threshold": ("nan", "inf"),
    "--cluster-extent": ("nan", "-1", "inf"),
}
WORDS = {
    "formula that explodes": hostile(formula(EXPLODES), 64, "formula"),
    "formula that explodes, shown": hostile(formula(EXPLODES), 64, "formula", job=_DRY),
    "formula of a power of 60": hostile(
        formula("~ (" + " + ".join(f"I(age*{n})" for n in range(60)) + ")**60"), 64
    ),
    "formula of 200 stars": hostile(formula("~ " + " * ".join(f"I(age*{n})" for n in range(200))), 64),
    "spline of a million": hostile(formula("~ bs(age, df=1000000)"), 64),
    "spline of degree a million": hostile(formula("~ bs(age, df=5, degree=1000000)"), 64),
    "polynomial of degree a million": hostile(formula("~ poly(age, 1000000)"), (64, 65)),
    "polynomial of degree 1e999": hostile(formula("~ poly(age, 1e999)"), 64),
    "power that never ends": hostile(formula("~ I(9**9**9**9)"), 64),
    "power of age that never ends": hostile(formula("~ I(age**99999999999)"), (64, 65)),
    "number of 5,000 digits": hostile(formula(f"~ I(age * {'9' * 5000})"), 64),
    "number of 1e999999999": hostile(formula("~ I(age * 1e999999999)"), (64, 65)),
    "formula of 10,000 brackets": hostile(formula("~ " + "(" * 10_000 + "age" + ")" * 10_000), 64, "formula"),
    "formula of 10,000 signs": hostile(formula("~ " + "-" * 10_000 + "age"), 64),
    "formula of 10,000 signs in I()": hostile(formula("~ I(" + "-" * 10_000 + "age)"), 64),
    "formula of 100,000 terms": hostile(formula("~ " + " + ".join(["age"] * 100_000)), (0, 64)),
    "formula of 100,000 letters": hostile(formula("~ " + "a" * 100_000), 64),
    "formula of blanks": hostile(formula(" " * 100_000), 64),
    "formula of ESC": hostile(formula("~ \x1b[2Jage"), 64),
    "formula of NUL": hostile(formula("~ age\0"), 64),
    "formula of bytes": hostile(formula("~ \udcff"), 64),
    "formula of backticks that never end": hostile(formula("~ `age" + "`" * 9999), 64),
    "contrast of 10,000 brackets": hostile(
        contrast("c = " + "(" * 10_000 + "age" + ")" * 10_000), 64, "contrast"
    ),
    "contrast of 10,000 signs": hostile(contrast("c = " + "-" * 10_000 + "age"), (0, 64)),
    "contrast of 10,000 terms": hostile(contrast("c = " + " + ".join(["age"] * 10_000)), (0, 64)),
    "contrast times 1e999999999": hostile(contrast("c = 1e999999999*age"), 64, "1e999999999"),
    "contrast by 1e-999999999": hostile(contrast("c = 1e-999999999*age"), 64),
    "contrast over 0": hostile(contrast("c = 1/0*age"), 64),
    "contrast times 400 digits": hostile(contrast(f"c = {DIGITS}*age"), 64),
    "contrast of a long vector": hostile(contrast("c = [" + ",".join(["1"] * 100_000) + "]"), 64),
    "contrast of nested vectors": hostile(contrast("c = " + "[" * 10_000 + "]" * 10_000), 64),
    "contrast of a long name": hostile(contrast("c" * 5000 + " = age"), 64, "name"),
    "contrast of a long name, shown": hostile(contrast("c" * 5000 + " = age"), 64, "name", job=_DRY),
    "contrast of a name of 240": hostile(contrast("c" * 240 + " = age"), 64, "name"),
    "contrast of a name that leads out": hostile(contrast("../../c = age"), (0, 64)),
    "contrast of ESC": hostile(contrast("\x1b[2Jc = \x1b[2Jage"), 64),
    "slope where nothing is": hostile(contrast("c = slope(age, age=1e999999999)"), 64),
    "equivalence of 1e999999999": hostile(contrast("c = equivalent(age, 1e999999999)"), 64),
    "rows out of rows": hostile(say("--exclude-where", "(" * 5000 + "age > 3" + ")" * 5000), 64),
    "rows by a number of 1e999999999": hostile(say("--exclude-where", "age > 1e999999999"), (0, 64, 65)),
    "rows by 20,000 conditions": hostile(
        say("--exclude-where", " and ".join(["age > 99"] * 20_000)), (0, 64)
    ),
    "rows by not not not": hostile(say("--exclude-where", "not " * 10_000 + "age > 3"), (0, 64, 65)),
    "rows by ESC": hostile(say("--exclude-where", "\x1b[2J > 3"), 64),
    **{
        f"{option} {value[:12]}": hostile(say(f"{option}={value}"), 64, option.strip("-")[:6])
        for option, values in _NUMBERS.items()
        for value in values
    },
    "seed of 400 digits": hostile(say("--random-seed", DIGITS), (0, 64)),
    "seed of 5,000 digits": hostile(say("--random-seed", "9" * 5000), 64),
    "memory without bound": hostile(say("--mem-gb", "inf"), (0, 64)),
    "memory of next to nothing": hostile(say("--mem-gb", "1e-300"), (0, 64)),
    "participant of NUL": hostile(say("--participant-label", "0\x003"), 18),
    "participant of ESC": hostile(say("--participant-label", "\x1b[2J"), 18),
    "participant of a megabyte": hostile(say("--participant-label", "0" * 100_000), 18),
    "contrast that nobody has": hostile(say("--first-level-contrast", "x" * 100_000), 18),
    "10,000 participants": hostile(say("--participant-label", *map(str, range(100, 10_100))), 18),
    "space that leads out": hostile(say("--space", "../../x"), 18),
    "mask of NUL": hostile(say("--mask", "a\0b"), (64, 66)),
    "mask of 5,000 characters": hostile(say("--mask", "a" * 5000 + ".nii.gz"), 66),
    "mask of ESC": hostile(say("--mask", "\x1b[2J.nii.gz"), 66),
    "model of bytes": hostile(say("--model", "\udcff.json"), 66),
    "option of ESC": hostile(say("--\x1b[2J"), 64),
    "option of a megabyte": hostile(say("--" + "a" * 100_000), 64),
    "word of ESC": hostile(say("\x1b[2J"), 64),
    "pattern without a person": hostile(say("--maps", "*" * 1000), (64, 66)),
    "pattern of 1,000 stars": hostile(say("--maps", "/".join(["*"] * 1000) + "/{subject}.nii"), (18, 66)),
    "pattern that walks the disk": hostile(say("--maps", "/*/*/*/*/*/*/*/sub-{subject}.nii.gz"), (18, 66)),
    "pattern of ESC": hostile(say("--maps", "\x1b[2J{subject}.nii"), (18, 66)),
    "work folder is a device": hostile(say("--work-dir", "/dev/null"), (0, 73)),
    "work folder in a file": hostile(lambda s: ["--work-dir", str(s.people / "work")], (0, 73)),
    "work folder in /proc": hostile(say("--work-dir", "/proc/work"), (0, 73)),
    "work folder of 5,000 characters": hostile(say("--work-dir", "/tmp/" + "w" * 5000), (0, 66, 73)),
    "design into a device that is full": hostile(say("--print-design", "/dev/full"), (73, 74)),
    "design into a folder": hostile(lambda s: ["--print-design", str(s.data)], 73),
    "dataset is a FIFO": hostile(
        lambda s: (os.mkfifo(s.folder / "pipe"), ["--derivatives", str(s.folder / "pipe")])[1], 66, "pipe"
    ),
    "dataset is /dev": hostile(say("--derivatives", "/dev"), (16, 18, 64, 65, 66, 73)),
    "dataset of a name of ESC": hostile(lambda s: ["--derivatives", f"\x1b[2J={s.first}"], 64),
    "scheduler of nowhere": hostile(
        say("--executor", "dask", "--dask-scheduler", "no-such-thing://\x1b[2J:99999999"), 64
    ),
}
