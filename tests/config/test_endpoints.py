from __future__ import annotations

import pytest

from zmtwist.config.endpoints import Address, BadAddress, check_socket_path, client_address, unix_path


@pytest.mark.parametrize(
    ("description", "path"),
    [
        ("unix:/run/zmnext/api.sock:mode=660", "/run/zmnext/api.sock"),
        ("unix:address=/run/a.sock:lockfile=0", "/run/a.sock"),
        (r"unix:/run/a\:b.sock", "/run/a:b.sock"),
        ("tcp:8095:interface=127.0.0.1", None),
        ("unix:mode=660", None),
    ],
)
def test_the_path_of_an_endpoint(description, path):
    assert unix_path(description) == path


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("/run/a.sock", Address(path="/run/a.sock")),
        ("unix:/run/a.sock:mode=660", Address(path="/run/a.sock")),
        ("http://nvr:8095", Address(host="nvr", port=8095)),
        ("http://[::1]", Address(host="::1")),
        ("https://nvr:443/", Address(host="nvr", port=443, tls=True)),
        ("https://zm.example:443/zmnext/", Address(host="zm.example", port=443, tls=True, base="/zmnext")),
        ("tcp:8095:interface=127.0.0.1", Address(port=8095)),
        ("tcp:nvr:8095", Address(host="nvr", port=8095)),
    ],
)
def test_what_a_client_may_be_given(text, address):
    assert client_address(text) == address


@pytest.mark.parametrize("text", ["", "nvr:8095", "http://", "http://nvr:port", "tcp:nvr", "tcp:nvr:0"])
def test_what_is_no_address(text):
    with pytest.raises(BadAddress):
        client_address(text)


def test_a_path_too_long_for_a_socket():
    check_socket_path("/" + "x" * 106)
    with pytest.raises(BadAddress, match=r"108 bytes .* 107: choose a shorter directory"):
        check_socket_path("/" + "é" * 53 + "x")
