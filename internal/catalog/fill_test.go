package catalog

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"pgdrover/internal/pgtest"
)

func TestHowFullTablesAre(t *testing.T) {
	t.Parallel()
	for _, version := range versions {
		c := startVersion(t, version, pgtest.WithAuth("trust"), pgtest.WithUser("nobody", ""))
		admin := connect(t, c.SocketDSN("postgres", pgtest.Superuser))
		run(t, admin, `
ALTER ROLE nobody SET standard_conforming_strings = off; ALTER ROLE nobody SET client_encoding = 'LATIN1';
CREATE TABLE empty (i int); CREATE TABLE one (i int); INSERT INTO one VALUES (1); CREATE TABLE emptied (i int); INSERT INTO emptied VALUES (1); DELETE FROM emptied;
CREATE TABLE parts (i int) PARTITION BY LIST (i); CREATE TABLE sub PARTITION OF parts DEFAULT PARTITION BY LIST (i); CREATE TABLE leaf PARTITION OF sub DEFAULT; INSERT INTO parts VALUES (1);
CREATE TABLE parent (i int); CREATE TABLE child () INHERITS (parent); INSERT INTO child VALUES (1);
CREATE SCHEMA "ö'dd\ ""x"; CREATE TABLE "ö'dd\ ""x"."t'\" (i int); INSERT INTO "ö'dd\ ""x"."t'\" VALUES (1);
CREATE TABLE locked (i int); INSERT INTO locked VALUES (1);
CREATE TABLE hidden (i int); INSERT INTO hidden VALUES (1); ALTER TABLE hidden ENABLE ROW LEVEL SECURITY; GRANT SELECT ON hidden, empty, emptied TO nobody`)
		odd := Name{`ö'dd\ "x`, `t'\`}
		tables := []Name{{"public", "empty"}, {"public", "one"}, {"public", "emptied"}, {"public", "parts"}, {"public", "parent"}, odd, {"public", "missing"}, {"nowhere", "one"}, {"public", "locked"}, {"public", "hidden"}}
		conn := connect(t, c.SocketDSN("postgres", "nobody"))
		ask := func(want ...string) {
			t.Helper()
			sizes, err := Sizes(within(t), conn, tables)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for i, size := range sizes {
				switch {
				case size == SizeAbsent:
					got = append(got, "absent")
				case size == SizeUnknown:
					got = append(got, "unknown")
				case size == 0:
					got = append(got, "0")
				case size > 0:
					rows, err := HasRows(within(t), conn, tables[i])
					switch {
					case err != nil:
						t.Errorf("%s: %v", tables[i], err)
					case rows:
						got = append(got, "rows")
					default:
						got = append(got, "space")
					}
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("the tables have (-want +got):\n%s", diff)
			}
		}
		ask("0", "rows", "space", "rows", "rows", "rows", "absent", "absent", "rows", "rows")
		for _, sql := range []string{"BEGIN", "LOCK TABLE locked"} {
			if _, err := admin.Exec(within(t), sql).ReadAll(); err != nil {
				t.Fatal(err)
			}
		}
		ask("0", "rows", "space", "rows", "rows", "rows", "absent", "absent", "unknown", "rows")
		if _, err := HasRows(within(t), connect(t, c.SocketDSN("postgres", pgtest.Superuser)), Name{"public", "locked"}); err == nil {
			t.Error("it is known whether a locked table has rows")
		}
		if _, err := admin.Exec(within(t), "ROLLBACK").ReadAll(); err != nil {
			t.Fatal(err)
		}
		if none, err := Sizes(within(t), conn, nil); err != nil || len(none) != 0 {
			t.Errorf("of no tables: %v, %v", none, err)
		}
	}
}
