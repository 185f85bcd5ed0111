"""Options of the policy server."""

from __future__ import annotations

from efm_core.config import config, parameter


@config
class ServingConfig:
    """Where the policy server listens, how it verifies robots, and how it forms batches."""

    address: str = parameter(
        '127.0.0.1',
        'Address to listen on; other than loopback only with certificate, key and tokens',
    )
    port: int = parameter(50051, 'Port to listen on; 0: any free port', '', 0, 65535)
    certificate: str = parameter('', "PEM file with the server's certificate; empty: no TLS")
    key: str = parameter(
        '', "PEM file with the certificate's private key, readable by its owner only"
    )
    tokens: str = parameter('', 'Folder with one token file for each robot, named for the robot')
    max_batch: int = parameter(
        16, 'Largest batch of observations; 1: no micro-batching', 'observations', 1, 64
    )
    max_wait_s: float = parameter(
        0.01,
        'Longest time that an observation waits for others; never longer than half the cost of '
        'a batch',
        's',
        0.0,
        1.0,
    )
    max_robots: int = parameter(64, 'Largest number of sessions', 'robots', 1, 1024)
    session_s: float = parameter(
        60.0, 'Idle time after which another robot may take a session', 's', 1.0, 86400.0
    )
    longest_wait_s: float = parameter(10.0, 'Deadline of a request that has none', 's', 0.1, 600.0)
    max_calls: int = parameter(
        4,
        'Largest number of open requests of one robot, or of one connection without tokens',
        'requests',
        2,
        64,
    )
    request_s: float = parameter(
        2.0, 'Longest time from the headers of a request to its end', 's', 0.1, 60.0
    )
    max_message_bytes: int = parameter(
        4_194_304, 'Largest message, in both directions', 'bytes', 4096, 268_435_456
    )
