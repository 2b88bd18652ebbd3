"""People whose personal data are read all the time while keys change: every answer is compared.

Beside a drill's load, which registers people but never looks at them again. Each read that is not
exactly the masked person who was registered is a defect, and none is tried again.
"""

import asyncio
import itertools
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

import aiohttp

from compliance.protection.fields import CUSTOMER_ID_NUMBER, CUSTOMER_NAME, CUSTOMER_PHONE
from compliance.protection.masking import mask
from replication.tls import Tls
from runbooks.drills.arrivals import Person, make_person
from runbooks.drills.load import LoadError

_AT_ONCE = 8
"""Registrations side by side. Source: our choice, well below an entrance's pool of 20."""
_PAUSE_S = 0.05
"""Between two reads. Source: our choice; 20 a second find a gap of a twentieth of a second."""
_TIMEOUT_S = 15.0
"""Patience with one answer. Source: our choice, half as long again as the entrance's own deadline."""


@dataclass(slots=True)
class Readers:
    """Registered people, and what reading them came to."""

    entrances: Mapping[str, str]
    token: str
    """What the people of this run are made from."""
    tls: Tls
    bearer: str = field(repr=False)
    """The token of a channel: only who may read people reads them."""
    people: dict[str, Person] = field(default_factory=dict)
    reads: int = 0
    defects: list[str] = field(default_factory=list)

    async def register(self, count: int) -> None:
        """Register `count` people by both entrances in turn; LoadError when one is refused."""
        turn = asyncio.Semaphore(_AT_ONCE)
        urls = itertools.cycle(self.entrances.values())

        async def one(session: aiohttp.ClientSession, number: int, url: str) -> None:
            person = make_person(self.token, number)
            body = {"name": person.name, "id_number": person.id_number, "phone": person.phone}
            headers = {"Idempotency-Key": uuid.uuid4().hex}
            async with turn, session.post(f"{url}/v1/customers", json=body, headers=headers) as answer:
                if answer.status not in (200, 201):
                    raise LoadError(f"a person could not be registered: {answer.status} from {url}")
                self.people[(await answer.json())["customer_id"]] = person

        async with self._session() as session:
            await asyncio.gather(*(one(session, n, next(urls)) for n in range(count)))

    async def read_until(self, stop: asyncio.Event) -> None:
        """Read people one after the other, by both entrances in turn, until `stop`."""
        rounds = itertools.cycle(itertools.product(self.people, self.entrances))
        async with self._session() as session:
            for customer_id, site in rounds:
                if stop.is_set():
                    return
                await self._read(session, customer_id, site)
                await asyncio.sleep(_PAUSE_S)

    async def read_all(self) -> None:
        """Read every person once by each entrance."""
        async with self._session() as session:
            for customer_id, site in itertools.product(self.people, self.entrances):
                await self._read(session, customer_id, site)

    def _session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self.tls),
            headers={"Authorization": f"Bearer {self.bearer}"},
            timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S),
        )

    async def _read(self, session: aiohttp.ClientSession, customer_id: str, site: str) -> None:
        self.reads += 1
        try:
            async with session.get(f"{self.entrances[site]}/v1/customers/{customer_id}") as answer:
                body = await answer.json(content_type=None)
                if answer.status != 200:
                    self.defects.append(f"{customer_id} by {site}: {answer.status}")
                elif any(body.get(name) != value for name, value in _seen(self.people[customer_id]).items()):
                    self.defects.append(f"{customer_id} by {site}: another person's data, or garbled")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self.defects.append(f"{customer_id} by {site}: {type(error).__name__}")


def _seen(person: Person) -> dict[str, str]:
    clear = {CUSTOMER_NAME: person.name, CUSTOMER_ID_NUMBER: person.id_number, CUSTOMER_PHONE: person.phone}
    return {column.name: mask(value, column.shape, column.data_class) for column, value in clear.items()}
