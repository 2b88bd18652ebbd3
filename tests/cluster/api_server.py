"""A real Kubernetes API server on a real etcd of its own, without nodes: one site's cluster.

Programs come from `BIYI_CLUSTER_TOOLS`, which `.ci/cluster-tools` prints. Each server has an etcd, the
controllers that end namespaces and what is deleted, and a context in one kubeconfig.
"""

import json
import os
import signal
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from runbooks.stand.binaries import find_etcd
from tests.integration.frozen import freeze
from tests.integration.postgres.places import free_port

TOKEN = "known-in-tests"
START_SECONDS = 180
"""Patience with a start: 5 s on an idle machine, a minute on one that builds meanwhile."""


def tools() -> Path:
    """Return the directory of the tools; a missing one is an error, never a skip."""
    found = os.environ.get("BIYI_CLUSTER_TOOLS")
    assert found, "BIYI_CLUSTER_TOOLS is not set: run `make test-cluster`"
    return Path(found)


@dataclass
class ApiServer:
    """One site's API server."""

    name: str
    directory: Path
    port: int = field(default_factory=free_port)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start etcd, the API server and its two controllers; the data of an earlier start is kept."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._etcd()
        self._server()
        self._await_ready()
        self._controller()

    def _run(self, name: str, command: list[str]) -> None:
        with (self.directory / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(command, stdout=log, stderr=log)

    def _etcd(self) -> None:
        client, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        flags = {
            "name": "only", "data-dir": str(self.directory / "etcd"), "listen-client-urls": client,
            "advertise-client-urls": client, "listen-peer-urls": peer, "initial-advertise-peer-urls": peer,
            "initial-cluster": f"only={peer}", "log-level": "error", "unsafe-no-fsync": "true",
        }  # fmt: skip
        self._etcd_url = client
        self._run("etcd", [str(find_etcd()[0]), *(f"--{key}={value}" for key, value in flags.items())])

    def _server(self) -> None:
        key = self.directory / "accounts.key"
        if not key.exists():
            made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
            form = serialization.PrivateFormat.TraditionalOpenSSL
            plain = serialization.NoEncryption()
            key.write_bytes(made.private_bytes(serialization.Encoding.PEM, form, plain))
            (self.directory / "tokens.csv").write_text(f'{TOKEN},admin,admin,"system:masters"\n')
        flags = {
            "etcd-servers": self._etcd_url,
            "bind-address": "127.0.0.1",
            "advertise-address": "127.0.0.1",
            "secure-port": str(self.port),
            "cert-dir": str(self.directory / "certificates"),
            "service-cluster-ip-range": "10.0.0.0/24",
            "service-account-issuer": "https://kubernetes.default.svc",
            "service-account-key-file": str(key),
            "service-account-signing-key-file": str(key),
            "authorization-mode": "RBAC",
            "token-auth-file": str(self.directory / "tokens.csv"),
            "disable-admission-plugins": "ServiceAccount",
            "endpoint-reconciler-type": "none",
        }
        program = str(tools() / "kube-apiserver")
        self._run("server", [program, *(f"--{name}={value}" for name, value in flags.items())])

    def _controller(self) -> None:
        kubeconfig = self.directory / "kubeconfig"
        write_kubeconfig(kubeconfig, self)
        flags = {
            "kubeconfig": str(kubeconfig), "leader-elect": "false", "secure-port": "0",
            "controllers": "namespace-controller,garbage-collector-controller",
        }  # fmt: skip
        program = str(tools() / "kube-controller-manager")
        self._run("controller", [program, *(f"--{name}={value}" for name, value in flags.items())])

    def _await_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            ended = {name: p.poll() for name, p in self.processes.items() if p.poll() is not None}
            assert not ended, f"{ended}: {(self.directory / f'{next(iter(ended))}.log').read_text()[-2000:]}"
            try:
                self.ask("GET", "/readyz")
            except (urllib.error.URLError, OSError):
                time.sleep(0.25)
            else:
                return
        raise AssertionError(f"{self.name} not ready: {(self.directory / 'server.log').read_text()[-2000:]}")

    def ask(self, method: str, path: str, body: object = None, content: str = "application/json") -> Any:
        """Ask as administrator; returns the answer's document, or its text."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": content}
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        context = ssl.create_default_context(cafile=str(self.directory / "certificates/apiserver.crt"))
        with urllib.request.urlopen(request, timeout=60, context=context) as answer:
            text = answer.read().decode()
        return json.loads(text) if text.startswith(("{", "[")) else text

    def found(self, path: str) -> Any:
        """Return what is at a path, None where nothing is."""
        try:
            return self.ask("GET", path)
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 404:
                    return None
                raise

    def kill(self) -> None:
        """Lose the API server and its etcd at once."""
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)
            process.kill()
        for process in self.processes.values():
            process.wait()
        self.processes.clear()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Hold the API server still: connections open, no answer comes."""
        freeze(self.processes["server"].pid)
        try:
            yield
        finally:
            self.processes["server"].send_signal(signal.SIGCONT)


def write_kubeconfig(path: Path, *servers: ApiServer, token: str = TOKEN) -> Path:
    """Write a kubeconfig with a context for each server, named as the server."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": one.name,
                "cluster": {
                    "server": one.url,
                    "certificate-authority": str(one.directory / "certificates/apiserver.crt"),
                },
            }
            for one in servers
        ],
        "users": [{"name": "admin", "user": {"token": token}}],
        "contexts": [
            {"name": one.name, "context": {"cluster": one.name, "user": "admin"}} for one in servers
        ],
        "current-context": servers[0].name,
    }
    path.write_text(yaml.safe_dump(document))
    path.chmod(0o600)
    return path
