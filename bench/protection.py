"""Field protection beside the bare engine: seal and open a field, in one process, in turns.

`python -m bench.protection [--rounds 8] [--json]`; writes bench/results/protection.json. Bare is what
`cryptography` costs for the same bytes and nothing else: a key, a cipher, the associated data, the text,
the tag. Ours is the vault as the core uses it: the customer's own key out of the tree, version, AAD of
five parts, header. Both take turns within a round, and the ratio of each round is kept: a machine that is
busy slows both. `gmssl-pyx` (another engine, not a dependency of ours) is measured if it can be imported.
"""

import importlib.util
import json
import os
import platform
import secrets
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from compliance.protection import ring as rings
from compliance.protection.fields import CUSTOMER_ID_NUMBER, NONCE_BYTES
from compliance.protection.held_keys import hold_ring
from compliance.protection.key_tree import plant
from compliance.protection.vault import FixedKeys, Vault

RESULT = Path(__file__).parent / "results" / "protection.json"
GOAL, AIM = 0.5, 0.65
"""Source: our promise for the hot path; 0.65 is the aim."""
FIELDS = 4000
CLEAR = "11010519491231002X"
PEOPLE = [f"C{number:024x}" for number in range(1000)]
AAD = b"biyi|core.customers|id_number|C000000000000000000000001|1"


def seal_bare(key: bytes, text: bytes) -> tuple[bytes, bytes, bytes]:
    """Seal with the engine alone."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    encryptor = Cipher(algorithms.SM4(key), modes.GCM(nonce)).encryptor()
    encryptor.authenticate_additional_data(AAD)
    return nonce, encryptor.update(text) + encryptor.finalize(), encryptor.tag


def open_bare(key: bytes, nonce: bytes, sealed: bytes, tag: bytes) -> bytes:
    """Open with the engine alone."""
    decryptor = Cipher(algorithms.SM4(key), modes.GCM(nonce, tag)).decryptor()
    decryptor.authenticate_additional_data(AAD)
    return decryptor.update(sealed) + decryptor.finalize()


def rate(work: Callable[[int], object]) -> float:
    """Return how often a second `work` was done, over FIELDS times."""
    begun = time.perf_counter()
    for number in range(FIELDS):
        work(number)
    return FIELDS / (time.perf_counter() - begun)


def make_works() -> dict[str, Callable[[int], object]]:
    """Return what is measured, by name; keys of all people are derived before."""
    ring = rings.plant_rings(["idc"], os.urandom)["idc"]
    vault = Vault(FixedKeys(hold_ring(ring)), lambda: secrets.token_bytes(NONCE_BYTES))
    column, key, text = CUSTOMER_ID_NUMBER, os.urandom(16), CLEAR.encode()
    bare = seal_bare(key, text)
    stored = [vault.encrypt(column, row, CLEAR) for row in PEOPLE]
    tree = plant(os.urandom(32))
    works: dict[str, Callable[[int], object]] = {
        "bare_seal": lambda n: seal_bare(key, text),
        "our_seal": lambda n: vault.encrypt(column, PEOPLE[n % 1000], CLEAR),
        "bare_open": lambda n: open_bare(key, *bare),
        "our_open": lambda n: vault.decrypt(column, PEOPLE[n % 1000], stored[n % 1000]),
        "blind_index": lambda n: vault.blind_index(column, CLEAR),
        "derive_key_of_a_customer": lambda n: tree.derive(PEOPLE[n % 1000], 16),
    }
    if importlib.util.find_spec("gmssl_pyx"):
        gmssl_pyx: Any = importlib.import_module("gmssl_pyx")
        nonce = secrets.token_bytes(NONCE_BYTES)
        works["gmssl_pyx_seal"] = lambda n: gmssl_pyx.sm4_gcm_encrypt(
            key, secrets.token_bytes(NONCE_BYTES), AAD, text
        )
        sealed = gmssl_pyx.sm4_gcm_encrypt(key, nonce, AAD, text)
        works["gmssl_pyx_open"] = lambda n: gmssl_pyx.sm4_gcm_decrypt(key, nonce, AAD, *sealed)
    return works


@click.command()
@click.option("--rounds", default=8, show_default=True, type=click.IntRange(2), help="Turns of every work.")
@click.option("--json", "as_json", is_flag=True, help="Print the result object on one line.")
def main(rounds: int, as_json: bool) -> None:
    """Measure and write bench/results/protection.json; exit 1 if a ratio's median is below 0.5."""
    works = make_works()
    for work in works.values():
        work(0)
    found: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            found[name].append(rate(work))
    ratios = {
        kind: [ours / bare for ours, bare in zip(found[f"our_{kind}"], found[f"bare_{kind}"], strict=True)]
        for kind in ("seal", "open")
    }
    result = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "load_average": round(os.getloadavg()[0], 1),
        "rounds": rounds,
        "field_bytes": len(CLEAR),
        "goal": GOAL,
        "aim": AIM,
        "per_second": {name: round(statistics.median(rates)) for name, rates in found.items()},
        "ratio": {kind: round(statistics.median(values), 3) for kind, values in ratios.items()},
        "ratio_of_rounds": {kind: [round(v, 3) for v in values] for kind, values in ratios.items()},
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    click.echo(json.dumps(result) if as_json else json.dumps(result, indent=1))
    sys.exit(0 if min(result["ratio"].values()) >= GOAL else 1)


if __name__ == "__main__":
    main()
