"""What a Redis URL says, read once for everybody: client, workers, gateway, doctor. No I/O.

  redis://[user:password@]host[:port][/db]
  rediss://…                                                    the same over TLS
  unix://[user:password@]/path/to/socket[?db=0]
  sentinel://[user:password@]host[:port][,host[:port]…]/master[/db]
  sentinels://…                                                 the same, all of it over TLS

Behind `?` stand the options of `OPTIONS`. User and password are the server's; Sentinels that ask
for their own have them in `sentinel_username` and `sentinel_password`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

from glyph_worker.errors import InvalidSetting

SCHEMES = ("redis", "rediss", "unix", "sentinel", "sentinels")
PORT, SENTINEL_PORT = 6379, 26379


def _boolean(text: str) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True,
             "0": False, "false": False, "no": False, "off": False}  # fmt: skip
    return words[text.lower()]


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < 86_400:
        raise ValueError(text)
    return seconds


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(text)
    return int(text)


def _cert_reqs(text: str) -> str:
    """As redis-py writes it (`required`) and as Celery does (`CERT_REQUIRED`)."""
    word = text.lower().removeprefix("cert_")
    if word not in ("required", "optional", "none"):
        raise ValueError(text)
    return word


OPTIONS: Mapping[str, tuple[Callable[[str], Any], str]] = {
    "db": (_number, "a number from 0"),
    "username": (str, "a name"),
    "password": (str, "a password"),
    "client_name": (str, "a name"),
    "socket_timeout": (_seconds, "seconds above 0"),
    "socket_connect_timeout": (_seconds, "seconds above 0"),
    "socket_keepalive": (_boolean, "true or false"),
    "health_check_interval": (_number, "whole seconds"),
    "max_connections": (_number, "a number"),
    "ssl_cert_reqs": (_cert_reqs, "CERT_REQUIRED, CERT_OPTIONAL or CERT_NONE"),
    "ssl_ca_certs": (str, "a file"),
    "ssl_ca_path": (str, "a folder"),
    "ssl_certfile": (str, "a file"),
    "ssl_keyfile": (str, "a file"),
    "ssl_password": (str, "the key file's password"),
    "ssl_check_hostname": (_boolean, "true or false"),
    "sentinel_username": (str, "a name"),
    "sentinel_password": (str, "a password"),
}
"""What may stand behind `?`: how it is read, and what it takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisUrl:
    scheme: str
    hosts: tuple[tuple[str, int], ...]
    """The server, or the Sentinels; empty for a socket."""
    path: str
    """The socket; '' elsewhere."""
    master: str
    """The name under which Sentinels know the server; '' elsewhere."""
    db: int
    username: str | None
    password: str | None = field(repr=False)
    options: Mapping[str, Any] = field(repr=False)
    """Arguments of redis-py's connections."""
    sentinel_login: Mapping[str, str] = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> RedisUrl:
        """Raises InvalidSetting, which says what is wrong and quotes no password."""
        try:
            parts = _split(text)
        except ValueError:  # its text may quote a password, as those below may
            raise InvalidSetting(
                f"{hidden(text)!r} cannot be read as a URL; a password with signs like / or # "
                "must be percent-encoded, an IPv6 address stands in brackets"
            ) from None
        if parts.scheme not in SCHEMES:
            raise InvalidSetting(
                f"{hidden(text)!r} is no Redis URL: it must begin with "
                f"{', '.join(f'{scheme}://' for scheme in SCHEMES)}"
            )
        said = _options(text, parts)
        login, _, place = parts.netloc.rpartition("@")
        name, _, secret = login.partition(":")
        username = said.pop("username", None) or unquote(name) or None
        password = said.pop("password", None) or unquote(secret) or None
        sentinel_login = {
            option: said.pop(f"sentinel_{option}")
            for option in ("username", "password")
            if f"sentinel_{option}" in said
        }
        path, master, number = "", "", ""
        hosts: tuple[tuple[str, int], ...] = ()
        if parts.scheme == "unix":
            path = unquote(parts.path)
            if place or path in ("", "/"):
                raise InvalidSetting(
                    f"{hidden(text)!r} names no socket; write unix:///path/to/socket?db=0"
                )
        elif parts.scheme.startswith("sentinel"):
            master, _, number = unquote(parts.path).strip("/").partition("/")
            if not master or not place:
                raise InvalidSetting(
                    f"{hidden(text)!r} does not say whom to ask for what; "
                    f"write {parts.scheme}://host:{SENTINEL_PORT},host:{SENTINEL_PORT}/master/0, "
                    "with the name that the Sentinels monitor"
                )
            hosts = tuple(_host(text, one, SENTINEL_PORT) for one in place.split(","))
        else:
            number = parts.path.strip("/")
            hosts = (_host(text, place, PORT),)
        return cls(
            scheme=parts.scheme,
            hosts=hosts,
            path=path,
            master=master,
            db=_database(text, number, said),
            username=username,
            password=password,
            options=said,
            sentinel_login=sentinel_login,
        )

    @property
    def tls(self) -> bool:
        return self.scheme in ("rediss", "sentinels")

    def pool(self, **defaults: Any) -> redis.ConnectionPool:
        """A pool of connections, none open yet. What the URL says wins over `defaults`, which are
        arguments of redis-py's connections."""
        given = {**defaults, **self.options, "db": self.db}
        given |= {"username": self.username, "password": self.password}
        if self.path:
            for name in ("socket_connect_timeout", "socket_keepalive", "socket_keepalive_options"):
                given.pop(name, None)
            given["connection_class"] = redis.UnixDomainSocketConnection
            return redis.ConnectionPool(path=self.path, **given)
        if self.master:
            to_sentinel: dict[str, Any] = {
                name: value
                for name, value in given.items()
                if name.startswith(("socket_", "ssl_")) or name == "protocol"
            }
            if self.tls:
                to_sentinel["ssl"] = given["ssl"] = True
            # A Sentinel that does not answer is passed over at once: the next one is asked.
            to_sentinel["retry"] = Retry(NoBackoff(), 0)
            sentinels = Sentinel(  # type: ignore[no-untyped-call]
                self.hosts, sentinel_kwargs={**to_sentinel, **self.sentinel_login}
            )
            return SentinelConnectionPool(  # type: ignore[no-untyped-call]
                self.master, sentinels, **given
            )
        if self.tls:
            given["connection_class"] = redis.SSLConnection
        host, port = self.hosts[0]
        return redis.ConnectionPool(host=host, port=port, **given)


