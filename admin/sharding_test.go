package admin

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"

	"pgdrover/internal/config"
	"pgdrover/shard"
)

func TestShardingCommands(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ sql, did, tag string }{
		{"CREATE SHARD a ON DATABASE shop", "CreateShard {Name:a Options:[]}", "CREATE SHARD"},
		{"CREATE SHARD A ON DATABASE shop (host '10.0.0.1', port 5433, dbname shop_a)", "CreateShard {Name:A Options:[{Name:host Value:10.0.0.1} {Name:port Value:5433} {Name:dbname Value:shop_a}]}", "CREATE SHARD"},
		{"CREATE SHARD a ON DATABASE shop WITH (password 'hush')", "CreateShard {Name:a Options:[{Name:password Value:hush}]}", "CREATE SHARD"},
		{"ALTER SHARD a ON DATABASE shop RESET host", "AlterShard {Name:a Key:host Value:<nil>}", "ALTER SHARD"},
		{"DROP SHARD a ON DATABASE shop", "DropShard {Name:a}", "DROP SHARD"},
		{"CREATE KEY c ON DATABASE shop TYPE bigint", "CreateKey {Name:c Types:[bigint] Bounds:[]}", "CREATE KEY"},
		{"CREATE KEY c ON DATABASE shop TYPE (timestamp with time zone, VARCHAR(20))", "CreateKey {Name:c Types:[timestamp with time zone varchar(20)] Bounds:[]}", "CREATE KEY"},
		{
			"CREATE KEY c ON DATABASE shop TYPE text PLACEMENT (a FOR VALUES IN ('x', NULL), \"b\" DEFAULT)",
			"CreateKey {Name:c Types:[text] Bounds:[FOR VALUES IN ('x', NULL) DEFAULT]}", "CREATE KEY",
		},
		{"ALTER KEY c ON DATABASE shop PLACEMENT (a DEFAULT) WITHOUT MOVING ROWS", "AlterKey {Name:c Place:<nil> Drop:<nil> Placement:[DEFAULT] WithoutMovingRows:true}", "ALTER KEY"},
		{"DROP KEY c ON DATABASE shop", "DropKey {Name:c}", "DROP KEY"},
		{"CREATE TABLE Orders ON DATABASE shop KEY customer (Customer_ID)", "PutTable {Table:orders Key:customer Columns:[customer_id] Alter:false WithoutMovingRows:false}", "CREATE TABLE"},
		{`CREATE TABLE Sales."Orders" ON DATABASE shop KEY customer (a, "B")`, `PutTable {Table:sales."Orders" Key:customer Columns:[a B] Alter:false WithoutMovingRows:false}`, "CREATE TABLE"},
		{"CREATE TABLE countries ON DATABASE shop REFERENCE", "PutTable {Table:countries Key: Columns:[] Alter:false WithoutMovingRows:false}", "CREATE TABLE"},
		{"ALTER TABLE countries ON DATABASE shop REFERENCE WITHOUT MOVING ROWS", "PutTable {Table:countries Key: Columns:[] Alter:true WithoutMovingRows:true}", "ALTER TABLE"},
		{"DROP TABLE countries ON DATABASE shop", "DropTable {Table:countries WithoutMovingRows:false}", "DROP TABLE"},
		{"ALTER DATABASE shop PLACE SCHEMA audit ON b", "PlaceTables {Schema:audit Shard:b WithoutMovingRows:false}", "ALTER DATABASE"},
		{"ALTER DATABASE shop PLACE OTHER TABLES NOWHERE WITHOUT MOVING ROWS", "PlaceTables {Schema: Shard: WithoutMovingRows:true}", "ALTER DATABASE"},
		{"ALTER DATABASE shop RESET SHARD MAP WITHOUT MOVING ROWS", "ResetSharding {WithoutMovingRows:true}", "ALTER DATABASE"},
	} {
		t.Run(tt.sql, func(t *testing.T) {
			t.Parallel()
			h := start(t)
			c, told := h.connect(t, "ops")
			tag, failed := run(t, c, tt.sql)
			if failed != nil || tag != tt.tag {
				t.Errorf("tag %q, %v", tag, failed)
			}
			if got := h.cfg.log(); !slices.Equal(got, []string{"sharding shop config." + tt.did}) {
				t.Errorf("\n got %q\nwant %q", got, "sharding shop config."+tt.did)
			}
			if n := told.take(); len(n) != 1 || n[0].Message != "noted" || n[0].Severity != "NOTICE" {
				t.Errorf("notices %+v", n)
			}
			if log := h.log.String(); strings.Contains(log, "hush") || !strings.Contains(log, "admin command") {
				t.Errorf("log %s", log)
			}
		})
	}
}

