"""Where webhooks may go: decided on functions, with no socket."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

import pytest

from glyph_worker.errors import WebhookRefused
from glyph_worker.gateway.address import Resolver, Unresolved, is_public, pinned, target_of


def ip(text: str) -> Any:
    return ipaddress.ip_address(text)


# One of each block of IANA's special-purpose registries, and the edges of the larger ones.
INWARD = (
    "0.0.0.0", "0.255.255.255", "10.0.0.0", "10.255.255.255", "100.64.0.1", "100.127.255.255",
    "127.0.0.1", "127.255.255.255", "169.254.169.254", "172.16.0.1", "172.31.255.255",
    "192.0.0.1", "192.0.0.9", "192.0.0.10", "192.0.0.170", "192.0.2.1", "192.31.196.1",
    "192.52.193.1", "192.88.99.1", "192.168.0.1", "192.175.48.1", "198.18.0.1", "198.19.255.255",
    "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::1", "100::1", "100:0:0:1::1", "2001::1",
    "2001:0:7f00:1::", "2001:1::1", "2001:2::1", "2001:3::1", "2001:4:112::1", "2001:10::1",
    "2001:20::1", "2001:30::1", "2001:db8::1", "2002:7f00:1::", "2002:5db8:d70e::1",
    "2620:4f:8000::1", "3fff::1", "5f00::1", "4000::1", "8000::1", "fc00::1", "fd00::1", "fe80::1",
    "febf::1", "fec0::1", "feff::1", "ff02::1",
)  # fmt: skip
OUTWARD = (
    "1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "172.15.255.255",
    "172.32.0.0", "192.88.98.1", "192.88.100.1", "93.184.215.14", "223.255.255.255",
    "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "2a00:1450::1", "2001:200::1", "2003::1",
    "::ffff:93.184.215.14", "64:ff9b::5db8:d70e",
)  # fmt: skip


@pytest.mark.parametrize("address", INWARD)
def test_inward_and_reserved_addresses_are_not_public(address: str) -> None:
    assert not is_public(ip(address))


@pytest.mark.parametrize("address", OUTWARD)
def test_outward_addresses_are_public(address: str) -> None:
    assert is_public(ip(address))


@pytest.fixture
def no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: Any, **__: Any) -> None:
        raise AssertionError("a decision must not need the network")

    monkeypatch.setattr(socket, "getaddrinfo", asked)


@pytest.mark.usefixtures("no_socket")
@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/", "http://2130706433/", "http://0x7f.1/", "http://127.1:8080/x",
     "http://0177.0.0.1/", "http://[::1]/", "http://[::ffff:127.0.0.1]/", "http://[fec0::1]/",
     "http://192.88.99.1/", "http://[fe80::1%25eth0]/", "http://[::127.0.0.1]/"],
)  # fmt: skip
async def test_an_inward_address_is_refused_in_every_notation(url: str) -> None:
    with pytest.raises(WebhookRefused):
        await Resolver(private=False).resolve(url)


@pytest.mark.usefixtures("no_socket")
@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize(
    "url",
    ["http://127\u30020\u30020\u30021:8080/", "http://\uff11\uff12\uff17.\uff10.\uff10.\uff11:8080/",
     "http://127\uff0e0\uff0e0\uff0e1/", "http://127\uff610\uff610\uff611/", "http://\u2460.1.1.1/",
     "http://\u0967\u0968\u096d.0.0.1/", "http://a\u3002\u3002b/", "http://\U0001d7d9/"],
)  # fmt: skip
async def test_no_host_hides_an_address_or_an_empty_label_in_other_characters(
    url: str, private: bool
) -> None:
    with pytest.raises(WebhookRefused):
        await Resolver(private=private).resolve(url)


@pytest.mark.parametrize(
    "url",
    ["ftp://a.example/", "http://", "//a", "https://user:pw@93.184.215.14/", "http://a b.example/",
     "http://93.184.215.14:99999/", "http://93.184.215.14:0/", "http://a.example/\0", "http://a\0b/",
     "http://a.example/" + "x" * 70_000, "http://a.example/\ud800", "http://a.example/\r\nx: y",
     "http://127.0.0.1./", "http://1.2.3.4.5/", "http://a.0x7f/", "http://[::1/",
     "http://-a.example/", "http://a..b\\c/", "http://\xad/", "javascript:alert(1)",
     "http://" + "a" * 300 + ".example/", "http://xn--\u00e4.example/"],
    ids=ascii,
)  # fmt: skip
def test_what_is_no_sound_url_is_refused_in_few_words(url: str) -> None:
    with pytest.raises(WebhookRefused) as raised:
        target_of(url)
    assert len(raised.value.message) < 700


def test_a_name_in_other_letters_is_asked_for_in_ascii() -> None:
    target = target_of("https://B\u00fccher\u3002example:8443/hook?a=1#x")
    assert target.host == "xn--bcher-kva.example"
    address = pinned(target, [ip("93.184.215.14")], private=False)
    assert address.url == "https://93.184.215.14:8443/hook?a=1"
    assert address.host == "xn--bcher-kva.example"
    assert address.host_header == "xn--bcher-kva.example:8443"


def test_a_name_with_one_inward_address_is_refused_whole() -> None:
    target = target_of("https://two.example/")
    with pytest.raises(WebhookRefused, match=r"10\.0\.0\.1"):
        pinned(target, [ip("93.184.215.14"), ip("10.0.0.1")], private=False)
    both = [ip("2a00:1450::1"), ip("93.184.215.14")]
    assert pinned(target, both, private=False).url == "https://93.184.215.14/"


async def test_a_webhooks_address_is_pinned() -> None:
    address = await Resolver(private=True).resolve("http://localhost:9/")
    assert address.url in ("http://127.0.0.1:9/", "http://[::1]:9/")
    assert (address.host, address.host_header) == ("localhost", "localhost:9")


async def test_a_name_that_is_not_found_is_no_refusal_for_good(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unknown(*_: Any, **__: Any) -> None:
        raise socket.gaierror(socket.EAI_AGAIN, "name server away")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(Unresolved, match="has no address"):
        await Resolver(private=False).resolve("http://a.example/")
