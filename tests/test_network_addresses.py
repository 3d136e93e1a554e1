"""Addresses: their redaction, which are trusted, and files fetched from those that users type."""

from __future__ import annotations

import base64
import hashlib
import http.client
import io
import urllib.request
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.file_server import BODY, CUT, Handler, Server, chunked, chunked_and_cut, cut, remote, status, unbounded

from resnet_cli.errors import ConfigError, NetworkError
from resnet_cli.network import addresses
from resnet_cli.network.download import fetch, fetch_url
from resnet_cli.network.requests import HttpsStaysHttps
from resnet_cli.system.paths import data_dir

pytest_plugins = ["support.server_fixtures"]
pytestmark = pytest.mark.usefixtures("quick_and_direct")

SHA256 = hashlib.sha256(BODY).hexdigest()


def test_a_users_address_lands_in_a_folder_of_its_own_and_is_fetched_once(server: Server) -> None:
    url = f"{server.url}/shared/pets.zip"
    path = fetch_url(url)
    assert path == data_dir() / "urls" / hashlib.sha256(url.encode()).hexdigest()[:16] / "pets.zip"
    assert path.read_bytes() == BODY
    assert fetch_url(url) == fetch_url(url, offline=True) == path
    assert len(server.requests) == 1
    assert fetch_url(f"{server.url}/other/pets.zip") != path


def test_a_hash_in_the_address_decides(server: Server) -> None:
    path = fetch_url(f"{server.url}/a.zip#sha256={SHA256.upper()}")
    assert path.read_bytes() == BODY
    # The same file without the hash is the same file.
    assert fetch_url(f"{server.url}/a.zip") == path
    with pytest.raises(NetworkError, match="wrong bytes"):
        fetch_url(f"{server.url}/a.zip#sha256={'0' * 64}")
    assert path.read_bytes() == BODY


@pytest.mark.parametrize(
    "url",
    [
        "https://host/a.zip#sha256=0123",
        f"https://host/a.zip#sha256={'g' * 64}",
        f"https://host/a.zip#md5={'0' * 32}",
        "https://host/a.zip#top",
        "ftp://host/a.zip",
        "https:///a.zip",
        "https://host:port/a.zip",
        "https://[host/a.zip",
        "a.zip",
    ],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        fetch_url(url)


def test_an_open_connection_needs_a_hash() -> None:
    with pytest.raises(NetworkError, match="not encrypted") as caught:
        fetch_url("http://files.invalid/a.zip")
    assert caught.value.hint is not None
    assert "https" in caught.value.hint and "#sha256=" in caught.value.hint
    with pytest.raises(NetworkError, match="offline"):
        fetch_url(f"http://files.invalid/a.zip#sha256={SHA256}", offline=True)


def test_a_mirror_never_hears_of_a_users_address(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESNET_CLI_MIRROR", "http://127.0.0.1:9/")
    assert fetch_url(f"{server.url}/a.zip").read_bytes() == BODY


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/pets.zip", "pets.zip"),
        ("/a/b/pets.tar.gz?token=secret&x=/y.exe", "pets.tar.gz"),
        ("/my%20pets.zip", "my pets.zip"),
        ("/my pets.zip", "my pets.zip"),
        ("/k%C3%A4tzchen.zip", "kätzchen.zip"),
        ("/kätzchen.zip", "kätzchen.zip"),
        ("/..%2F..%2Fetc%2Fpasswd", "_.._etc_passwd"),
        ("/.bashrc", "bashrc"),
        ("/...", "download"),
        ("/", "download"),
        ("", "download"),
        ("/a%00b:c.zip", "a_b_c.zip"),
        ("/" + "x" * 400 + ".tar.gz", "x" * 113 + ".tar.gz"),
    ],
)
def test_the_file_name_is_harmless(server: Server, path: str, name: str) -> None:
    fetched = fetch_url(server.url + path)
    assert fetched.name == name
    assert fetched.read_bytes() == BODY


@given(st.text(max_size=300))
def test_no_address_makes_a_dangerous_name(text: str) -> None:
    for path in (text, quote(text)):
        try:
            parts, _ = addresses.parse("https://host/" + path)
        except ConfigError:
            continue
        name = addresses.file_name(parts)
        assert 0 < len(name.encode()) <= 120
        assert not set(name) & set('/\\:*?"<>|\0\n') and not name.startswith(".")


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_our_error(text: str) -> None:
    for url in (text, "https://" + text):
        try:
            parts, _ = addresses.parse(url)
        except ConfigError:
            continue
        assert parts.geturl().isascii() or not (parts.hostname or "").isascii()


@pytest.mark.parametrize("url", ["https://host/", "http://localhost:80/", "http://127.0.0.1/", "http://[::1]:80/"])
def test_encrypted_and_local_addresses_are_private(url: str) -> None:
    assert addresses.is_private(url)


@pytest.mark.parametrize(
    "url", ["http://host/", "http://localhost.example/", "http://10.0.0.1/", "http://127.0.0.1.nip/"]
)
def test_others_are_not(url: str) -> None:
    assert not addresses.is_private(url)


