"""The session-token flow of a web application through redis-py, on a primary and its replica.

Started by `cargo test --test system clients` as: test_redis_py.py PRIMARY_PORT REPLICA_PORT
"""

import sys
import time

import redis

TOKEN = "access:redis-py"
FIELDS = {
    "user": "alice",
    "scope": "read write",
    "issued": "1767225600",
    "client": "web",
    "address": "203.0.113.7",
}


def until(what, done, seconds=20):
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, f"waited for {what}"
        time.sleep(0.01)


def session_token(primary, replica):
    assert primary.hset(TOKEN, mapping=FIELDS) == 5
    assert primary.pexpire(TOKEN, 1500)
    found = replica.hgetall(TOKEN) or primary.hgetall(TOKEN)
    assert found == FIELDS, found
    until("the replica to have the token", lambda: replica.hgetall(TOKEN) == FIELDS)
    assert 0 < replica.pttl(TOKEN) <= 1500
    until("the token to expire on the replica", lambda: not replica.exists(TOKEN))
    assert not primary.exists(TOKEN)
    assert primary.pttl(TOKEN) == replica.pttl(TOKEN) == -2
    assert replica.hget(TOKEN, "user") is None


def readonly(replica):
    try:
        replica.hset(TOKEN, "user", "mallory")
    except redis.exceptions.ReadOnlyError:
        return
    raise AssertionError("the replica took a write")


def pipelines(primary):
    with primary.pipeline(transaction=True) as pipe:
        pipe.set("count", 1).incr("count").get("count")
        assert pipe.execute() == [True, 2, "2"]
    with primary.pipeline(transaction=False) as pipe:
        for number in range(100):
            pipe.set(f"many:{number}", number)
        assert pipe.execute() == [True] * 100
    assert sorted(primary.scan_iter("many:*", count=7)) == sorted(f"many:{n}" for n in range(100))


def lock(primary):
    assert primary.set("lock", "mine", nx=True, px=10_000)
    assert primary.set("lock", "theirs", nx=True, px=10_000) is None
    with primary.pipeline() as pipe:
        pipe.watch("lock")
        primary.set("lock", "changed")
        pipe.multi()
        pipe.delete("lock")
        try:
            pipe.execute()
        except redis.exceptions.WatchError:
            return
    raise AssertionError("a changed key did not stop the transaction")


def main():
    ports = [int(port) for port in sys.argv[1:3]]
    for protocol in (2, 3):
        primary, replica = (
            redis.Redis(port=port, protocol=protocol, decode_responses=True,
                        client_name=f"test-{protocol}", health_check_interval=1)
            for port in ports)
        session_token(primary, replica)
        readonly(replica)
        pipelines(primary)
        lock(primary)
        assert primary.client_getname() == f"test-{protocol}"
        assert primary.info("replication")["connected_slaves"] == 1
        assert replica.info("replication")["master_link_status"] == "up"
        primary.flushall()


if __name__ == "__main__":
    main()
