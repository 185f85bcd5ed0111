from pathlib import Path

from efm_policy.serving.client import Client
from efm_policy.serving.config import ServingConfig
from efm_policy.serving.credentials import is_loopback, read_token, read_tokens, server_credentials
import pytest
from serving import write_certificate, write_private, write_tokens


@pytest.mark.parametrize(
    ('host', 'own'),
    [
        ('127.0.0.1', True), ('127.8.8.8', True), ('::1', True), ('[::1]', True),
        ('localhost', True), ('0.0.0.0', False), ('::', False), ('192.168.0.7', False),
        ('gpu-box', False), ('127.0.0.1.example.com', False), ('', False),
    ],
)  # fmt: skip
def test_loopback_addresses_are_recognised(host, own):
    assert is_loopback(host) == own


@pytest.fixture
def files(tmp_path):
    """Return the three files that a server with a public address needs."""
    certificate, key = write_certificate(tmp_path)
    tokens = write_tokens(tmp_path / 'tokens', 'robot_0')
    return {'certificate': certificate, 'key': key, 'tokens': tokens}


@pytest.mark.parametrize('missing', ['certificate', 'key', 'tokens'])
def test_a_public_address_needs_certificate_key_and_tokens(files, missing):
    config = ServingConfig(address='0.0.0.0', **{**files, missing: ''})
    with pytest.raises(ValueError, match=f'expected certificate, key and tokens.*{missing}'):
        server_credentials(config)


def test_a_public_address_with_all_three_is_accepted(files):
    assert server_credentials(ServingConfig(address='0.0.0.0', **files)) is not None


def test_a_loopback_address_needs_nothing_but_certificate_and_key_come_together(files):
    assert server_credentials(ServingConfig()) is None
    with pytest.raises(ValueError, match='both or none'):
        server_credentials(ServingConfig(key=files['key']))


@pytest.mark.parametrize('mode', [0o640, 0o604, 0o620, 0o666])
def test_a_secret_that_other_users_may_read_is_refused(files, mode):
    for path in (files['key'], f'{files["tokens"]}/robot_0'):
        Path(path).chmod(mode)
    with pytest.raises(ValueError, match='for its owner only'):
        server_credentials(ServingConfig(certificate=files['certificate'], key=files['key']))
    with pytest.raises(ValueError, match='for its owner only'):
        read_tokens(files['tokens'])


@pytest.mark.parametrize('content', ['', 'short', 'x' * 31, 'x' * 20 + ' ' + 'y' * 20, 'ä' * 40])
def test_an_invalid_token_is_refused_and_not_printed(tmp_path, content):
    path = write_private(tmp_path / 'token', content)
    with pytest.raises(ValueError, match='openssl rand -hex 32') as caught:
        read_token(path)
    assert not content or content not in str(caught.value)


def test_a_folder_without_tokens_is_refused(tmp_path):
    with pytest.raises(ValueError, match='expected a file for each robot, got none'):
        read_tokens(tmp_path)
    with pytest.raises(FileNotFoundError, match='tokens: expected a folder'):
        read_tokens(tmp_path / 'none')


@pytest.mark.parametrize('server', ['10.0.0.7:50051', 'gpu-box:50051', '[fe80::1]:50051'])
def test_a_connection_to_another_host_needs_tls(server):
    with pytest.raises(ValueError, match='server_ca'):
        Client(server, 'robot_0')


@pytest.mark.parametrize('server', ['', 'gpu-box', ':50051', 'gpu-box:', 'gpu-box:http'])
def test_a_malformed_server_address_is_refused(server):
    with pytest.raises(ValueError, match='server: expected host:port'):
        Client(server, 'robot_0')


def test_a_missing_certificate_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'server_ca: expected a file, got .*none\.pem'):
        Client('gpu-box:50051', 'robot_0', authority=str(tmp_path / 'none.pem'))
