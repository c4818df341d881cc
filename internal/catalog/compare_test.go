package catalog

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"pgdrover/internal/pgtest"
)

func TestCompare(t *testing.T) {
	t.Parallel()
	c := pgtest.Start(t, pgtest.WithDatabase("a", ""), pgtest.WithDatabase("b", ""))
	a, b := connect(t, c.SocketDSN("a", pgtest.Superuser)), connect(t, c.SocketDSN("b", pgtest.Superuser))
	const common = `CREATE TYPE mood AS ENUM ('sad', 'happy'); CREATE DOMAIN ids AS bigint;
CREATE TABLE same (id ids, m mood); CREATE TABLE dropped (x int, y int, z int);`
	run(t, a, common+`CREATE TABLE one (i int, d numeric(10,2), t text, n int NOT NULL, g int GENERATED ALWAYS AS IDENTITY, l text);
CREATE TABLE here (i int); CREATE VIEW v AS SELECT 1 AS x; CREATE TYPE size AS ENUM ('s', 'm'); CREATE TABLE turned (a int, b int)`)
	run(t, b, common+`ALTER TABLE dropped DROP COLUMN x, DROP COLUMN y;
ALTER TABLE dropped ADD COLUMN x int, ADD COLUMN y int;
CREATE TABLE one (i bigint, d numeric(10,3), t text COLLATE "POSIX", n int, g int NOT NULL, r text);
CREATE TABLE there (i int); CREATE VIEW v AS SELECT 2 AS x; CREATE TYPE size AS ENUM ('m', 's'); CREATE VIEW turned AS SELECT 1 AS a, 2 AS b`)
	lead, other := mustLoad(t, a), mustLoad(t, b)
	if d := Compare(lead, lead, "a"); len(d) != 0 {
		t.Errorf("a shard differs from itself: %v", d)
	}
	other.Version, other.Collate = lead.Version+10000, "de_DE.UTF-8"
	combined := Combine(nil, lead, Shard{"b", other})
	if combined.Version != lead.Version {
		t.Errorf("version: got %d, want the lowest", combined.Version)
	}
	got := map[string]bool{}
	for _, d := range combined.Differences {
		if d.Shard != "b" {
			t.Errorf("shard: %v", d)
		}
		got[d.Relation.Name+"."+d.Column+" "+string(d.Kind)] = true
	}
	want := map[string]bool{}
	for _, s := range []string{
		". version", ". locale", "same.m type-oid", "dropped. order", "one.i type", "one.i type-oid", "one.d type", "one.t collation", "one.n null",
		"one.g generated", "one.l missing", "one.r extra", "here. missing", "there. extra", "v. definition", "size. definition", "turned. kind",
		"one_g_seq. missing", "turned. definition", "turned.a null",
	} {
		want[s] = true
	}
	delete(want, "one.i type-oid")
	delete(want, "turned.a null")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("differences (-want +got):\n%s", diff)
	}
}

func TestCombineTakesATableFromTheShardThatHasItsRows(t *testing.T) {
	t.Parallel()
	c := pgtest.Start(t, pgtest.WithDatabase("a", ""), pgtest.WithDatabase("b", ""), pgtest.WithDatabase("c", ""))
	var cats [3]*Catalog
	for i, ddl := range [3]string{
		`CREATE TABLE common (id int); CREATE TYPE mood AS ENUM ('sad'); CREATE TABLE stale (old mood); CREATE TABLE lost (id int);
CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql AS 'SELECT $1 * 2'`,
		`CREATE SCHEMA billing; CREATE TYPE size AS ENUM ('s'); CREATE DOMAIN billing.amount AS bigint; CREATE TYPE mood AS ENUM ('sad'); CREATE TABLE common (id int);
CREATE TABLE billing.invoices (id billing.amount, s size, l size[], m mood); CREATE TABLE stale (fresh text); CREATE FUNCTION thrice(size) RETURNS size LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql AS 'SELECT $1 * 2'`,
		`CREATE TABLE common (id int); CREATE TABLE stray (id int); CREATE TABLE homeless (id int)`,
	} {
		conn := connect(t, c.SocketDSN(string(rune('a'+i)), pgtest.Superuser))
		run(t, conn, ddl)
		cats[i] = mustLoad(t, conn)
	}
	home := func(n Name) int {
		if n.Schema == "billing" {
			return 1
		}
		switch n.Name {
		case "common", "homeless":
			return -1
		case "stale", "stray", "lost":
			return 1
		}
		return 0
	}
	leads := len(cats[0].Types)
	got := Combine(home, cats[0], Shard{"b", cats[1]}, Shard{"c", cats[2]})
	if len(cats[0].Types) != leads {
		t.Error("the lead shard's own catalog was changed")
	}
	inv := got.Relations[Name{"billing", "invoices"}]
	if inv == nil || !got.Schemas["billing"] {
		t.Fatal("a table of the second shard is missing")
	}
	if b := inv.Column("id").Base; b != 20 {
		t.Errorf("base type of a domain: %d, want bigint", b)
	}
	size := got.TypeNames[Name{"public", "size"}]
	if size == nil || got.Types[size.OID] != size || inv.Column("s").Type != size.OID || inv.Column("l").Type != size.Array || got.Types[size.Array].Element != size.OID {
		t.Errorf("an enum of the second shard: %+v, columns %+v", size, inv.Columns)
	}
	if mood := got.TypeNames[Name{"public", "mood"}]; inv.Column("m").Type != mood.OID || mood != cats[0].TypeNames[mood.Name] {
		t.Errorf("an enum of both shards: %+v", mood)
	}
	for oid, typ := range got.Types {
		if typ.OID != oid || typ.Kind != 'c' && got.TypeNames[typ.Name] != typ {
			t.Errorf("type %v with OID %d is listed under %d", typ.Name, typ.OID, oid)
		}
	}
	if f := got.Functions[Name{"public", "thrice"}]; len(f) != 1 || f[0].Args[0] != size.OID || got.FunctionByOID(f[0].OID) != f[0] {
		t.Errorf("a function of the second shard: %v", f)
	}
	if f := got.Functions[Name{"public", "twice"}]; len(f) != 1 {
		t.Errorf("a function of both shards is listed %d times", len(f))
	}
	if got.Relations[Name{"public", "stale"}].Column("fresh") == nil {
		t.Error("a table of the second shard has the lead shard's columns")
	}
	var elsewhere []string
	for _, p := range Check(got, nil, func(n Name) (Placement, bool) {
		at := home(n)
		return Placement{Kind: Single, Shard: at}, at >= 0
	}, nil) {
		elsewhere = append(elsewhere, p.Relation.Name)
	}
	if diff := cmp.Diff([]string{"lost", "stray"}, elsewhere); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if got.Relations[Name{"public", "stray"}] == nil || got.Relations[Name{"public", "homeless"}] == nil {
		t.Error("a table that a search_path may find is missing")
	}
}