def test_secrets_of_an_address_reach_its_host_and_no_message(server: Server) -> None:
    url = server.url.replace("//", "//ann:p%40ss@") + "/a.zip?token=tttt"
    server.script = [status(403)]
    with pytest.raises(NetworkError) as refused:
        fetch_url(url)
    with pytest.raises(NetworkError) as offline:
        fetch_url(url, offline=True)
    for error in (refused.value, offline.value):
        text = f"{error.message} {error.hint}"
        assert "a.zip" in text
        assert not any(secret in text for secret in ("ann", "p%40ss", "p@ss", "tttt"))
    path, headers = server.requests[0]
    assert path == "/a.zip?token=tttt"
    assert headers["Authorization"] == "Basic " + base64.b64encode(b"ann:p@ss").decode()


def test_a_password_is_not_sent_where_a_redirect_leads(server: Server) -> None:
    with Server() as other:
        server.script = [status(302, Location=f"{other.url}/a.zip")]
        fetch_url(server.url.replace("//", "//ann:pass@") + "/a.zip")
        assert server.requests[0][1]["Authorization"]
        assert other.requests[0][1]["Authorization"] is None


def test_without_a_hash_only_a_strong_etag_joins_two_halves(server: Server) -> None:
    server.script = [cut]
    assert fetch_url(f"{server.url}/a.zip").read_bytes() == BODY
    assert server.ranges() == [None, f"bytes={CUT}-"]
    server.etag = 'W/"weak"'
    server.script = [cut]
    assert fetch_url(f"{server.url}/b.zip").read_bytes() == BODY
    assert server.ranges()[2:] == [None, None]


def test_without_a_hash_a_new_etag_in_the_middle_never_mixes_two_files(server: Server) -> None:
    new = bytes(reversed(BODY))

    def cut_and_change(handler: Handler) -> None:
        cut(handler)
        server.body, server.etag = new, '"two"'

    server.script = [cut_and_change]
    assert fetch_url(f"{server.url}/a.zip").read_bytes() == new


def test_without_a_hash_a_body_must_say_where_it_ends(server: Server) -> None:
    server.script = [unbounded]
    with pytest.raises(NetworkError, match="does not state the length"):
        fetch_url(f"{server.url}/a.zip")
    server.script = [chunked_and_cut, chunked]
    assert fetch_url(f"{server.url}/a.zip").read_bytes() == BODY
    assert len(server.requests) == 3


def test_a_web_page_is_not_taken_for_the_file(server: Server) -> None:
    server.script = [status(200, Content_Type="text/html; charset=utf-8")]
    with pytest.raises(NetworkError, match="web page"):
        fetch_url(f"{server.url}/a.zip")


def test_without_a_hash_a_redirect_to_an_open_connection_is_refused(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The proxy represents the open network.
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("http_proxy", server.url)
    server.script = [status(302, Location="http://files.invalid/b.zip")]
    with pytest.raises(NetworkError, match=r"files\.invalid/b\.zip, which is not encrypted"):
        fetch_url(f"{server.url}/a.zip")


@pytest.mark.parametrize("location", ["http://[bad/", "http://host:port/", "file:///etc/passwd", "https://a\tb/ c"])
def test_a_redirect_to_nonsense_is_our_error(server: Server, location: str) -> None:
    server.script = [status(302, Location=location)] * 5
    with pytest.raises(NetworkError):
        fetch_url(f"{server.url}/a.zip")


@pytest.mark.parametrize(
    ("source", "to", "allowed"),
    [
        ("https://a.example/x", "http://a.example/x", False),
        ("https://a.example/x", "https://b.example/x", True),
        ("http://a.example/x", "https://a.example/x", True),
        ("http://a.example/x", "ftp://a.example/x", False),
        ("https://a.example/x", "file:///x", False),
    ],
)
def test_a_redirect_never_leaves_an_encrypted_connection(source: str, to: str, allowed: bool) -> None:
    answer = io.BytesIO()

    def redirect() -> urllib.request.Request | None:
        request, headers = urllib.request.Request(source), http.client.HTTPMessage()
        return HttpsStaysHttps().redirect_request(request, answer, 302, "", headers, to)

    if allowed:
        followed = redirect()
        assert followed is not None and followed.full_url == to
    else:
        with pytest.raises(NetworkError, match="refused"):
            redirect()
        assert answer.closed


def test_over_real_tls_a_trusted_certificate_is_enough(
    https_server: Server, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
    https_server.script = [cut, status(302, Location=f"{https_server.url}/moved")]
    assert fetch(remote(https_server), tmp_path).read_bytes() == BODY
    assert https_server.ranges() == [None, f"bytes={CUT}-", f"bytes={CUT}-"]


def test_over_real_tls_a_redirect_to_http_is_refused(
    https_server: Server, server: Server, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
    https_server.script = [status(302, Location=f"{server.url}/weights.pth?token=secret")]
    with pytest.raises(NetworkError, match="not encrypted; refused") as caught:
        fetch(remote(https_server), tmp_path)
    assert "secret" not in caught.value.message
    assert len(https_server.requests) == 1 and server.requests == []
    assert [path.name for path in tmp_path.iterdir()] == ["weights.pth.lock"]


def test_over_real_tls_an_untrusted_certificate_is_final(https_server: Server, tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match="certificate is not trusted: self-signed") as caught:
        fetch(remote(https_server), tmp_path)
    assert caught.value.hint is not None and "SSL_CERT_FILE" in caught.value.hint
    assert https_server.requests == []
