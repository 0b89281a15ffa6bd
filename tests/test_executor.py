"""Threads of the libraries, and memory that work done side by side gives back and asks for again."""

import platform
import sys
from types import ModuleType

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from bids_group import threads
from bids_group.executor import Threads
from bids_group.threads import one_thread_each


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


def n_threads():
    return [one["num_threads"] for one in threadpool_info()]


def test_each_library_has_one_thread_for_a_while():
    with threadpool_limits(2):
        before = n_threads()
        with one_thread_each():
            assert set(n_threads()) == {1}
        assert n_threads() == before


def test_a_library_that_comes_with_a_later_module_has_one_thread_too(monkeypatch):
    n_searches, search = [], threads.ThreadpoolController
    monkeypatch.setattr(threads, "ThreadpoolController", lambda: n_searches.append(1) or search())
    with one_thread_each():
        n_searches.clear()
    with one_thread_each():
        assert not n_searches
    monkeypatch.setitem(sys.modules, "brings_a_library", ModuleType("brings_a_library"))
    with one_thread_each():
        assert len(n_searches) == 1
