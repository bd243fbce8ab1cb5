"""What users write as host and port becomes one URL, or is refused; see also the tests of the policies' options."""

from __future__ import annotations

import pytest

from taketwo.errors import ConfigError
from taketwo.wire.address import Endpoint, server_url

HTTP = ("http", "https")


@pytest.mark.parametrize(
    ("host", "port", "url"),
    [
        ("gpu", None, "http://gpu:8000"),
        ("gpu:9000", 9000, "http://gpu:9000"),
        ("fe80::1", None, "http://[fe80::1]:8000"),
        ("https://gpu/vla", None, "https://gpu/vla"),
        ("https://gpu:/vla", 8443, "https://gpu:8443/vla"),
    ],
)
def test_a_url_has_a_port_unless_it_was_given_without(host: str, port: int | None, url: str) -> None:
    assert server_url(host, port, HTTP) == url


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("ws://gpu", "host must be a name, an address, or a http:// or https:// URL, not 'ws://gpu'"),
        ("gpu:0", "port must be from 1 to 65535, not 0"),
        ("gpu:70000", "host 'gpu:70000' is no address"),
        ("http://me:secret@gpu", "host must not hold a user or a password"),
    ],
)
def test_what_is_no_address_is_refused(host: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        server_url(host, None, HTTP)
    assert str(caught.value).startswith(message)


def test_only_where_a_server_takes_a_key_is_its_option_named() -> None:
    for takes_key in (False, True):
        with pytest.raises(ConfigError) as caught:
            server_url("me:secret@gpu", None, HTTP, takes_key=takes_key)
        assert ("api_key" in str(caught.value)) is takes_key


def test_an_endpoint_adds_its_path_once_and_knows_the_port_of_its_scheme() -> None:
    assert Endpoint.at("https://gpu/vla/", "/act") == Endpoint("gpu", 443, "/vla/act", tls=True)
    assert Endpoint.at("http://[::1]:9000/act", "/act") == Endpoint("::1", 9000, "/act", tls=False)
