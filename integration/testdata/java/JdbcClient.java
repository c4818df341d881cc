import java.io.StringReader;
import java.io.StringWriter;
import java.sql.*;
import java.util.*;
import java.util.concurrent.*;
import org.postgresql.PGConnection;
import org.postgresql.copy.CopyManager;
import org.postgresql.util.PSQLException;

/**
 * Uses PostgreSQL's JDBC driver as an application would; any deviation ends it with an exception. Arguments: port, database.
 */
public class JdbcClient {
    static int port;
    static String database;

    interface Work {
        void run(Connection c) throws Exception;
    }

    static Connection connect(String db, String user, String... options) throws SQLException {
        Properties p = new Properties();
        p.setProperty("user", user);
        p.setProperty("password", user);
        p.setProperty("sslmode", "disable");
        for (String o : options) {
            p.setProperty(o.substring(0, o.indexOf('=')), o.substring(o.indexOf('=') + 1));
        }
        return DriverManager.getConnection("jdbc:postgresql://127.0.0.1:" + port + "/" + db, p);
    }

    static void with(Work w, String... options) throws Exception {
        try (Connection c = connect(database, "app", options)) {
            w.run(c);
        }
    }

    static void same(Object want, Object got) {
        if (!Objects.equals(want, got)) {
            throw new AssertionError("got " + got + ", want " + want);
        }
    }

    static Object one(Connection c, String sql, Object... args) throws SQLException {
        try (PreparedStatement s = c.prepareStatement(sql)) {
            for (int i = 0; i < args.length; i++) {
                s.setObject(i + 1, args[i]);
            }
            try (ResultSet r = s.executeQuery()) {
                return r.next() ? r.getObject(1) : "no row";
            }
        }
    }

    /** The SQLSTATE of the error that the work ends with. */
    static PSQLException fails(String state, Callable<?> work) throws Exception {
        try {
            work.call();
        } catch (PSQLException e) {
            same(state, e.getSQLState());
            return e;
        } catch (BatchUpdateException e) {
            same(state, e.getSQLState());
            return null;
        }
        throw new AssertionError("no error " + state);
    }

    public static void main(String[] args) throws Exception {
        port = Integer.parseInt(args[0]);
        database = args[1];
        try (Connection c = connect(database, "app"); Statement s = c.createStatement()) {
            s.execute("DROP TABLE IF EXISTS j; CREATE TABLE j (id serial PRIMARY KEY, a int UNIQUE, b text)");
        }
        for (String mode : List.of("simple", "extended", "extendedForPrepared", "extendedCacheEverything")) {
            for (String threshold : List.of("1", "5", "0")) {
                manyClients("preferQueryMode=" + mode, "prepareThreshold=" + threshold);
            }
        }
        for (String rewrite : List.of("true", "false")) {
            with(JdbcClient::batches, "reWriteBatchedInserts=" + rewrite, "prepareThreshold=1");
        }
        with(JdbcClient::cursors, "prepareThreshold=1");
        with(JdbcClient::cursors, "prepareThreshold=1", "binaryTransfer=false");
        with(JdbcClient::copies);
        with(JdbcClient::severalStatements);
        with(JdbcClient::severalStatements, "prepareThreshold=1");
        for (String autosave : List.of("always", "conservative")) {
            with(JdbcClient::savepoints, "autosave=" + autosave, "prepareThreshold=1");
        }
        with(JdbcClient::errors, "prepareThreshold=1", "logServerErrorDetail=true");
        with(JdbcClient::cancel, "prepareThreshold=1");
        with(JdbcClient::alteredTable, "prepareThreshold=1", "autosave=conservative");
        parameters();
        admin();
    }