func TestShardingCommandErrors(t *testing.T) {
	t.Parallel()
	h := start(t)
	ops, _ := h.connect(t, "ops")
	exporter, _ := h.connect(t, "exporter")
	for _, tt := range []struct {
		c                        *pgconn.PgConn
		sql, code, message, hint string
	}{
		{exporter, "DROP SHARD a ON DATABASE shop", "42501", "admin access needed", "Users in admin_users may run every command, users in stats_users only SHOW and SELECT."},
		{ops, "CREATE SHARD a", "08P01", "invalid command 'CREATE SHARD a', use SHOW HELP;", "The syntax is CREATE SHARD <shard> ON DATABASE <database> [[WITH] (<options>)]."},
		{ops, "CREATE TABLE x (a int)", "08P01", "invalid command 'CREATE TABLE x (a int)', use SHOW HELP;", "The syntax is CREATE TABLE <table> ON DATABASE <database> {KEY <key> (<columns>) | REFERENCE}."},
		{ops, "CREATE VIEW x AS SELECT 1", "08P01", "invalid command 'CREATE VIEW x AS SELECT 1', use SHOW HELP;", "In the admin database, SQL may only SELECT from the views that SHOW HELP lists."},
		{ops, "ALTER KEY c ON DATABASE shop PLACE a", "08P01", "invalid command 'ALTER KEY c ON DATABASE shop PLACE a', use SHOW HELP;", "The syntax is ALTER KEY <key> ON DATABASE <database> PLACE ON <shard> <bound> [WITHOUT MOVING ROWS]."},
		{ops, "ALTER KEY c ON DATABASE shop PLACE ON a FOR VALUES (1)", "42601", `syntax error at or near "(": WITH, FROM or IN expected`, ""},
		{ops, "ALTER KEY c ON DATABASE shop DROP FOR VALUES IN (1) WITHOUT MOVING", "42601", `syntax error at or near "WITHOUT": the end expected`, ""},
		{ops, "CREATE KEY c ON DATABASE shop TYPE bigint PLACEMENT (a FOR VALUES WITH (MODULUS 2))", "42601", "MODULUS and REMAINDER must both be given", ""},
		{ops, "CREATE KEY c ON DATABASE shop TYPE (bigint, )", "42601", `syntax error at or near ")": a type expected`, ""},
		{ops, "CREATE SHARD a ON DATABASE shop (host, port 1)", "42601", `syntax error at or near ",": a value expected`, ""},
		{ops, "CREATE TABLE a.b.c ON DATABASE shop REFERENCE", "42601", `syntax error at or near ".": the end expected`, ""},
		{ops, "ALTER DATABASE shop PLACE SCHEMA a, b ON x", "42601", "syntax error: one schema expected", ""},
	} {
		_, e := run(t, tt.c, tt.sql)
		if e == nil || e.Code != tt.code || e.Message != tt.message || e.Hint != tt.hint {
			t.Errorf("%s:\n got %+v\nwant %s %s (%s)", tt.sql, e, tt.code, tt.message, tt.hint)
		}
	}
	if did := h.cfg.log(); len(did) > 0 {
		t.Errorf("did %q", did)
	}
}

