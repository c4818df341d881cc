package demo

import (
	"fmt"
	"io"
	"strconv"
)

// configFile returns the configuration that the user will edit.
func configFile(dir string, port, serverPort int) []byte {
	return fmt.Appendf(nil, `# The configuration of the pgdrover demo. Edit and save it: what changes is live at once, and
# connections that it does not concern stay open. What cannot work is refused and logged.

listen_addr     = "127.0.0.1"
listen_port     = %d
unix_socket_dir = %s

# When a server connection goes back to its pool: "session", "transaction" or "statement".
pool_mode         = "transaction"
default_pool_size = 5             # server connections for each pair of user and database
max_client_conn   = 200
query_wait_timeout = "1min"       # how long a client may wait for a server connection

auth_type   = "scram-sha-256"
admin_users = [%s]           # who may do everything in the admin database, pgdrover
log_format  = "console"           # or "pgbouncer", "json"

# Who may log in. In earnest, use password_file, password_env or a SCRAM secret.
[users.%s]
password = %s

[users.%s]
password = %s
pool_size = 2                     # this user gets fewer server connections

[users.%s]
password = %s

[users.%s]                  # finishes transactions over several shards that were interrupted
password = %s

# Clients that ask for "%s" get to this server.
[databases.%s]
host = "127.0.0.1"
port = %d

# "%s" is spread over two shards: here two databases of the one server, in earnest two servers.
[databases.%s]
host = "127.0.0.1"                # what a shard does not say itself is as here
port = %d
reference_tables = ["countries"]  # the same rows on every shard
recovery_user    = "%s"

[[databases.%s.shards]]
name   = "a"
dbname = "shop_a"

[[databases.%s.shards]]
name   = "b"
dbname = "shop_b"

# The rows of a customer are on one shard, in all three tables: the one that PostgreSQL's hash of the key says.
[databases.%s.keys.customer]
type    = "bigint"
columns = { customers = "id", orders = "customer_id", order_items = "customer_id" }
`,
		port, strconv.Quote(dir), strconv.Quote(adminUser),
		demoUser, strconv.Quote(demoPassword), appUser, strconv.Quote(appPassword), adminUser, strconv.Quote(adminPassword),
		recoveryUser, strconv.Quote(recoveryPassword),
		database, database, serverPort, sharded, sharded, serverPort, recoveryUser, sharded, sharded, sharded)
}

// A printer writes until the first error, which it keeps.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}

// A guide is what the user has to know.
type guide struct {
	version          string
	serverPort, port int
	config           string
	noPsql           bool
}

// statements are worth trying in the sharded database.
var statements = []string{
	"SELECT name, country FROM customers WHERE id = 42;                   -- one shard",
	"SELECT id, name FROM customers WHERE country = 'ke' LIMIT 5;         -- both, one result",
	"SELECT country, count(*) FROM customers GROUP BY country;            -- refused: see the HINT",
	"INSERT INTO customers (name, country) VALUES ('Dee', 'ke') RETURNING id;   -- unique over shards",
	"INSERT INTO orders (customer_id) VALUES (42) RETURNING id;           -- likewise",
	"BEGIN;                                                               -- both, all or nothing",
	"UPDATE customers SET name = 'Ann' WHERE id = 1;",
	"UPDATE customers SET name = 'Bob' WHERE id = 3;",
	"COMMIT;",
}

// adminStatements are worth trying in the admin database.
var adminStatements = []string{
	"SHOW SHARDS;",
	"ROUTE shop 'SELECT * FROM orders WHERE customer_id = 42';",
	"CREATE SHARD c ON DATABASE shop (dbname 'shop_c');",
	"SHOW PLACEMENT;",
}

func (p *printer) guide(g guide) {
	psql := func(user, password, args string) {
		p.line("  PGPASSWORD=%s psql -h 127.0.0.1 -p %d -U %s %s", password, g.port, user, args)
	}
	p.line("PostgreSQL %s runs on port %d; its data is thrown away at the end.", g.version, g.serverPort)
	p.line("pgdrover runs on port %d, in front of it.", g.port)
	if g.noPsql {
		p.line("\npsql is not installed; get it first (Debian, Ubuntu: apt-get install postgresql-client).")
	}
	p.line("\nNow, in another terminal:\n")
	p.line("  # queries run through the pool; \\d shows the tables of a little shop")
	psql(demoUser, demoPassword, database)
	psql(appUser, appPassword, database+` -c "SELECT country, count(*) FROM customers GROUP BY 1 ORDER BY 1"`)
	p.line("\n  # look inside; SHOW HELP lists what else there is")
	psql(adminUser, adminPassword, "pgdrover -c 'SHOW POOLS'")
	p.line("\n  # %s has the same shop on two shards, by customer", sharded)
	psql(demoUser, demoPassword, sharded)
	for _, s := range statements {
		p.line("    %s", s)
	}
	p.line("\n  # where statements go, without running them; and a third shard")
	psql(adminUser, adminPassword, "pgdrover")
	for _, s := range adminStatements {
		p.line("    %s", s)
	}
	p.line("\n  # change something and save: it is live")
	p.line("  $EDITOR %s", g.config)
	p.line("\n^C stops both and removes everything.\n")
}
