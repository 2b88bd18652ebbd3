"""A site of a stand whose copies have agents of their own, as in pods: process, settings, watchdog each."""

import asyncio
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import psutil

from replication.model import DATA_SITES, Site, other_data_site
from replication.postgres.copy import Copy
from replication.postgres.processes import read_postmaster
from replication.settings import PlaceSettings, SiteSettings, read_site_settings, write_site_settings
from runbooks.stand.processes import Program, Running, is_alive, mark_of, start_detached
from runbooks.stand.sites import heal_site, live_processes, start_missing
from runbooks.stand.topology import LOOPBACK, read_stand
from runbooks.stand.up import find_binaries
from tests.integration.postgres.places import free_port

NOT_THE_AGENT = ("border", "etcd", "valkey", "api", "projector", "payer", "notary", "watcher", "console")
END_SECONDS = 30.0


class Pods:
    """The agents of one site's copies. Its own site.json has no directory any more: no agent starts by it."""

    def __init__(self, home: Path, site: Site) -> None:
        self.home = home
        self.site = site
        settings = _read(home, site)
        self.urls = {p.name: f"https://{LOOPBACK}:{free_port()}" for p in settings.own_places()}
        self._settings = {place: self._write(settings, place) for place in self.urls}
        """By place: the file that its agent is started with."""
        self._running: dict[str, Running] = {}

    def _write(self, settings: SiteSettings, own: str) -> Path:
        path, port = self.home / self.site / f"{own}.json", int(self.urls[own].rpartition(":")[2])
        told = _with_agents(settings, self.urls)
        places = tuple(p if p.name == own else replace(p, data_dir=None) for p in told.places)
        write_site_settings(path, replace(told, places=places, agent_port=port))
        return path

    def start(self, *places: str) -> None:
        """Start the agents of `places`, all by default, that do not run."""
        for place in places or self._settings:
            if self.lives(place):
                continue
            command = (sys.executable, "-m", "replication.agent", "--settings", str(self._settings[place]))
            name = f"agent-{place}"
            program = Program(name, command, self.settings(place).agent_port)
            log = self.home / self.site / "logs" / f"{name}.log"
            self._running[place] = start_detached(program, mark_of(self.home, self.site, name), log)

    def lives(self, place: str) -> bool:
        """Say whether the agent of a place runs; one that has ended and was not waited for does not."""
        return place in self._running and is_alive(self._running[place])

    def settings(self, place: str) -> SiteSettings:
        return read_site_settings(self._settings[place])

    def agent(self, place: str) -> psutil.Process:
        return psutil.Process(self._running[place].pid)

    def postmaster(self, place: str) -> psutil.Process | None:
        settings = self.settings(place)
        return read_postmaster(Copy.of_place(settings, settings.place(place)))

    def kill(self, place: str) -> None:
        """End a whole pod: the agent, its watchdog and the server at once."""
        agent, server = self.agent(place), self.postmaster(place)
        victims = [agent, *agent.children(recursive=True)]
        victims += [server, *server.children(recursive=True)] if server else []
        for process in victims:
            _kill(process)
        _, alive = psutil.wait_procs(victims, END_SECONDS)
        assert not alive

    async def stop(self) -> None:
        """End all agents as Kubernetes does; each stops its copy cleanly."""
        await _end_agents([self.agent(place) for place in self._running if self.lives(place)])

    async def bring_back_site(self) -> None:
        """Start everything of the site after its loss, with an agent for each copy."""
        heal_site(self.home, self.site)
        await asyncio.to_thread(
            start_missing, read_stand(self.home), self.site, find_binaries(), NOT_THE_AGENT
        )
        self.start()


async def give_each_copy_an_agent(home: Path, site: Site) -> Pods:
    """Replace a site's one agent by one for each of its copies, and tell the other site's agent of them."""
    pods = Pods(home, site)
    for each in DATA_SITES:
        told = _with_agents(_read(home, each), pods.urls)
        if each is site:
            told = replace(told, places=tuple(replace(p, data_dir=None) for p in told.places))
        write_site_settings(home / each / "site.json", told)
    await end_agent_of_site(home, site)
    await end_agent_of_site(home, other_data_site(site))
    start_agent_of_site(home, other_data_site(site))
    pods.start()
    return pods


async def end_agent_of_site(home: Path, site: Site) -> None:
    await _end_agents([psutil.Process(live_processes(home, site)["agent"].pid)])


def start_agent_of_site(home: Path, site: Site) -> None:
    start_missing(read_stand(home), site, find_binaries(), ("agent",))


async def _end_agents(agents: list[psutil.Process]) -> None:
    for agent in agents:
        if agent.is_running():
            os.kill(agent.pid, signal.SIGTERM)
    _, alive = await asyncio.to_thread(psutil.wait_procs, agents, END_SECONDS)
    assert not alive, f"agents that do not end: {alive}"


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return


def _read(home: Path, site: Site) -> SiteSettings:
    return read_site_settings(home / site / "site.json")


def _with_agents(settings: SiteSettings, urls: dict[str, str]) -> SiteSettings:
    def with_agent(place: PlaceSettings) -> PlaceSettings:
        return replace(place, agent_url=urls.get(place.name))

    return replace(settings, places=tuple(map(with_agent, settings.places)))
