from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
import json
import re
import threading

from bags import make_episode, write_bag
from efm_core.episode import Kind
from efm_core.images import decode_image
from efm_data.label_server import LabelServer, MAX_BODY
from efm_data.labelling import LabellingSession
from efm_data.labels import LabelFile
import numpy as np
import pytest
from trainer_fakes import small_embodiment

EMBODIMENT = small_embodiment()
STAGE = 'evaluation_before'


class Browser:
    """Sends requests as a page of the server does."""

    def __init__(self, port):
        self._connection = HTTPConnection('127.0.0.1', port, timeout=10)
        self._port = port

    def get(self, path, **headers):
        return self._send('GET', path, None, headers)

    def post(self, path, fields, **headers):
        own = {'Origin': f'http://127.0.0.1:{self._port}', 'Content-Type': 'application/json'}
        body = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
        named = {name.replace('_', '-'): value for name, value in headers.items()}
        sent = {name: value for name, value in {**own, **named}.items() if value is not None}
        return self._send('POST', path, body, sent)

    def _send(self, method, path, body, headers):
        """Return status, headers and content; JSON content as values."""
        self._connection.request(method, path, body, headers)
        reply = self._connection.getresponse()
        content = reply.read()
        is_json = reply.headers['Content-Type'] == 'application/json'
        return reply.status, reply.headers, json.loads(content) if is_json else content

    def close(self):
        self._connection.close()


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    run = tmp_path_factory.mktemp('run')
    folder = run / 'episodes' / STAGE
    folder.mkdir(parents=True)
    for index in range(3):
        episode = make_episode(EMBODIMENT, index, kind=Kind.EVALUATION)
        write_bag(episode, folder / episode.episode_id)
    return run


@contextmanager
def serving(run) -> Iterator[int]:
    """Serve the attempts of a run; give the port."""
    session = LabellingSession(run, STAGE, embodiment=EMBODIMENT)
    with LabelServer(session) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.port
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope='module')
def port(run):
    with serving(run) as port:
        yield port


@pytest.fixture
def browser(run, port):
    """Return a browser at a server without labels."""
    LabelFile(run).path.unlink(missing_ok=True)
    with closing(Browser(port)) as browser:
        yield browser


def current(browser):
    """Return the attempt that the page shows."""
    return browser.get('/state')[2]['attempt']


def answer(browser, **changes):
    """Return the fields of a label of the current attempt."""
    episode_id = current(browser)['episode_id']
    return {'episode_id': episode_id, 'success_at': 2, 'seconds': 4.5, **changes}


def test_the_page_runs_its_own_script_only(browser):
    status, headers, page = browser.get('/')
    (nonce,) = set(re.findall(r'nonce="(.+?)"', page.decode()))
    assert status == 200
    assert f"script-src 'nonce-{nonce}'" in headers['Content-Security-Policy']
    assert "frame-ancestors 'none'" in headers['Content-Security-Policy']
    assert not re.search(r'(src|href)=|https?://', page.decode())


def test_each_frame_of_each_camera_is_served(browser):
    attempt = current(browser)
    index = int(attempt['episode_id'].rpartition('-')[2])
    images = make_episode(EMBODIMENT, index).observations.images[0]
    for frame in range(attempt['frames']):
        status, headers, data = browser.get(f'/frames/{attempt["position"]}/0/{frame}')
        assert (status, headers['Content-Type']) == (200, 'image/png')
        np.testing.assert_array_equal(decode_image(data), images[frame])


def test_a_label_is_on_the_disk_when_the_next_attempt_is_shown(browser, run):
    first = answer(browser)
    status, _, state = browser.post('/label', first)
    assert (status, state['done'], state['count'], state['seconds']) == (200, 1, 3, 4.5)
    assert state['attempt']['episode_id'] != first['episode_id']
    (label,) = LabelFile(run).read()
    assert (label.key, label.success_at) == ((STAGE, first['episode_id']), 2)
    status, _, state = browser.post('/undo', {'seconds': 0.5})
    assert (state['done'], state['seconds']) == (0, 5.0)
    assert state['attempt']['episode_id'] == first['episode_id']


