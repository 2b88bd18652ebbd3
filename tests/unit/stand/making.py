"""A stand as a value, with ports that nobody listens at."""

from pathlib import Path

from runbooks.stand.ports import choose_ports, needed_ports
from runbooks.stand.topology import Stand

CELLS = {"a": "idc", "b": "cloud"}


def a_stand(copies: int = 2, home: Path = Path("/somewhere"), valkey_tls_bin: Path | None = None) -> Stand:
    ports = choose_ports(needed_ports(CELLS, copies), 20_000, lambda _: True)
    return Stand(copies, ports, Path("/pg/bin"), 18, "token", home=home, valkey_tls_bin=valkey_tls_bin)
