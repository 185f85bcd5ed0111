"""
Authentication and encryption between robots and a policy server: tokens, private files, TLS.

A server that other hosts can reach must have a certificate, a key and tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
import hashlib
import hmac
import ipaddress
from pathlib import Path
import re
import stat

from efm_core.config import expect
from efm_policy.serving.config import ServingConfig
import grpc

TOKEN = re.compile(r'[\x21-\x7e]{32,}')  # 32 or more printable ASCII characters
HEADER = 'authorization'  # name of the metadata entry with the token


def is_loopback(host: str) -> bool:
    """Return whether an address or name is a loopback address of this host."""
    try:
        return ipaddress.ip_address(host.strip('[]')).is_loopback
    except ValueError:
        return host == 'localhost'


def read_private(path: str | Path, what: str) -> bytes:
    """
    Return the content of a file that only its owner may read.

    :param what: name of the file in error messages.
    :raises FileNotFoundError: when the file does not exist.
    :raises ValueError: when other users may read or write the file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{what}: expected a file, got {path}')
    mode = stat.S_IMODE(path.stat().st_mode)
    expect(not mode & 0o077, f'{what}: {path}', 'a file for its owner only (chmod 600)', oct(mode))
    return path.read_bytes()


def read_token(path: str | Path) -> str:
    """
    Return the token in a private file.

    :raises FileNotFoundError: when the file does not exist.
    :raises ValueError: when other users may read the file, or it holds no token. The message
        never contains the content of the file.
    """
    token = read_private(path, 'token').decode('ascii', 'replace').strip()
    expect(
        bool(TOKEN.fullmatch(token)),
        f'token: {path}',
        '32 or more letters and digits, as of `openssl rand -hex 32`',
        f'{len(token)} or other characters',
    )
    return token


def read_tokens(folder: str | Path) -> dict[str, bytes]:
    """
    Return the hash of each robot's token; the files of the folder are named for the robots.

    :raises FileNotFoundError: when the folder does not exist.
    :raises ValueError: when the folder is empty, or as ``read_token``.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f'tokens: expected a folder, got {folder}')
    paths = [path for path in sorted(folder.iterdir()) if not path.name.startswith('.')]
    expect(bool(paths), f'tokens: {folder}', 'a file for each robot', 'none')
    return {path.name: digest(read_token(path)) for path in paths}


def digest(token: str) -> bytes:
    """Return the SHA-256 of a token; the server stores only this."""
    return hashlib.sha256(token.encode()).digest()


def is_known(robot: str, metadata: Mapping[str, str | bytes], tokens: Mapping[str, bytes]) -> bool:
    """
    Return whether the metadata of a request contain the robot's token.

    :param metadata: of the gRPC request.
    :param tokens: hash of each robot's token.
    """
    scheme, _, token = str(metadata.get(HEADER, '')).partition(' ')
    expected = tokens.get(robot, b'')
    return hmac.compare_digest(digest(token), expected) and scheme == 'Bearer'


def find_robot(metadata: Mapping[str, str | bytes], tokens: Mapping[str, bytes]) -> str:
    """
    Return the robot whose token the metadata of a request contain; empty for none.

    Arguments as in ``is_known``. Every token is compared, so that the time tells nothing.
    """
    scheme, _, token = str(metadata.get(HEADER, '')).partition(' ')
    given = digest(token)
    known = [robot for robot, expected in tokens.items() if hmac.compare_digest(given, expected)]
    return known[0] if known and scheme == 'Bearer' else ''


def server_credentials(config: ServingConfig) -> grpc.ServerCredentials | None:
    """
    Return the server's TLS credentials; None for a server without TLS.

    :raises ValueError: when other hosts can reach the address, but certificate, key or tokens are
        missing.
    :raises FileNotFoundError: when a file does not exist.
    """
    given = {name: getattr(config, name) for name in ('certificate', 'key', 'tokens')}
    missing = [name for name, value in given.items() if not value]
    if not is_loopback(config.address):
        expect(not missing, f'address {config.address}', 'certificate, key and tokens', missing)
    expect(
        bool(config.certificate) == bool(config.key),
        'certificate, key',
        'both or none',
        'one of them',
    )
    if not config.certificate:
        return None
    if not Path(config.certificate).is_file():
        raise FileNotFoundError(f'certificate: expected a file, got {config.certificate}')
    pair = (read_private(config.key, 'key'), Path(config.certificate).read_bytes())
    return grpc.ssl_server_credentials([pair])


def channel_credentials(server: str, authority: str) -> grpc.ChannelCredentials | None:
    """
    Return a robot's TLS credentials for a server; None for a connection without TLS.

    :param server: ``host:port``.
    :param authority: PEM file to check the server's certificate against; empty for no TLS.
    :raises ValueError: when ``server`` is malformed, or on another host and without TLS.
    :raises FileNotFoundError: when the file does not exist.
    """
    host, separator, port = server.rpartition(':')
    expect(bool(separator and host and port.isdigit()), 'server', 'host:port', repr(server))
    if not authority:
        expect(
            is_loopback(host),
            'server_ca',
            f'a PEM file, because connections to another host ({host}) need TLS',
            'none',
        )
        return None
    if not Path(authority).is_file():
        raise FileNotFoundError(f'server_ca: expected a file, got {authority}')
    return grpc.ssl_channel_credentials(Path(authority).read_bytes())
