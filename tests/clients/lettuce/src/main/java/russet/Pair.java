package russet;

import io.lettuce.core.ReadFrom;
import io.lettuce.core.RedisClient;
import io.lettuce.core.RedisCommandExecutionException;
import io.lettuce.core.RedisReadOnlyException;
import io.lettuce.core.RedisURI;
import io.lettuce.core.api.StatefulRedisConnection;
import io.lettuce.core.api.sync.RedisCommands;
import io.lettuce.core.codec.StringCodec;
import io.lettuce.core.masterreplica.MasterReplica;
import io.lettuce.core.masterreplica.StatefulRedisMasterReplicaConnection;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.function.BooleanSupplier;

/**
 * The session-token flow of a Spring application: a static primary/replica connection that reads
 * from the replica and falls back to the primary. Arguments: the primary's and the replica's port.
 */
public final class Pair {
    private static final String TOKEN = "access:lettuce";
    private static final Map<String, String> FIELDS = Map.of(
            "user", "alice", "scope", "read write", "issued", "1767225600",
            "client", "web", "address", "203.0.113.7");

    private Pair() {
    }

    public static void main(String[] args) {
        RedisURI primary = uri(args[0]);
        RedisURI replica = uri(args[1]);
        RedisClient client = RedisClient.create();
        try (StatefulRedisMasterReplicaConnection<String, String> both =
                     MasterReplica.connect(client, StringCodec.UTF8, List.of(primary, replica));
             StatefulRedisConnection<String, String> atReplica = client.connect(replica)) {
            both.setReadFrom(ReadFrom.REPLICA_PREFERRED);
            sessionToken(both.sync(), atReplica.sync());
            readOnly(atReplica.sync());
            readsGoToTheReplica(both.sync(), atReplica.sync());
        } finally {
            client.shutdown(Duration.ZERO, Duration.ofSeconds(2));
        }
        System.out.println("lettuce: passed");
    }

    private static RedisURI uri(String port) {
        return RedisURI.builder().withHost("127.0.0.1").withPort(Integer.parseInt(port))
                .withTimeout(Duration.ofSeconds(20)).build();
    }

    private static void sessionToken(RedisCommands<String, String> both,
                                     RedisCommands<String, String> replica) {
        check(both.hset(TOKEN, FIELDS) == 5, "five new fields");
        check(both.pexpire(TOKEN, 1500), "a lifetime was set");
        until("the replica to have the token", () -> both.hgetall(TOKEN).equals(FIELDS));
        long left = replica.pttl(TOKEN);
        check(left > 0 && left <= 1500, "the lifetime left is " + left);
        until("the token to expire on the replica", () -> replica.exists(TOKEN) == 0);
        check(both.pttl(TOKEN) == -2, "no lifetime is left");
        check(both.hget(TOKEN, "user") == null, "no field is left");
    }

    private static void readOnly(RedisCommands<String, String> replica) {
        try {
            replica.hset(TOKEN, "user", "mallory");
        } catch (RedisReadOnlyException expected) {
            return;
        } catch (RedisCommandExecutionException other) {
            throw new AssertionError("expected READONLY", other);
        }
        throw new AssertionError("the replica took a write");
    }

    private static void readsGoToTheReplica(RedisCommands<String, String> both,
                                            RedisCommands<String, String> replica) {
        replica.configResetstat();
        for (int i = 0; i < 50; i++) {
            both.get("nobody:" + i);
        }
        String stats = replica.info("commandstats");
        check(stats.contains("cmdstat_get:calls=50,"), "50 reads on the replica, not " + stats);
    }

    private static void until(String what, BooleanSupplier done) {
        long end = System.nanoTime() + Duration.ofSeconds(20).toNanos();
        while (!done.getAsBoolean()) {
            check(System.nanoTime() < end, "waited for " + what);
            try {
                Thread.sleep(10);
            } catch (InterruptedException stopped) {
                throw new AssertionError(stopped);
            }
        }
    }

    private static void check(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }
}
