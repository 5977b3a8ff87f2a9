"""What the disk itself can do: the limit of everything that is synced."""

from __future__ import annotations

import os
import time

from .bench import Bench
from .results import Sample

_STEP = 1 << 20


def big_sync(bench: Bench) -> Sample:
    """Writes a big file in steps of 1 MiB and syncs it once."""
    block = os.urandom(_STEP)
    target = os.open(bench.folder("disk") / "big", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        began = time.monotonic()
        for _ in range(bench.scale.big_mib):
            os.write(target, block)
        os.fdatasync(target)
        seconds = time.monotonic() - began
    finally:
        os.close(target)
    return Sample({"mb_per_s": bench.scale.big_mib * _STEP / seconds / 1e6, "seconds": seconds}, files=1)
