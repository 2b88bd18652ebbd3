"""The projector's own process, killed again and again while rows arrive."""

import asyncio
import random
import sys
from pathlib import Path

from replication.model import DATA_SITES, Site
from replication.projection.valkey import read_held
from replication.settings import CellSettings, SiteSettings, write_site_settings
from tests.integration.postgres.places import PG_BIN, connect_as, free_port
from tests.integration.projection.conftest import Scene
from tests.integration.projection.scene import assert_equal_to_the_copy, in_time, tell

KILLS = 6


def write_settings(scene: Scene, folder: Path) -> Path:
    settings = SiteSettings(
        site=Site.IDC,
        home_dir=folder,
        etcd_urls=(),
        cells=(CellSettings("a", Site.IDC),),
        places=(scene.pair.idc.place, scene.pair.cloud.place),
        agent_urls=dict.fromkeys(DATA_SITES, ""),
        agent_port=free_port(),
        api_port=free_port(),
        valkey_port=scene.server.port,
        pg_bin=PG_BIN,
        passfile=scene.passfile,
        key_file=folder / "none",
        valkey_passfile=scene.server.password_file,
        projector_port=free_port(),
    )
    write_site_settings(folder / "site.json", settings)
    return folder / "site.json"


async def test_rows_are_applied_once_however_often_the_process_is_killed(
    scene: Scene, tmp_path: Path
) -> None:
    settings = write_settings(scene, tmp_path)
    dice = random.Random(11)

    enough = asyncio.Event()

    async def write() -> None:
        async with await connect_as(scene.pair.idc, "biyi_app") as app:
            number = 0
            while not enough.is_set():
                number += 1
                await tell(app, f"L{number % 9}", number)

    async def applied() -> int:
        position = (await read_held(scene.valkey, "a")).position
        return position.applied if position else 0

    writing = asyncio.create_task(write())
    for _ in range(KILLS):
        before = await applied()
        command = (sys.executable, "-m", "core_app.projector", "--settings", str(settings))
        process = await asyncio.create_subprocess_exec(*command)

        async def goes_on(before: int = before) -> bool:
            return await applied() > before + dice.randrange(1, 200)

        await in_time(goes_on, "the projector applies rows")
        process.kill()
        await process.wait()
    enough.set()
    await writing  # to its end: a commit that is cancelled may still come, after the rows were counted
    position = await assert_equal_to_the_copy(scene.projector(), scene.pair.idc, scene.passfile)
    assert position.applied > 100
