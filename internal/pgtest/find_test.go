package pgtest

import (
	"strings"
	"testing"
)

// Not parallel: it sets an environment variable.
func TestFindObeysPG(t *testing.T) {
	for value, want := range map[string]string{
		"seventeen": "is not a major version",
		"9":         "supported major versions",
	} {
		t.Setenv("PG", value)
		if _, err := Find(t.Context(), 0); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("PG=%s: got %v, want …%s…", value, err, want)
		}
	}
}

func TestInspectRefusesWhatIsNotPostgreSQL(t *testing.T) {
	t.Parallel()
	if _, err := inspect(t.Context(), t.TempDir()); err == nil {
		t.Error("an empty folder passed for an installation")
	}
}
