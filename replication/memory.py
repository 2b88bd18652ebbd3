"""Memory of processes that live long and whose connections come and go: what has ended is given back.

Under faults connections end by the hundred, and each held a TLS buffer of 256 KiB. Three defaults kept
what they had: glibc raises its threshold for mapping a block of its own to the largest that was ever freed,
so later buffers lie among small objects; what is free between those it keeps; and the collector looks at
old circles of references only once there are a quarter as many new objects as all that the imports made
(docs/decisions/131-memory-is-given-back.md).
"""

import ctypes
import gc
import platform
import threading

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Source: malloc.h of glibc."""
_THRESHOLD_BYTES = 128 * 1024
"""Source: glibc's own first value of both (mallopt(3)); set, it stays."""
TRIM_SECONDS = 60.0
"""Pause between two times in which free pages are given back. Source: our choice; one takes some ms of a heap
that a burst left, and next to nothing of another."""


def settle_memory(trim_seconds: float = TRIM_SECONDS) -> None:
    """Call once, when all is imported and nobody is served yet; changes nothing of what a program does."""
    gc.freeze()
    gc.collect()  # finds next to nothing: it makes the collector count from here on
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        for name in (_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD):
            libc.mallopt(name, _THRESHOLD_BYTES)
        threading.Thread(target=_keep_trimming, args=(libc, trim_seconds), daemon=True, name="trim").start()


def _keep_trimming(libc: ctypes.CDLL, pause_seconds: float) -> None:
    """Give free pages back for as long as the process lives; ctypes lets the others run meanwhile."""
    while not threading.Event().wait(pause_seconds):
        libc.malloc_trim(0)
