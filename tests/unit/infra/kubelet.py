"""Stands for the kubelet, as far as it brings a renewed Secret into a running pod."""

import os
import shutil
from pathlib import Path

from replication.tls import CURRENT, REVOKED
from runbooks.stand.certificates import tls_dir


def mount_renewed(home: Path, volume: Path) -> None:
    """Bring what is in force at the cloud into the volume.

    All files are written anew into a directory of their own, then one link changes what every name means.
    """
    made = tls_dir(home, "cloud")
    number = os.readlink(made / CURRENT)
    shutil.copytree(made / number, volume / f"..{number}")
    shutil.copyfile(made / REVOKED, volume / f"..{number}" / REVOKED)
    (volume / "..aside").symlink_to(f"..{number}")
    (volume / "..aside").replace(volume / "..data")
    for path in (volume / "..data").iterdir():
        if not (volume / path.name).is_symlink():
            (volume / path.name).symlink_to(f"..data/{path.name}")