def test_labels_outlive_the_server(browser, run):
    browser.post('/label', answer(browser, success_at=None))
    with serving(run) as port, closing(Browser(port)) as later:
        assert later.get('/state')[2]['done'] == 1


@pytest.mark.parametrize(
    'origin', ['http://evil.example', 'http://127.0.0.1:1', 'null', None, 'https://127.0.0.1']
)
def test_a_label_of_a_foreign_page_is_refused(browser, run, origin):
    status, _, reply = browser.post('/label', answer(browser), Origin=origin)
    assert status == 403
    assert 'Origin' in reply['error']
    status, _, _ = browser.post('/undo', {'seconds': 0}, Origin=origin)
    assert status == 403
    assert LabelFile(run).read() == []


@pytest.mark.parametrize('kind', ['text/plain', 'application/x-www-form-urlencoded', None])
def test_content_that_a_form_could_send_is_refused(browser, run, kind):
    status, _, _ = browser.post('/label', answer(browser), Content_Type=kind)
    assert status == 415
    assert LabelFile(run).read() == []


@pytest.mark.parametrize('path', ['/', '/state', '/frames/0/0/0'])
def test_another_name_for_this_machine_is_refused(browser, path):
    status, _, reply = browser.get(path, Host='evil.example:80')
    assert status == 403
    assert 'Host' in reply['error']


def test_localhost_is_a_name_of_the_server(browser, port):
    own = {'Host': f'localhost:{port}', 'Origin': f'http://localhost:{port}'}
    assert browser.get('/state', Host=own['Host'])[0] == 200
    assert browser.post('/label', answer(browser), **own)[0] == 200


@pytest.mark.parametrize(
    ('changes', 'status'),
    [
        ({'success_at': 5}, 400),
        ({'success_at': -1}, 400),
        ({'success_at': 1.5}, 400),
        ({'success_at': 'now'}, 400),
        ({'seconds': -1}, 400),
        ({'seconds': 1e300}, 400),
        ({'seconds': float('nan')}, 400),
        ({'episode_id': 'episode-99'}, 409),
        ({'episode_id': ['a']}, 409),
        ({'by': 'somebody else'}, 400),
    ],
)
def test_a_label_with_a_wrong_value_is_refused(browser, run, changes, status):
    found, _, reply = browser.post('/label', answer(browser, **changes))
    assert found == status
    assert reply['error']
    assert LabelFile(run).read() == []


@pytest.mark.parametrize('body', [b'', b'{', b'[1]', b'\xff', b'[' * 4000, b'{"seconds": "x"}'])
def test_a_body_that_is_no_plain_object_is_refused(browser, run, body):
    assert browser.post('/label', body)[0] == 400
    assert LabelFile(run).read() == []


def test_a_large_body_is_refused_before_it_is_read(browser):
    status, headers, _ = browser.post('/label', b' ' * (MAX_BODY + 1))
    assert (status, headers['Connection']) == (413, 'close')


@pytest.mark.parametrize(
    'path',
    [
        '/labels.jsonl',
        '/../labels.jsonl',
        '/frames/0/0/../0',
        '/frames/0/0/5',
        '/frames/0/1/0',
        '/frames/3/0/0',
        '/frames/-1/0/0',
        '/state?x=1',
        '/label',
    ],
)
def test_an_address_outside_the_attempts_does_not_exist(browser, path):
    assert browser.get(path)[0] == 404


def test_an_unknown_action_does_not_exist(browser):
    assert browser.post('/delete', {})[0] == 404


def test_a_port_in_use_is_named(run, port):
    session = LabellingSession(run, STAGE, embodiment=EMBODIMENT)
    with pytest.raises(OSError, match=f'port: expected a free one, got {port}'):
        LabelServer(session, port)