// checked refuses what the pooler would refuse.
func checked(_, next *config.Config) (func(), error) {
	for _, d := range next.Databases {
		if _, err := shard.NewMap(d); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// A session that sets up a sharded database with commands alone, with what it is answered; the next start must know all of it.
func TestAShardMapIsMadeWithCommands(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "config.toml")
	if err := os.WriteFile(path, []byte("[users.ops]\n[databases.shop]\nhost = \"10.0.1.1\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := config.Open(path, config.Options{})
	if err != nil {
		t.Fatal(err)
	}
	m.Subscribe(checked)
	h := startWith(t, m)
	c, _ := h.connect(t, "ops")
	for _, step := range []struct{ sql, code, message, hint string }{
		{sql: "CREATE SHARD a ON DATABASE shop"},
		{sql: "CREATE SHARD b ON DATABASE shop (host '10.0.2.1', password 'hush')"},
		{sql: "CREATE KEY customer ON DATABASE shop TYPE bigint"},
		{sql: "CREATE TABLE customers ON DATABASE shop KEY customer (id)"},
		{sql: "CREATE TABLE orders ON DATABASE shop KEY customer (customer_id)"},
		{sql: "CREATE TABLE countries ON DATABASE shop REFERENCE"},
		{sql: "CREATE SHARD c ON DATABASE shop (host '10.0.3.1')"},
		{
			sql: "ALTER KEY customer ON DATABASE shop PLACE ON c FOR VALUES WITH (MODULUS 4, REMAINDER 3)", code: "55000",
			message: `key "customer" of database "shop" has tables (customers, orders), whose rows would have to move`,
			hint:    "The command changes where rows are looked for; it does not move them. If the rows are there already, or there are none, add WITHOUT MOVING ROWS.",
		},
		{sql: "ALTER KEY customer ON DATABASE shop PLACE ON c FOR VALUES WITH (MODULUS 4, REMAINDER 3) WITHOUT MOVING ROWS"},
		{
			sql: "ALTER KEY customer ON DATABASE shop PLACE ON c FOR VALUES WITH (MODULUS 3, REMAINDER 0) WITHOUT MOVING ROWS", code: "22023",
			message: `database "shop": key "customer": FOR VALUES WITH (MODULUS 3, REMAINDER 0) on shard c does not go with MODULUS 2: every modulus must divide the next larger one`,
			hint:    "Nothing was changed. SHOW SHARDS, KEYS, TABLES and PLACEMENT tell what is in force.",
		},
		{
			sql: "ALTER KEY customer ON DATABASE shop DROP FOR VALUES WITH (MODULUS 2, REMAINDER 0) WITHOUT MOVING ROWS", code: "22023",
			message: `database "shop": key "customer": there is a gap: no shard has FOR VALUES WITH (MODULUS 4, REMAINDER 0)`,
			hint:    "Nothing was changed. SHOW SHARDS, KEYS, TABLES and PLACEMENT tell what is in force.",
		},
		{
			sql: "CREATE KEY mood ON DATABASE shop TYPE enum", code: "22023",
			message: `database "shop": key "mood": type enum cannot be a sharding key: the hash of an enum is that of its label's OID, which differs from server to server; use text`,
			hint:    "Nothing was changed. SHOW SHARDS, KEYS, TABLES and PLACEMENT tell what is in force.",
		},
		{
			sql: "DROP SHARD c ON DATABASE shop", code: "2BP01", message: `cannot drop shard "c" of database "shop": it holds FOR VALUES WITH (MODULUS 4, REMAINDER 3) of key "customer"`,
			hint: "ALTER KEY customer ON DATABASE shop PLACE ON another shard FOR VALUES WITH (MODULUS 4, REMAINDER 3), once the rows are there.",
		},
		{sql: "ALTER DATABASE shop PLACE OTHER TABLES ON a"},
		{sql: "ALTER DATABASE shop PLACE SCHEMA audit ON b WITHOUT MOVING ROWS"},
		{sql: "ALTER SHARD c ON DATABASE shop SET replicas = '10.0.3.2, 10.0.3.3:5433 weight=2'"},
		{sql: "DROP SHARD x ON DATABASE shop", code: "42704", message: `shard "x" of database "shop" does not exist`},
		{sql: "DROP SHARD x ON DATABASE shoe", code: "3D000", message: `no such database: shoe; did you mean "shop"?`},
	} {
		_, e := run(t, c, step.sql)
		switch {
		case e == nil && step.code != "":
			t.Errorf("%s: no error", step.sql)
		case e != nil && (e.Code != step.code || e.Hint != step.hint || !strings.HasPrefix(e.Message, step.message)):
			t.Errorf("%s:\n got %s %s (%s)\nwant %s %s (%s)", step.sql, e.Code, e.Message, e.Hint, step.code, step.message, step.hint)
		}
	}
	want := map[string][]string{
		"SELECT key, shard, bound, share FROM placement": {
			"customer|a|FOR VALUES WITH (MODULUS 2, REMAINDER 0)|0.5", "customer|b|FOR VALUES WITH (MODULUS 4, REMAINDER 1)|0.25", "customer|c|FOR VALUES WITH (MODULUS 4, REMAINDER 3)|0.25",
		},
		"SELECT shard, sum(share) FROM placement GROUP BY 1 ORDER BY 2 DESC LIMIT 1": {"a|0.5"},
		"SELECT shard, host, replicas FROM shards":                                   {"a|10.0.1.1|", "b|10.0.2.1|", "c|10.0.3.1|10.0.3.2:5432, 10.0.3.3:5433 weight=2"},
		"SELECT name, kind, columns, shard FROM tables WHERE schema = 'public'":      {"countries|reference||", "customers|sharded|id|", "orders|sharded|customer_id|"},
		"SELECT schema, shard FROM tables WHERE kind = 'single'":                     {"audit|b", "|a"},
		"SELECT key, type, kind, bounds, shards, tables FROM keys":                   {"customer|bigint|hash|3|3|2"},
	}
	for sql, rows := range want {
		if diff := cmp.Diff(rows, selectRows(t, c, sql)); diff != "" {
			t.Errorf("%s: %s", sql, diff)
		}
	}
	// The next process reads the same from the file.
	again, err := config.Open(path, config.Options{})
	if err != nil {
		t.Fatal(err)
	}
	h = startWith(t, again)
	c, _ = h.connect(t, "exporter")
	for sql, rows := range want {
		if diff := cmp.Diff(rows, selectRows(t, c, sql)); diff != "" {
			t.Errorf("after a restart, %s: %s", sql, diff)
		}
	}
}

func selectRows(t *testing.T, c *pgconn.PgConn, sql string) []string {
	t.Helper()
	rs, err := c.Exec(context.Background(), sql).ReadAll()
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	var out []string
	for _, row := range rs[0].Rows {
		parts := make([]string, len(row))
		for i := range row {
			parts[i] = string(row[i])
		}
		out = append(out, strings.Join(parts, "|"))
	}
	return out
}

// The session that docs/sharding.md shows is one that was run.
func TestTheDocumentedSessionIsReal(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(path, []byte("[users.ops]\n[databases.shop]\nhost = \"10.0.1.1\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := config.Open(path, config.Options{})
	if err != nil {
		t.Fatal(err)
	}
	m.Subscribe(checked)
	out := startWith(t, m).psql(t, "ops", `CREATE SHARD a ON DATABASE shop (host '10.0.1.1');
CREATE SHARD b ON DATABASE shop (host '10.0.2.1', port 5433);
CREATE KEY customer ON DATABASE shop TYPE bigint;
CREATE TABLE customers ON DATABASE shop KEY customer (id);
CREATE TABLE orders ON DATABASE shop KEY customer (customer_id);
CREATE TABLE countries ON DATABASE shop REFERENCE;
SELECT shard, host, port, dbname FROM shards;
SELECT name, kind, key, columns FROM tables;
CREATE SHARD c ON DATABASE shop (host '10.0.3.1', replicas '10.0.3.2, 10.0.3.3 weight=2');
ALTER KEY customer ON DATABASE shop PLACE ON c FOR VALUES WITH (MODULUS 4, REMAINDER 3);
ALTER KEY customer ON DATABASE shop PLACE ON c FOR VALUES WITH (MODULUS 4, REMAINDER 3) WITHOUT MOVING ROWS;
SELECT key, shard, bound, share FROM placement;
DROP SHARD c ON DATABASE shop;
`, "-e")
	golden(t, "psql_sharding.txt", out)
	doc, err := os.ReadFile(filepath.Join("..", "docs", "sharding.md"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(doc), "```\n"+out+"```\n") {
		t.Error("docs/sharding.md does not show admin/testdata/psql_sharding.txt")
	}
}
