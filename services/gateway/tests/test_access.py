"""Tokens, session ids, origins, rates, settings."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from parley_gateway import identity
from parley_gateway.app import check
from parley_gateway.auth import Authenticator, credential
from parley_gateway.config import AccessSettings, GatewaySettings, LimitSettings, ServerSettings
from parley_gateway.identity import ANONYMOUS, Identity, SessionIds, install_secret
from parley_gateway.limits import Addresses, Bucket
from parley_gateway.origin import Origins, is_loopback
from parley_gateway.server import bind
from parley_protocol.faults import FaultCode, ProtocolError
from parley_protocol.installation import SECRET_FILE
from parley_runtime.errors import ConfigError

pytestmark = pytest.mark.unit

SECRET = "a secret of more than sixty-four characters, which tests use and nobody else"


def token(secret=SECRET, algorithm="HS256", **claims):
    return jwt.encode({"sub": "ada", "exp": time.time() + 60, **claims}, secret, algorithm=algorithm)


async def test_a_good_token_names_user_and_tenant():
    auth = Authenticator(AccessSettings(auth_secret=SECRET))
    assert await auth.identify(token(tenant="acme")) == Identity("acme", "ada", known=True)
    assert (await auth.identify(token())).tenant == "default"


BAD = {
    "none": lambda: "",
    "garbage": lambda: "garbage",
    "three parts": lambda: "a.b.c",
    "long": lambda: "x" * 9000,
    "expired": lambda: token(exp=time.time() - 60),
    "another secret": lambda: token(SECRET.upper()),
    "another algorithm": lambda: token(algorithm="HS512"),
    "unsigned": lambda: jwt.encode({"sub": "ada", "exp": time.time() + 60}, None, algorithm="none"),
    "empty sub": lambda: token(sub=""),
    "empty tenant": lambda: token(tenant=""),
    "tenant of another type": lambda: token(tenant=7),
    "no exp": lambda: jwt.encode({"sub": "ada"}, SECRET, algorithm="HS256"),
    "no sub": lambda: jwt.encode({"exp": time.time() + 60}, SECRET, algorithm="HS256"),
}
"""Made in the test itself: one made as tests are collected has expired when a long run comes to it."""


@pytest.mark.parametrize("made", BAD.values(), ids=BAD)
async def test_bad_tokens_are_refused(made):
    bad = made()
    auth = Authenticator(AccessSettings(auth_secret=SECRET))
    with pytest.raises(ProtocolError) as caught:
        await auth.identify(bad)
    assert caught.value.code is FaultCode.UNAUTHORIZED
    assert not bad or bad[:20] not in str(caught.value)


async def test_without_a_secret_everybody_is_anonymous():
    auth = Authenticator(AccessSettings())
    assert not auth.required
    assert await auth.identify("whatever") == ANONYMOUS


def test_where_a_token_may_be():
    assert credential({"authorization": "Bearer one"}, ["parley.token.two"], b"token=three") == "one"
    assert credential({}, ["parley.v1.json", "parley.token.two"], b"token=three") == "two"
    assert credential({}, [], b"a=b&token=three&token=four") == "three"
    assert credential({"authorization": "Basic x"}, [], b"") == ""


def test_a_session_id_belongs_to_its_user():
    ids = SessionIds(b"k" * 32)
    ada, eve = Identity("acme", "ada"), Identity("acme", "eve")
    made = ids.make(ada)
    assert ids.verify(made, ada)
    assert not ids.verify(made, eve)
    assert not ids.verify(made, Identity("other", "ada"))
    assert not SessionIds(b"j" * 32).verify(made, ada)
    for broken in ("", "x", made[:-1], made + "A", "é", "=" * 40):
        assert not ids.verify(broken, ada)


def test_tenant_and_user_cannot_be_shifted_into_each_other():
    ids = SessionIds(b"k" * 32)
    made = ids.make(Identity("ab", "c"))
    assert not ids.verify(made, Identity("a", "bc"))


def test_a_secret_that_another_process_is_writing_is_waited_for(tmp_path, monkeypatch):
    path = tmp_path / SECRET_FILE
    path.touch()
    monkeypatch.setattr(identity.time, "sleep", lambda _: path.write_bytes(b"s" * 32))
    assert install_secret(str(tmp_path)) == b"s" * 32
    path.write_bytes(b"short")
    monkeypatch.setattr(identity.time, "sleep", lambda _: None)
    with pytest.raises(ConfigError, match="damaged"):
        install_secret(str(tmp_path))


def test_the_installations_secret_is_made_once_and_is_private(tmp_path):
    first = install_secret(str(tmp_path / "data"))
    assert first == install_secret(str(tmp_path / "data"))
    assert (tmp_path / "data" / "session.secret").stat().st_mode & 0o077 == 0


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="PARLEY_DATA"):
        install_secret(str(tmp_path / "file" / "below"))


LOCAL = Origins((), loopback=True)
PUBLIC = Origins((), loopback=False)
LISTED = Origins(("https://app.example",), loopback=True)


@pytest.mark.parametrize(
    ("origins", "origin", "host", "allowed"),
    [
        (LOCAL, "", "h", True),
        (LOCAL, "http://localhost:3000", "127.0.0.1:8000", True),
        (LOCAL, "http://127.0.0.1:9", "127.0.0.1:8000", True),
        (LOCAL, "http://[::1]:9", "127.0.0.1:8000", True),
        (LOCAL, "null", "127.0.0.1:8000", True),
        (LOCAL, "file://", "127.0.0.1:8000", True),
        (LOCAL, "https://evil.example", "127.0.0.1:8000", False),
        (LOCAL, "http://rebound.example:8000", "rebound.example:8000", False),
        (LOCAL, "http://localhost.evil.example", "127.0.0.1:8000", False),
        (LOCAL, "http://127.0.0.1.evil.example", "127.0.0.1:8000", False),
        (PUBLIC, "https://chat.example", "chat.example", True),
        (PUBLIC, "https://chat.example:444", "chat.example", False),
        (PUBLIC, "http://localhost", "chat.example", False),
        (PUBLIC, "null", "chat.example", False),
        (PUBLIC, "https://evil.example", "", False),
        (LISTED, "https://app.example", "h", True),
        (LISTED, "HTTPS://APP.example/", "h", True),
        (LISTED, "http://app.example", "h", False),
        (LISTED, "http://localhost", "h", False),
        (Origins(("*",), loopback=False), "https://any.example", "h", True),
    ],
)
def test_origins(origins, origin, host, allowed):
    assert origins.allows(origin, host) is allowed


@pytest.mark.parametrize(("host", "loopback"), [("127.0.0.1", True), ("::1", True), ("localhost", True)])
def test_loopback(host, loopback):
    assert is_loopback(host) is loopback


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "chat.example"])
def test_a_public_address_needs_a_secret(host):
    with pytest.raises(ConfigError, match="PARLEY_AUTH_SECRET"):
        check(GatewaySettings(server=ServerSettings(host=host)))
    check(GatewaySettings(server=ServerSettings(host=host), access=AccessSettings(auth_secret=SECRET)))


def test_a_port_in_use_is_named():
    (listener,) = bind(ServerSettings(port=0))
    listener.listen()
    with listener, pytest.raises(ConfigError, match="PARLEY_PORT"):
        bind(ServerSettings(port=listener.getsockname()[1]))


def test_a_bucket_refills():
    bucket = Bucket(2.0, 3, 0.0)
    assert [bucket.take(0.0) for _ in range(4)] == [True, True, True, False]
    assert bucket.wait_s() == 0.5
    assert bucket.take(0.5)
    assert not bucket.take(0.5)


def test_addresses_have_buckets_of_their_own():
    addresses = Addresses(1.0, 1)
    assert addresses.take("a", 0.0) == 0.0
    assert addresses.take("a", 0.0) == 1.0
    assert addresses.take("b", 0.0) == 0.0
    assert Addresses(0.0, 1).take("a", 0.0) == 0.0


def test_a_client_that_reconnects_every_3_s_for_ever_is_within_the_rate():
    """As documented clients do; a day of it, at the defaults, beside another client of the same address that opens a
    socket every 3 s as well.
    """
    limits = LimitSettings()
    addresses = Addresses(limits.connect_rate / 60, limits.connect_burst)
    waits = [addresses.take("a", at + offset) for at in range(0, 86_400, 3) for offset in (0.0, 1.5)]
    assert set(waits) == {0.0}


def test_a_client_that_reconnects_twice_a_second_is_told_to_wait():
    limits = LimitSettings()
    addresses = Addresses(limits.connect_rate / 60, limits.connect_burst)
    waits = [addresses.take("a", at / 2) for at in range(240)]
    assert waits[:59] == [0.0] * 59
    assert sum(wait > 0.0 for wait in waits) == 91


@pytest.fixture
def jwks():
    """A server of one public key, and the key's private half; counts fetches."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
    body = json.dumps({"keys": [{**public, "kid": "one", "use": "sig", "alg": "RS256"}]}).encode()
    fetches = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            fetches.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/keys", key, fetches
    server.shutdown()
    server.server_close()
    thread.join()


async def test_a_token_signed_with_a_published_key(jwks):
    url, key, fetches = jwks
    auth = Authenticator(AccessSettings(auth_jwks=url))
    claims = {"sub": "ada", "exp": time.time() + 60}
    good = jwt.encode(claims, key, algorithm="RS256", headers={"kid": "one"})
    assert (await auth.identify(good)).user == "ada"
    assert (await auth.identify(good)).user == "ada"
    unknown = jwt.encode(claims, key, algorithm="RS256", headers={"kid": "two"})
    # A public key used as the secret of a symmetric algorithm, and a key address of the token's own.
    forged = jwt.encode(claims, "x" * 64, algorithm="HS256", headers={"kid": "one", "jku": "http://evil.example"})
    for bad in (unknown, unknown, forged):
        with pytest.raises(ProtocolError):
            await auth.identify(bad)
    assert fetches == ["/keys"]


async def test_keys_that_cannot_be_fetched_refuse_everybody():
    auth = Authenticator(AccessSettings(auth_jwks="http://127.0.0.1:9/keys"))
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    with pytest.raises(ProtocolError):
        await auth.identify(jwt.encode({"sub": "a", "exp": time.time() + 9}, key, algorithm="RS256"))
