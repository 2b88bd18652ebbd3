"""How a copy's PostgreSQL is reached, decided by where it listens: Unix socket, own machine, or TLS. Pure.

One place for both ends, so that no client can ask for less than the server offers. Beyond the machine there
is no plain TCP: a server whose build has no OpenSSL refuses to start with these settings, and a client
without an authority to check the server by refuses to connect.
"""

import enum
from typing import Any

from replication.settings import PlaceSettings, TlsAddress

OWN = "own"
"""Name of the process's own certificate and key beside `current`; links, made by who deploys."""
_LOOPBACK = "127.0.0.1"


class Transport(enum.StrEnum):
    """How bytes get to a copy."""

    SOCKET = "socket"
    """A Unix socket in a private directory; between sites the borders' tunnel carries it."""
    LOOPBACK = "loopback"
    """TCP that cannot leave the machine: a server that stands alone in a test or on a bench."""
    TLS = "tls"
    """TCP with mutual TLS 1.3: a pod of its own."""


def decide_transport(place: PlaceSettings) -> Transport:
    """Say how a copy is reached; ValueError when it stands beyond the machine and has no certificates."""
    if place.socket_path:
        return Transport.SOCKET
    if place.tls_dir is not None:
        return Transport.TLS
    if place.host == _LOOPBACK:
        return Transport.LOOPBACK
    raise ValueError(f"places.{place.name}: host is {place.host} and tls_dir is not set: needs certificates")


def plan_listening(place: PlaceSettings) -> dict[str, str]:
    """Return the server's settings of where and how it listens."""
    transport = decide_transport(place)
    listening = {
        "listen_addresses": _LOOPBACK if transport is Transport.LOOPBACK else "",
        "port": str(place.port),
        "unix_socket_directories": place.host if transport is Transport.SOCKET else "",
        "unix_socket_permissions": "0700",
    }
    if transport is not Transport.TLS:
        return listening
    files = _files(place)
    return listening | {
        "listen_addresses": "*",  # a pod's own addresses; NetworkPolicy says who may ask
        "ssl": "on",
        "ssl_cert_file": files["sslcert"],
        "ssl_key_file": files["sslkey"],
        "ssl_ca_file": files["sslrootcert"],
        "ssl_crl_file": files["sslcrl"],
        "ssl_min_protocol_version": "TLSv1.3",
    }


def plan_rule(place: PlaceSettings, who: str) -> str:
    """Return the line of pg_hba.conf that lets in `who` (databases and roles) with a password."""
    match decide_transport(place):
        case Transport.SOCKET:
            return f"local {who} scram-sha-256\n"
        case Transport.LOOPBACK:
            return f"host {who} {_LOOPBACK}/32 scram-sha-256\n"
        case Transport.TLS:
            return f"hostssl {who} all scram-sha-256 clientcert=verify-ca\n"


def plan_calling(place: PlaceSettings) -> dict[str, Any]:
    """Return the words of a connection string that say where and how to call, never less than is asked."""
    address = {"host": place.host, "port": place.port, "gssencmode": "disable"}
    if decide_transport(place) is not Transport.TLS:
        return address | {"sslmode": "disable"}
    return address | {
        "sslmode": "verify-full",
        **_files(place),
        "ssl_min_protocol_version": "TLSv1.3",
        "channel_binding": "require",  # the password's proof is worth nothing in another connection
    }


def plan_valkey(at: TlsAddress) -> dict[str, Any]:
    """Return redis-py's words for calling Valkey by mutual TLS: its certificate carries the host's name.

    The server takes no list of revocations: a stolen client's certificate is good there until it runs out.
    """
    return {
        "host": at.host,
        "port": at.port,
        "ssl": True,
        "ssl_cert_reqs": "required",
        "ssl_check_hostname": True,
        "ssl_ca_certs": f"{at.tls_dir}/current/ca.crt",
        "ssl_certfile": f"{at.tls_dir}/current/{at.holder}.crt",
        "ssl_keyfile": f"{at.tls_dir}/current/{at.holder}.key",
    }


def _files(place: PlaceSettings) -> dict[str, str]:
    return {
        "sslrootcert": f"{place.tls_dir}/current/ca.crt",
        "sslcrl": f"{place.tls_dir}/crl.pem",
        "sslcert": f"{place.tls_dir}/{OWN}.crt",
        "sslkey": f"{place.tls_dir}/{OWN}.key",
    }
