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
	combined := Combine(lead, Shard{"b", other})
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
