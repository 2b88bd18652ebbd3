"""How a member of etcd is started, at a site and at the witness: mutual TLS at each of its faces. Pure."""

from infra.settings import SiteName
from infra.topology import Topology
from infra.workloads.documents import ETCD_CLIENT_PORT, ETCD_METRICS_PORT, ETCD_PEER_PORT, TLS

CERTIFICATES = {
    "trusted-ca-file": f"{TLS}/ca.crt",
    "cert-file": f"{TLS}/etcd.crt",
    "key-file": f"{TLS}/etcd.key",
}
REVOKED = f"{TLS}/crl.pem"
"""Certificate, key and revocations are read anew at each handshake: a renewal needs no restart. The authority
is read once."""
PEER_NAME = "etcd-peer.biyi"
"""Whom a member lets in as a peer: the authority vouches for every process of ours, and a peer can vote."""
CIPHERS = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"
CIPHERS += ",TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"
"""Below TLS 1.3, for either kind of key. Source: RFC 9325, 4.2: forward secrecy and AEAD."""


def etcd_flags(topology: Topology, site: SiteName, data_dir: str, *, tells_figures: bool) -> list[str]:
    """Return the flags of the member at `site`.

    `tells_figures`: at a port of their own, so that who reads figures reaches no key. It asks for a
    certificate as the client's port does.
    """
    hosts = topology.etcd_hosts()
    me = hosts[site]
    flags = {
        "name": site,
        "data-dir": data_dir,
        "listen-client-urls": f"https://0.0.0.0:{ETCD_CLIENT_PORT}",
        "advertise-client-urls": f"https://{me}:{ETCD_CLIENT_PORT}",
        "listen-peer-urls": f"https://0.0.0.0:{ETCD_PEER_PORT}",
        "initial-advertise-peer-urls": f"https://{me}:{ETCD_PEER_PORT}",
        "initial-cluster": ",".join(
            f"{name}=https://{host}:{ETCD_PEER_PORT}" for name, host in hosts.items()
        ),
        "initial-cluster-state": "new",
        "heartbeat-interval": "100",
        "election-timeout": "1000",
        "auto-compaction-mode": "revision",
        "auto-compaction-retention": "1000",
        "client-cert-auth": "true",
        "client-crl-file": REVOKED,
        "peer-client-cert-auth": "true",
        "peer-crl-file": REVOKED,
        "peer-cert-allowed-hostname": PEER_NAME,
        # Else a peer's names must lead to the address that it comes from: between the sites that is a node's.
        "experimental-peer-skip-client-san-verification": "true",
        "cipher-suites": CIPHERS,
        **CERTIFICATES,
        **{f"peer-{name}": path for name, path in CERTIFICATES.items()},
    }
    if tells_figures:
        flags["listen-metrics-urls"] = f"https://0.0.0.0:{ETCD_METRICS_PORT}"
    return [f"--{name}={value}" for name, value in flags.items()]


def etcd_health() -> list[str]:
    """Return the command that fails unless the member answers a read that all of etcd agrees on.

    The kubelet has no certificate to show; inside the pod there is one, and it carries 127.0.0.1.
    """
    return [
        "etcdctl",
        f"--endpoints=https://127.0.0.1:{ETCD_CLIENT_PORT}",
        f"--cacert={CERTIFICATES['trusted-ca-file']}",
        f"--cert={CERTIFICATES['cert-file']}",
        f"--key={CERTIFICATES['key-file']}",
        "--dial-timeout=2s",
        "--command-timeout=4s",
        "endpoint",
        "health",
    ]
