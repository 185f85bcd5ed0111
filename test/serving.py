"""Certificates, tokens and servers for tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import datetime
import ipaddress
from pathlib import Path
import queue
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from efm_policy.policy import Policy
from efm_policy.serving import wire
from efm_policy.serving.client import Client
from efm_policy.serving.config import ServingConfig
from efm_policy.serving.server import PolicyServer
from models import FakeTextEncoder, opened, SENTENCE, table_arm
from waiting import scaled, take

WAIT_S = 20.0  # longest wait for an answer, on a machine that does nothing else


def write_certificate(folder: Path, address: str = '127.0.0.1') -> tuple[str, str]:
    """Write a self-signed certificate for an address, and its key; return both paths."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, 'policy server')])
    now = datetime.datetime.now(datetime.timezone.utc)
    hour = datetime.timedelta(hours=1)
    names = [x509.IPAddress(ipaddress.ip_address(address))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - hour)
        .not_valid_after(now + hour)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / 'server.pem').write_bytes(certificate.public_bytes(pem))
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_private(folder / 'server.key', private.decode())
    return str(folder / 'server.pem'), str(folder / 'server.key')


def write_private(path: Path, content: str) -> str:
    """Write a file that only its owner may read; return its path."""
    path.parent.mkdir(exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(content)
    return str(path)


def write_tokens(folder: Path, *robots: str) -> str:
    """Write a folder with a token for each robot; return its path."""
    for index, robot in enumerate(robots):
        write_private(folder / robot, f'{index:x}' * 64 + '\n')
    return str(folder)


def policy() -> Policy:
    """Return the policy of a release with random weights, version 7."""
    return Policy(opened('policy'), FakeTextEncoder(), embodiment=table_arm())


@contextmanager
def serving(acts: Any = None, **changes: Any) -> Iterator[tuple[PolicyServer, str]]:
    """Run a server on a free port of this host; its own name and where it is."""
    server = PolicyServer(
        ServingConfig(**{'port': 0, **changes}),
        table_arm(),
        policy=policy() if acts is None else acts,
    )
    try:
        yield server, f'127.0.0.1:{server.start()}'
    finally:
        server.stop()


class BlockingClient:
    """A robot that blocks until each answer arrives."""

    def __init__(
        self, server: str, robot: str = 'robot_0', *, authority: str = '', token: str = ''
    ):
        self._client = Client(server, robot, authority=authority, token=token)
        self._came: queue.Queue = queue.Queue()

    def begin(self, episode_id: str = 'first', seconds: float | None = None, **fields: Any) -> Any:
        """Return the server's answer to the beginning of an episode."""
        known = {'embodiment_hash': table_arm().hash, 'instruction': SENTENCE, 'seed': 3}
        wait = scaled(WAIT_S) if seconds is None else seconds
        self._client.begin(self._came.put, wait, episode_id=episode_id, **{**known, **fields})
        return self.hear()

    def act(
        self, observation: Any, step: int = 0, seconds: float | None = None, **fields: Any
    ) -> Any:
        """Return the server's answer to an observation; its stamp is the step by default."""
        self.send(observation, step, seconds, **fields)
        return self.hear()

    def send(
        self, observation: Any, step: int = 0, seconds: float | None = None, **fields: Any
    ) -> None:
        """Send a request; ``hear`` waits for the answer."""
        wait = scaled(WAIT_S) if seconds is None else seconds
        known = {'episode_id': 'first', 'step': step, 'stamp': 1 + step}
        self._client.act(self._came.put, wait, observation, **{**known, **fields})

    def hear(self) -> Any:
        """Return the next answer."""
        return take(self._came, 'an answer', WAIT_S)

    def close(self) -> None:
        """End the connection."""
        self._client.close()


def numbers(answer: Any) -> tuple[list, list, float]:
    """Return tokens, values and log-probability of an answer."""
    tokens, values = (wire.to_array(getattr(answer, n), n) for n in ('tokens', 'values'))
    return tokens.tolist(), values.tolist(), answer.log_probability