    /** Twenty clients on what servers there are, each with statements that are prepared on the server. */
    static void manyClients(String... options) throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(20);
        try {
            List<Future<?>> all = new ArrayList<>();
            for (int id = 0; id < 20; id++) {
                int me = id;
                all.add(pool.submit(() -> {
                    with(c -> {
                        try (PreparedStatement mine = c.prepareStatement("SELECT ?::int, '" + me + "'"); PreparedStatement shared = c.prepareStatement("SELECT ?::int * 2")) {
                            for (int i = 0; i < 12; i++) {
                                mine.setInt(1, i);
                                try (ResultSet r = mine.executeQuery()) {
                                    r.next();
                                    same(i + "/" + me, r.getInt(1) + "/" + r.getString(2));
                                }
                                shared.setInt(1, i + me);
                                try (ResultSet r = shared.executeQuery()) {
                                    r.next();
                                    same(2 * (i + me), r.getInt(1));
                                }
                            }
                        }
                    }, options);
                    return null;
                }));
            }
            for (Future<?> f : all) {
                f.get(60, TimeUnit.SECONDS);
            }
        } finally {
            pool.shutdownNow();
        }
    }

    static void batches(Connection c) throws Exception {
        try (Statement s = c.createStatement()) {
            s.execute("TRUNCATE j RESTART IDENTITY");
        }
        for (int round = 0; round < 3; round++) {
            try (PreparedStatement s = c.prepareStatement("INSERT INTO j (a, b) VALUES (?, ?)", Statement.RETURN_GENERATED_KEYS)) {
                for (int i = 0; i < 1000; i++) {
                    s.setInt(1, round * 1000 + i);
                    s.setString(2, "row " + i);
                    s.addBatch();
                }
                same(1000, s.executeBatch().length);
                try (ResultSet keys = s.getGeneratedKeys()) {
                    int n = 0;
                    while (keys.next()) {
                        same(round * 1000 + ++n, keys.getInt(1));
                    }
                    same(1000, n);
                }
            }
            try (PreparedStatement s = c.prepareStatement("UPDATE j SET b = ? WHERE a = ?")) {
                for (int i = 0; i < 300; i++) {
                    s.setString(1, "again " + i);
                    s.setInt(2, round * 1000 + i);
                    s.addBatch();
                }
                for (int n : s.executeBatch()) {
                    same(1, n);
                }
            }
        }
        same(3000L, one(c, "SELECT count(*) FROM j"));
        same(900L, one(c, "SELECT count(*) FROM j WHERE b LIKE ?", "again %"));
        fails("23505", () -> {
            try (PreparedStatement s = c.prepareStatement("INSERT INTO j (a, b) VALUES (?, ?)")) {
                for (int i = 2990; i < 3010; i++) {
                    s.setInt(1, i);
                    s.setString(2, "");
                    s.addBatch();
                }
                return s.executeBatch();
            }
        });
        same(3000L, one(c, "SELECT count(*) FROM j"));
        try (Statement s = c.createStatement()) {
            s.addBatch("INSERT INTO j (a) VALUES (7000)");
            s.addBatch("UPDATE j SET b = 'x' WHERE a = 7000");
            s.addBatch("DELETE FROM j WHERE a = 7000");
            same("[1, 1, 1]", Arrays.toString(s.executeBatch()));
        }
    }

    /** Results in portions: portals that live over several Syncs of one transaction, two at a time. */
    static void cursors(Connection c) throws Exception {
        c.setAutoCommit(false);
        for (int round = 0; round < 3; round++) {
            try (PreparedStatement a = c.prepareStatement("SELECT g, repeat('x', 100) FROM generate_series(1, ?) g"); PreparedStatement b = c.prepareStatement("SELECT -g FROM generate_series(1, ?) g")) {
                a.setFetchSize(50);
                b.setFetchSize(7);
                a.setInt(1, 1000);
                b.setInt(1, 1000);
                try (ResultSet x = a.executeQuery(); ResultSet y = b.executeQuery()) {
                    for (int i = 1; i <= 1000; i++) {
                        same(true, x.next() && y.next());
                        same(i, x.getInt(1));
                        same(-i, y.getInt(1));
                    }
                    same(false, x.next() || y.next());
                }
                try (ResultSet x = a.executeQuery()) { // left in the middle
                    same(true, x.next());
                }
            }
            c.commit();
        }
        try (Statement s = c.createStatement()) {
            s.execute("DECLARE held CURSOR FOR SELECT generate_series(1, 10)");
            s.execute("MOVE 5 IN held");
            same(6, one(c, "FETCH held"));
        }
        c.rollback();
    }

    static void copies(Connection c) throws Exception {
        CopyManager copy = c.unwrap(PGConnection.class).getCopyAPI();
        StringBuilder rows = new StringBuilder();
        for (int i = 0; i < 20000; i++) {
            rows.append(i + 100000).append('\t').append("copied ").append(i).append('\n');
        }
        same(20000L, copy.copyIn("COPY j (a, b) FROM STDIN", new StringReader(rows.toString())));
        StringWriter out = new StringWriter();
        copy.copyOut("COPY (SELECT a, b FROM j WHERE a >= 100000 ORDER BY a) TO STDOUT", out);
        same(rows.toString(), out.toString());
        fails("22P02", () -> copy.copyIn("COPY j (a, b) FROM STDIN", new StringReader("none\tx\n")));
        fails("23505", () -> copy.copyIn("COPY j (a, b) FROM STDIN", new StringReader(rows.toString())));
        var in = copy.copyIn("COPY j (a, b) FROM STDIN");
        in.writeToCopy("1\tx\n".getBytes(), 0, 4);
        in.cancelCopy();
        same(0L, one(c, "SELECT count(*) FROM j WHERE b = 'x'"));
        same(20000, c.createStatement().executeUpdate("DELETE FROM j WHERE a >= 100000"));
    }

    static void severalStatements(Connection c) throws Exception {
        for (int round = 0; round < 8; round++) {
            try (Statement s = c.createStatement()) {
                same(true, s.execute("SELECT 1; UPDATE j SET b = 'none' WHERE a = -1; SELECT 2, 3"));
                s.getResultSet().next();
                same(1, s.getResultSet().getInt(1));
                same(false, s.getMoreResults());
                same(0, s.getUpdateCount());
                same(true, s.getMoreResults());
                s.getResultSet().next();
                same(3, s.getResultSet().getInt(2));
            }
            try (PreparedStatement s = c.prepareStatement("SELECT ?::int; SELECT ?::text")) {
                s.setInt(1, round);
                s.setString(2, "two");
                same(true, s.execute());
                s.getResultSet().next();
                same(round, s.getResultSet().getInt(1));
                same(true, s.getMoreResults());
                s.getResultSet().next();
                same("two", s.getResultSet().getString(1));
            }
        }
    }

    /** The driver sets a savepoint before each statement, in the same packet. */
    static void savepoints(Connection c) throws Exception {
        c.setAutoCommit(false);
        for (int round = 0; round < 5; round++) {
            try (PreparedStatement s = c.prepareStatement("INSERT INTO j (a, b) VALUES (?, 'saved')")) {
                s.setInt(1, 50000 + round);
                same(1, s.executeUpdate());
                fails("23505", s::executeUpdate);
            } catch (PSQLException e) {
                throw e;
            }
            if (c.unwrap(PGConnection.class).getAutosave().value().equals("always")) {
                same(1, one(c, "SELECT 1")); // the failed statement is undone, not the transaction
                same(round + 1L, one(c, "SELECT count(*) FROM j WHERE b = 'saved'"));
                c.commit();
            } else {
                c.rollback();
            }
        }
        c.createStatement().executeUpdate("DELETE FROM j WHERE b = 'saved'");
        c.commit();
    }

    static void errors(Connection c) throws Exception {
        c.createStatement().executeUpdate("INSERT INTO j (a) VALUES (90000) ON CONFLICT DO NOTHING");
        PSQLException e = fails("23505", () -> c.createStatement().executeUpdate("INSERT INTO j (a) VALUES (90000)"));
        same("j_a_key", e.getServerErrorMessage().getConstraint());
        same("Key (a)=(90000) already exists.", e.getServerErrorMessage().getDetail());
        for (int i = 0; i < 8; i++) {
            fails("22012", () -> one(c, "SELECT 1 / ?::int", 0));
            same(1, one(c, "SELECT 1 / ?::int", 1));
            fails("42703", () -> one(c, "SELECT nothing WHERE ?", true));
        }
        c.setAutoCommit(false);
        fails("22012", () -> one(c, "SELECT 1 / ?::int", 0));
        fails("25P02", () -> one(c, "SELECT 1"));
        c.rollback();
        c.setReadOnly(true);
        fails("25006", () -> c.createStatement().executeUpdate("INSERT INTO j (a) VALUES (1)"));
        c.rollback();
        c.setReadOnly(false);
        c.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
        same("serializable", one(c, "SHOW transaction_isolation"));
        c.rollback();
    }

    static void cancel(Connection c) throws Exception {
        for (int i = 0; i < 3; i++) {
            try (Statement s = c.createStatement()) {
                s.setQueryTimeout(1);
                fails("57014", () -> s.executeQuery("SELECT pg_sleep(30)"));
            }
        }
        try (Statement s = c.createStatement(); Connection other = connect(database, "app")) {
            Thread t = new Thread(() -> {
                try {
                    while (!one(other, "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND datname = ? AND query LIKE 'SELECT pg_sleep(31)%'", database).equals(1L)) {
                        Thread.yield();
                    }
                    s.cancel();
                } catch (SQLException e) {
                    throw new AssertionError(e);
                }
            });
            t.start();
            fails("57014", () -> s.executeQuery("SELECT pg_sleep(31)"));
            t.join();
            same(1, one(c, "SELECT 1"));
        }
    }

    /** The driver answers "cached plan must not change result type" by preparing the statement once more. */
    static void alteredTable(Connection c) throws Exception {
        try (Statement s = c.createStatement()) {
            s.execute("DROP TABLE IF EXISTS altered; CREATE TABLE altered (a int); INSERT INTO altered VALUES (1)");
        }
        try (PreparedStatement s = c.prepareStatement("SELECT * FROM altered")) {
            for (int columns = 1; columns < 5; columns++) {
                for (int i = 0; i < 3; i++) {
                    try (ResultSet r = s.executeQuery()) {
                        same(columns, r.getMetaData().getColumnCount());
                    }
                }
                try (Statement ddl = c.createStatement()) {
                    ddl.execute("ALTER TABLE altered ADD c" + columns + " int");
                }
            }
        }
    }

    /** What the driver and the user say at the login follows the client from server to server. */
    static void parameters() throws Exception {
        TimeZone before = TimeZone.getDefault();
        List<Connection> all = new ArrayList<>();
        try {
            String[] zones = {"Asia/Tokyo", "America/New_York", "UTC", "Europe/Paris"};
            for (String zone : zones) {
                TimeZone.setDefault(TimeZone.getTimeZone(zone));
                all.add(connect(database, "app", "ApplicationName=in " + zone, "currentSchema=" + (zone.equals("UTC") ? "pg_catalog,public" : "public"), "prepareThreshold=1", "assumeMinServerVersion=9.0"));
            }
            for (int round = 0; round < 10; round++) {
                for (int i = 0; i < zones.length; i++) {
                    Connection c = all.get(i);
                    same(zones[i], one(c, "SHOW TimeZone"));
                    same("in " + zones[i], one(c, "SHOW application_name"));
                    same("ISO, MDY", one(c, "SHOW DateStyle"));
                    same("3", one(c, "SHOW extra_float_digits"));
                    same(i == 2 ? "pg_catalog,public" : "public", ((String) one(c, "SHOW search_path")).replace(" ", "").replace("\"", ""));
                    same("2024-01-01 00:00:00", one(c, "SELECT ('2024-01-01 00:00'::timestamptz)::timestamp::text"));
                }
            }
            all.get(0).setClientInfo("ApplicationName", "renamed");
            all.get(1).setSchema("pg_catalog");
            same("renamed", one(all.get(0), "SHOW application_name"));
            same("in America/New_York", one(all.get(1), "SHOW application_name"));
            same("pg_catalog", one(all.get(1), "SELECT current_schema()"));
            same("public", one(all.get(0), "SELECT current_schema()"));
        } finally {
            TimeZone.setDefault(before);
            for (Connection c : all) {
                c.close();
            }
        }
    }

    static void admin() throws Exception {
        for (String mode : List.of("extended", "simple")) {
            try (Connection c = connect("pgdrover", "admin", "preferQueryMode=" + mode, "prepareThreshold=1"); Statement s = c.createStatement()) {
                for (String view : List.of("POOLS", "CLIENTS", "SERVERS", "STATS", "DATABASES", "CONFIG", "VERSION", "LISTS", "WAITERS")) {
                    try (ResultSet r = s.executeQuery("SHOW " + view)) {
                        while (r.next()) {
                            for (int i = 1; i <= r.getMetaData().getColumnCount(); i++) {
                                r.getObject(i);
                            }
                        }
                    }
                }
                same(database, one(c, "SELECT name FROM databases WHERE name = ?", database));
                fails("08P01", () -> s.executeQuery("SHOW NOTHING AT ALL"));
            }
        }
    }
}
