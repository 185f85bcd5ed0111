"""Numbers of the policy server."""

from __future__ import annotations

from dataclasses import dataclass

from efm_core.config import check, parameter


@dataclass(frozen=True, kw_only=True)
class ServingConfig:
    """Where a policy server listens, whom it answers, and how it puts batches together."""

    address: str = parameter(
        '127.0.0.1', 'Where to listen; beyond this host only with certificate, key and tokens'
    )
    port: int = parameter(50051, 'Where to listen; 0 takes a free one', '', 0, 65535)
    certificate: str = parameter('', "PEM file with the server's certificate; empty for no TLS")
    key: str = parameter('', 'PEM file with its private key, readable by its owner only')
    tokens: str = parameter(
        '', "Folder with a file for each robot, named for it, that holds the robot's token"
    )
    max_batch: int = parameter(
        16, 'Observations answered together; 1 for no micro-batching', 'observations', 1, 64
    )
    max_wait_s: float = parameter(
        0.01,
        'Longest time that an observation waits for those of other robots; never longer than half '
        'of what a batch costs',
        's',
        0.0,
        1.0,
    )
    max_robots: int = parameter(64, 'Robots with a session at once', 'robots', 1, 1024)
    session_s: float = parameter(
        60.0, 'A session that was not used for this long gives way to others', 's', 1.0, 86400.0
    )
    longest_wait_s: float = parameter(
        10.0, 'A request without a deadline of its own gets this one', 's', 0.1, 600.0
    )
    max_message_bytes: int = parameter(
        4_194_304, 'Longest message, either way', 'bytes', 4096, 268_435_456
    )

    def __post_init__(self):
        """Refuse a value out of range."""
        check(self)
