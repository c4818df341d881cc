package shard

import (
	"hash/maphash"
	"reflect"
	"strings"
	"testing"

	"pgdrover/internal/sqlparse"
)

// FuzzRowsOnly compares what is found out about an INSERT of many rows by folding only what stands around them with what folding all of it finds.
func FuzzRowsOnly(f *testing.F) {
	for _, text := range rowsOnlyTexts {
		f.Add(text, false)
	}
	f.Fuzz(func(t *testing.T, text string, backslashes bool) { compareRowsOnly(t, text, backslashes) })
}

// rowsOnlyTexts are INSERTs, and what looks like them, with whether they may be read without folding the rows.
var rowsOnlyTexts = []string{
	"INSERT INTO t VALUES (1, 'a'), (2, 'b')",
	"insert into t values (1),(2);",
	"INSERT INTO t VALUES (1),(2) ;; \n",
	"/* shard=a */ INSERT INTO t (a, b) VALUES (1, 2), (3, 4) RETURNING a",
	"INSERT INTO t VALUES (1 /* shard=a */), (2)",
	"INSERT INTO t VALUES (1), (2) /* shard=b */",
	"INSERT INTO t VALUES (1), (2) ON CONFLICT (a) DO UPDATE SET b = ';' /* shard=b */;",
	"WITH x AS (SELECT 1) INSERT INTO t VALUES ((SELECT * FROM x)), (2)",
	"INSERT INTO t VALUES (1), ('it''s; (a)'), (E'\\\\'), (', '), ($$ ; $$)",
	// These are folded whole.
	"INSERT INTO t VALUES (1), (2 /* shard=a */)",
	"INSERT INTO t VALUES (1), -- one\n (2)",
	"INSERT INTO t VALUES (1), ('--')",
	"INSERT INTO t VALUES (1), (2); SELECT 1",
	"INSERT INTO t VALUES (1), (2) RETURNING a; SELECT 1",
	"WITH x AS (SELECT 1) SELECT 1; INSERT INTO t VALUES (1), (2)",
	"INSERT INTO t VALUES (1), (2",
	"INSERT INTO t VALUES (1), ('2)",
	"INSERT INTO t VALUES (1), (2) UNION SELECT 3",
	"SELECT 1",
	"",
}

func TestManyRowsAreReadAlike(t *testing.T) {
	t.Parallel()
	alone := 0
	for _, text := range rowsOnlyTexts {
		if compareRowsOnly(t, text, false) {
			alone++
		}
	}
	if alone != 9 {
		t.Errorf("%d texts were read without folding the rows, want 9", alone)
	}
	w := &workspace{folder: sqlparse.NewFolder(maphash.MakeSeed())}
	short := []byte("INSERT INTO t VALUES (1), (2)")
	if w.manyRows(short, false) != nil || w.manyRows([]byte("INSERT INTO t VALUES (1)"+strings.Repeat(", (2)", 1000)), false) == nil {
		t.Error("long texts, and only those, are read so")
	}
}

// compareRowsOnly reports whether the rows need not be folded.
func compareRowsOnly(t *testing.T, text string, backslashes bool) bool {
	t.Helper()
	seed := maphash.MakeSeed()
	w := &workspace{folder: sqlparse.NewFolder(seed)}
	s := w.rowsOnly([]byte(text), backslashes)
	if s == nil {
		return false
	}
	whole := &workspace{folder: sqlparse.NewFolder(seed)}
	if err := whole.folder.Fold([]byte(text), backslashes); err != nil || len(whole.folder.Statements) != 1 {
		t.Fatalf("%q: %v, %d statements", text, err, len(whole.folder.Statements))
	}
	want := &whole.folder.Statements[0]
	if s.Start != want.Start || s.End != want.End || s.First != want.First || s.Last != want.Last || s.Kind != want.Kind || !reflect.DeepEqual(s.Hint, want.Hint) {
		t.Errorf("%q: %+v, want %+v", text, s, want)
	}
	if !whole.hasRows(want, []byte(text), backslashes) || !reflect.DeepEqual(w.values, whole.values) {
		t.Errorf("%q: %+v, want %+v", text, w.values, whole.values)
	}
	return true
}
