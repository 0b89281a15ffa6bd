"""Pooled maps, one after the other: from the cache in OUTPUT_DIR where it fits, else pooled now."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from bids_group.model import pool
from bids_group.output import is_pooled, pooling_key, read_pooled, write_pooled
from bids_group.records import Observation, PooledMap

Item = TypeVar("Item")
Result = TypeVar("Result")


def pooled_maps(
    observations: Sequence[Observation],
    output_dir: Path,
    *,
    dataset_names: Mapping[str, Path],
    n_procs: int,
) -> Iterator[PooledMap]:
    """Yield the pooled map of each observation, in order; `n_procs` threads read ahead.

    Reading, unpacking and arithmetic release the interpreter's lock; the numbers do not depend on `n_procs`.
    """

    def take(one: Observation) -> PooledMap:
        return pool_one(one, output_dir, dataset_names)

    return read_ahead(take, observations, n_procs=n_procs)


def pool_one(observation: Observation, output_dir: Path, dataset_names: Mapping[str, Path]) -> PooledMap:
    """Take one observation from the cache, or pool and write it.

    The key of what is written comes from the bytes that were pooled, which are read once: a file that changes
    meanwhile is never kept under the key of other bytes. Inputs are hashed first only where a key stands.
    """
    if is_pooled(output_dir, observation):
        key = pooling_key(observation)
        cached = read_pooled(output_dir, observation, key, dataset_names=dataset_names)
        if cached is not None:
            return cached
    pooled = pool(observation)
    key = pooling_key(observation, pooled.input_hashes)
    write_pooled(output_dir, pooled, key, dataset_names=dataset_names)
    return pooled


def read_ahead(do: Callable[[Item], Result], items: Sequence[Item], *, n_procs: int) -> Iterator[Result]:
    """Map `do` over `items` in order with at most ``2 n_procs`` results waiting."""
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(max_workers=n_procs) as threads:
        try:
            for item in items:
                waiting.append(threads.submit(do, item))
                if len(waiting) > 2 * n_procs:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            threads.shutdown(wait=True, cancel_futures=True)
