"""What a Redis URL may say, and what is said of one that cannot be read."""

from __future__ import annotations

import pytest
import redis
from redis.sentinel import SentinelConnectionPool

from glyph_worker.errors import InvalidSetting
from glyph_worker.store.url import RedisUrl, hidden


def test_every_form_says_where_and_which_database() -> None:
    tcp = RedisUrl.parse("redis://me:p%40ss@host:7000/3?socket_timeout=4&db=3")
    assert (tcp.hosts, tcp.db, tcp.username, tcp.password) == ((("host", 7000),), 3, "me", "p@ss")
    assert tcp.options == {"socket_timeout": 4.0}
    assert RedisUrl.parse("redis://").hosts == (("127.0.0.1", 6379),)
    assert RedisUrl.parse("redis://[::1]:1/").hosts == (("::1", 1),)
    assert RedisUrl.parse("redis://h?db=1").db == 1
    unix = RedisUrl.parse("unix://:pw@/tmp/r.sock?db=2")
    assert (unix.path, unix.db, unix.password, unix.hosts) == ("/tmp/r.sock", 2, "pw", ())
    tls = RedisUrl.parse("rediss://h/?ssl_cert_reqs=CERT_REQUIRED&ssl_check_hostname=false")
    assert tls.tls
    assert tls.options == {"ssl_cert_reqs": "required", "ssl_check_hostname": False}
    watched = RedisUrl.parse("sentinel://u:p@a:1,[::2]:3,c/main/5?sentinel_password=s")
    assert watched.hosts == (("a", 1), ("::2", 3), ("c", 26379))
    assert (watched.master, watched.db, watched.username, watched.password) == ("main", 5, "u", "p")
    assert watched.sentinel_login == {"password": "s"}
    assert not watched.tls
    assert RedisUrl.parse("sentinels://a/m").tls


def test_what_the_url_says_wins_over_what_the_caller_would_take() -> None:
    pool = RedisUrl.parse("redis://h/1?socket_timeout=4").pool(socket_timeout=9, protocol=2)
    assert pool.connection_kwargs["socket_timeout"] == 4.0
    assert pool.connection_kwargs["db"] == 1
    assert RedisUrl.parse("rediss://h").pool().connection_class is redis.SSLConnection
    unix = RedisUrl.parse("unix:///s").pool(socket_connect_timeout=1)
    assert unix.connection_class is redis.UnixDomainSocketConnection
    assert isinstance(RedisUrl.parse("sentinel://a/m").pool(), SentinelConnectionPool)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://h", "must begin with redis://"),
        ("localhost:6379", "must begin with redis://"),
        ("redis://h/one", "'one' is no database"),
        ("redis://h/-1", "'-1' is no database"),
        ("redis://h/1?db=2", "two databases, 1 and 2"),
        ("redis://h?socket_timeout=0", "socket_timeout takes seconds above 0"),
        ("redis://h?socket_timeout=nan", "socket_timeout takes seconds above 0"),
        ("redis://h?socket_keepalive=maybe", "socket_keepalive takes true or false"),
        ("redis://h?timeout=4", "'timeout' is no option"),
        ("redis://h?ssl_cert_reqs=none", "write rediss://"),
        ("rediss://h?ssl_cert_reqs=sometimes", "CERT_REQUIRED, CERT_OPTIONAL or CERT_NONE"),
        ("redis://h?sentinel_password=x", "is for sentinel://"),
        ("redis://h:port", "host and port cannot be read"),
        ("redis://:a/b@h:6379", "percent-encoded"),
        ("unix://host/tmp/s", "names no socket"),
        ("unix://", "names no socket"),
        ("sentinel://h", "does not say whom to ask for what"),
        ("sentinel:///mymaster", "does not say whom to ask for what"),
        ("redis://h?=", "'' is no option"),
        ("redis://[::1", "cannot be read"),
    ],
)
def test_a_url_that_cannot_be_read_is_refused_with_a_way_out(url: str, says: str) -> None:
    with pytest.raises(InvalidSetting) as refused:
        RedisUrl.parse(url)
    assert says in str(refused.value)


def test_no_password_is_ever_shown() -> None:
    for url in (
        "redis://me:hush@h/1",
        "redis://:hush@h/1?timeout=3",
        "unix://:hush@/tmp/s?db=1",
        "sentinel://u:hush@a,b/m?sentinel_password=hush",
        "redis://h?password=hush&db=x",
        "redis://:hush/hush@h",
        "http://:hush@h",
        "redis://:hush@h?hush",
        "redis://:hush?hush@h",
        "redis://:hush@[::1",
        "redis://:hush℀@h",
    ):
        assert "hush" not in hidden(url)
        try:
            said = repr(RedisUrl.parse(url))
        except InvalidSetting as exc:
            said = str(exc)
        assert "hush" not in said
