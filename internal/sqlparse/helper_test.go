package sqlparse

import (
	"context"
	_ "embed"
	"hash/maphash"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"
)

//go:embed testdata/corpus.sql
var corpusText string

// corpus returns SQL that pg_query can parse, each text with one or more statements.
func corpus() []string {
	return strings.Split(strings.TrimSuffix(corpusText, "\n"), "\n----\n")
}

var testSeed = maphash.MakeSeed()

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func newParser(t testing.TB) *Parser {
	t.Helper()
	p, err := NewParser(DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func fold(t testing.TB, sql string) *Folder {
	t.Helper()
	f := NewFolder(testSeed)
	if err := f.Fold([]byte(sql), false); err != nil {
		t.Fatalf("folding %q: %v", sql, err)
	}
	return f
}

// visible shows placeholders as ?i ?I ?n ?s ?b ?x.
func visible(folded []byte) string {
	return strings.NewReplacer("\x01", "?i", "\x02", "?I", "\x03", "?n", "\x04", "?s", "\x05", "?b", "\x06", "?x").Replace(string(folded))
}

// walk visits every message of a tree.
func walk(m protoreflect.Message, visit func(protoreflect.Message)) {
	visit(m)
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.IsList() && fd.Message() != nil:
			for i := range v.List().Len() {
				walk(v.List().Get(i).Message(), visit)
			}
		case !fd.IsList() && !fd.IsMap() && fd.Message() != nil:
			walk(v.Message(), visit)
		}
		return true
	})
}

// dropLocations clears every field that is a place in the text.
func dropLocations(m protoreflect.Message) {
	walk(m, func(m protoreflect.Message) {
		for i := range m.Descriptor().Fields().Len() {
			fd := m.Descriptor().Fields().Get(i)
			if name := string(fd.Name()); strings.HasSuffix(name, "location") || name == "stmt_len" {
				m.Clear(fd)
			}
		}
	})
}
