"""Memory that work done side by side gives back and asks for again."""

import platform

import pytest

from bids_group.executor import Threads


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
@pytest.mark.parametrize("n_procs", [1, 2])
def test_a_thread_keeps_the_memory_of_one_map_for_the_next(n_procs):
    resource = pytest.importorskip("resource")

    def make_maps(_: int) -> int:
        """Fill and free 27 MB three times; count the pages that were new."""
        before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
        for _ in range(3):
            held = [b"\1" * 9_000_000 for _ in range(3)]
            assert len(held) == 3
            del held
        return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before

    n_pages = list(Threads(n_procs=n_procs).map(make_maps, range(8)))
    assert sum(n_pages) < 3 * n_procs * 27_000_000 / resource.getpagesize()
