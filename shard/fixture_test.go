package shard

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"pgdrover/internal/catalog"
	"pgdrover/internal/config"
	"pgdrover/internal/pgtest"
	"pgdrover/shard/hash"
)

// fixture is a schema and a map, with the same rows in one database and in one for each shard.
type fixture struct {
	db     *DB
	m      *Map
	one    *pgconn.PgConn
	shards []*pgconn.PgConn
	tables []string
	ran    int // statements that were compared and no error
}

// readMap reads the map of a test: lines "shards a b", "key name type[,type] table.column[,column] …", "place name bounds",
// "reference t", "schema s a", "default a".
func readMap(t testing.TB, s string) *Map {
	t.Helper()
	d := &config.Database{Name: "shop", Source: "test:1"}
	d.Keys = map[string]config.Key{}
	table := func(s string) config.TableName {
		s = strings.ReplaceAll(s, "%20", " ")
		if schema, name, ok := strings.Cut(s, "."); ok {
			return config.TableName{Schema: schema, Name: name}
		}
		return config.TableName{Schema: "public", Name: s}
	}
	d.Schemas = map[string]string{}
	for line := range strings.Lines(s) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		switch words[0] {
		case "shards":
			for _, name := range words[1:] {
				d.Shards = append(d.Shards, config.Shard{Name: name})
			}
		case "key":
			k := config.Key{Name: words[1], Types: strings.Split(words[2], ","), Columns: map[config.TableName][]string{}}
			for _, w := range words[3:] {
				name, columns, _ := strings.Cut(w, ":")
				k.Columns[table(name)] = strings.Split(columns, ",")
			}
			d.Keys[k.Name] = k
		case "place":
			k := d.Keys[words[1]]
			var err error
			if k.Bounds, err = config.ParsePlacement("(" + strings.Join(words[2:], " ") + ")"); err != nil {
				t.Fatal(err)
			}
			d.Keys[k.Name] = k
		case "reference":
			for _, w := range words[1:] {
				d.ReferenceTables = append(d.ReferenceTables, table(w))
			}
		case "schema":
			d.Schemas[words[1]] = words[2]
		case "default":
			d.DefaultShard = words[1]
		default:
			t.Fatalf("map: %s", line)
		}
	}
	m, err := NewMap(d)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func newFixture(ctx context.Context, t *testing.T, cluster *pgtest.Cluster, name, schema, place string) *fixture {
	t.Helper()
	fx := &fixture{m: readMap(t, place)}
	connect := func(db string) *pgconn.PgConn {
		if err := cluster.Exec(ctx, "CREATE DATABASE "+db); err != nil {
			t.Fatal(err)
		}
		conn, err := pgconn.Connect(ctx, cluster.DSN(db, "postgres"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(ctx)) })
		ddl, rows, _ := strings.Cut(schema, "-- rows\n")
		if db == name+"_one" {
			ddl += rows
		}
		if _, err := conn.Exec(ctx, ddl).ReadAll(); err != nil {
			t.Fatalf("schema: %v", err)
		}
		return conn
	}
	fx.one = connect(name + "_one")
	for _, s := range fx.m.Shards() {
		fx.shards = append(fx.shards, connect(name+"_"+s))
	}
	cat, err := catalog.Load(ctx, fx.shards[0])
	if err != nil {
		t.Fatal(err)
	}
	fx.db = NewDB(fx.m, cat, NewCache(1<<20), "harmless", "touch")
	for _, r := range cat.Relations {
		if catalog.System(r.Schema) || r.Kind != 'r' && r.Kind != 'p' || r.Parent != nil {
			continue
		}
		if table := fx.m.Table(r.Schema, r.Name.Name); table != nil {
			fx.spread(ctx, t, r, table)
			fx.tables = append(fx.tables, fmt.Sprintf("%q.%q", r.Schema, r.Name.Name))
		}
	}
	slices.Sort(fx.tables)
	return fx
}

// spread copies the rows of a table from the one database to its shards.
func (fx *fixture) spread(ctx context.Context, t *testing.T, r *catalog.Relation, table *Table) {
	t.Helper()
	var columns []string
	for _, c := range r.Columns {
		if c.Generated == 0 {
			columns = append(columns, fmt.Sprintf("%q", c.Name))
		}
	}
	name := fmt.Sprintf("%q.%q", r.Schema, r.Name.Name)
	list := strings.Join(columns, ",")
	keys := ""
	for _, k := range table.Columns {
		keys += fmt.Sprintf(",%q", k)
	}
	res, err := fx.one.Exec(ctx, "SELECT t::text"+keys+" FROM (SELECT "+list+" FROM "+name+") t").ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range res[0].Rows {
		var to []int
		switch table.Kind {
		case Reference:
			for i := range fx.shards {
				to = append(to, i)
			}
		case Single:
			to = []int{table.Shard}
		case Sharded:
			values := make([]hash.Value, len(table.Columns))
			for i := range values {
				if row[i+1] == nil {
					continue
				}
				if values[i], err = table.Key.Types[i].ParseText(row[i+1]); err != nil {
					t.Fatal(err)
				}
			}
			n, ok := table.Key.Locate(values)
			if !ok {
				t.Fatalf("%s: no shard for %s", name, row[0])
			}
			to = []int{n}
		}
		for _, n := range to {
			res := fx.shards[n].ExecParams(ctx, "INSERT INTO "+name+" ("+list+") OVERRIDING SYSTEM VALUE SELECT (json_populate_record(NULL::"+name+", $1::json))."+strings.Join(columns, ", (json_populate_record(NULL::"+name+", $1::json))."), [][]byte{fx.json(ctx, t, name, list, row[0])}, nil, nil, nil).Read()
			if res.Err != nil {
				t.Fatalf("%s: %v", name, res.Err)
			}
		}
	}
}

// json returns a row of the one database, given in text form, as JSON.
func (fx *fixture) json(ctx context.Context, t *testing.T, name, list string, row []byte) []byte {
	t.Helper()
	res := fx.one.ExecParams(ctx, "SELECT to_json(t) FROM (SELECT "+list+" FROM "+name+") t WHERE t::text = $1", [][]byte{row}, nil, nil, nil).Read()
	if res.Err != nil || len(res.Rows) == 0 {
		t.Fatal(name, res.Err)
	}
	return res.Rows[0][0]
}
