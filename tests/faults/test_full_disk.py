"""Maps in a file that is mapped into memory: a full disk is told when it is made, not by SIGBUS later."""

import errno
import shutil


def test_a_full_disk_where_maps_lie_in_files(disturbed, few, job, undisturbed, contents_of, tmp_path, tally):
    """No file in the work folder finds room, from the n-th on; so small a memory holds no map."""
    out, work, failures = tmp_path / "out", tmp_path / "work", []
    words = [*job, "--mem-gb", "0.000001", "--work-dir", work]
    whole = disturbed.run(few, out, *words, folders=[work])
    assert whole.code == 0, whole.said
    assert contents_of(out) == undisturbed
    total = whole.counts["write"]
    for n in range(1, total + 1):
        shutil.rmtree(out)
        first = disturbed.run(few, out, *words, folders=[work], fault=("write", n, "onward", errno.ENOSPC))
        again = disturbed.run(few, out, *words)
        is_told = first.code in (73, 74) and "No space left on device" in first.said
        if first.complaint or not is_told or again.code or contents_of(out) != undisturbed:
            failures.append(f"n = {n}: {first.code} {first.said}, then {again.code} {again.said}")
    assert total >= 2
    tally("full disk, maps in files", failures, total)