def hidden(text: str) -> str:
    """The URL without its passwords, for messages and logs; also one that cannot be read."""
    head, question, query = text.partition("?")
    scheme, slashes, rest = head.partition("://")
    if "@" in query:  # a password with a question mark in it
        return f"{scheme}{slashes}***"
    login, at, place = rest.rpartition("@")
    if ":" in login:
        login = f"{login.partition(':')[0]}:***"
    shown = []
    for name, equals, value in (part.partition("=") for part in query.split("&")):
        told = bool(equals) and "password" not in name.lower()
        shown.append(f"{name}={value if told else '***'}" if equals else "***")
    return f"{scheme}{slashes}{login}{at}{place}{question}{'&'.join(shown) if question else ''}"


def _split(text: str) -> SplitResult:
    """As urlsplit, which takes one host alone: newer Pythons refuse a bracket behind a comma."""
    scheme, mark, rest = text.partition("://")
    place = re.match(r"[^/?#]*", rest)
    assert place is not None, "the pattern matches anything"
    parts = urlsplit(scheme + mark + rest[place.end() :])
    return parts._replace(netloc=place[0])


def _options(text: str, parts: SplitResult) -> dict[str, Any]:
    try:
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise InvalidSetting(
            f"{hidden(text)!r}: what follows `?` is read as name=value&name=value"
        ) from None
    said = {}
    for name, value in pairs:
        if name not in OPTIONS:
            raise InvalidSetting(
                f"{hidden(text)!r}: {name!r} is no option of a Redis URL; "
                f"there are {', '.join(OPTIONS)}"
            )
        read, takes = OPTIONS[name]
        try:
            said[name] = read(value)
        except (ValueError, KeyError):
            raise InvalidSetting(f"{hidden(text)!r}: {name} takes {takes}") from None
        if name.startswith("ssl_") and parts.scheme not in ("rediss", "sentinels"):
            raise InvalidSetting(
                f"{hidden(text)!r}: {name} is for TLS; write rediss:// or sentinels://"
            )
        if name.startswith("sentinel_") and not parts.scheme.startswith("sentinel"):
            raise InvalidSetting(f"{hidden(text)!r}: {name} is for sentinel://")
    return said


def _host(text: str, place: str, port: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{place}")
        return unquote(parts.hostname or "") or "127.0.0.1", parts.port or port
    except ValueError:
        raise InvalidSetting(
            f"{hidden(text)!r}: host and port cannot be read; "
            "a password with signs like / or # must be percent-encoded"
        ) from None


def _database(text: str, number: str, said: dict[str, Any]) -> int:
    """From the path or from `?db=`."""
    db: int | None = said.pop("db", None)
    if not number:
        return db or 0
    try:
        named = _number(number)
    except ValueError:
        raise InvalidSetting(
            f"{hidden(text)!r}: {number!r} is no database; it takes a number from 0"
        ) from None
    if db not in (None, named):
        raise InvalidSetting(f"{hidden(text)!r} names two databases, {named} and {db}")
    return named
