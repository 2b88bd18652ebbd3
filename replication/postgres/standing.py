"""The agent's standing connection to its own server: looked through every tick, acted through when told."""

from replication.postgres.copy import Copy
from replication.postgres.observe import AdminConnection, connect_admin


class StandingConnection:
    """One administrator's connection to one copy, made anew after it broke."""

    def __init__(self, copy: Copy) -> None:
        self.copy = copy
        self._connection: AdminConnection | None = None

    @property
    def current(self) -> AdminConnection | None:
        """The connection there is, None when there is none."""
        return self._connection

    async def get(self) -> AdminConnection:
        """Return the connection; psycopg.Error, TimeoutError or OSError when there can be none."""
        if self._connection is None or self._connection.closed:
            self._connection = await connect_admin(self.copy.place, self.copy.passfile)
        return self._connection

    async def close(self) -> None:
        """Drop the connection; the next `get` makes another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()
