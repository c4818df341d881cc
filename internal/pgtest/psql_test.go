package pgtest

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestPsql(t *testing.T) {
	t.Parallel()
	c := Start(t, WithUser("app", "sec ret'"))
	dsn := c.DSN("postgres", "app")
	if got := MustPsql(t, dsn, "", "-At", "-c", "SELECT 1 + 1"); got != "2\n" {
		t.Errorf("-c: got %q, want 2", got)
	}
	if got := MustPsql(t, dsn, "SELECT current_user;\n\\echo done\n", "-At"); got != "app\ndone\n" {
		t.Errorf("input: got %q, want app and done", got)
	}
	r := Psql(t, dsn, "SELECT 1/0;", "-v", "ON_ERROR_STOP=1")
	if r.ExitCode != 3 || !strings.Contains(r.Stderr, "division by zero") {
		t.Errorf("an error: got exit code %d and %q, want 3 and division by zero", r.ExitCode, r.Stderr)
	}
	if r := Psql(t, c.DSN("nowhere", "app"), ""); r.ExitCode != 2 {
		t.Errorf("a database that does not exist: got exit code %d, want 2", r.ExitCode)
	}
}

func TestConnString(t *testing.T) {
	t.Parallel()
	got := ConnString([][2]string{{"host", "h"}, {"password", `it's \n`}}, "host=other", "options=-c a=b")
	want := `host='other' password='it\'s \\n' options='-c a=b'`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestEventuallyReturnsWhenItIsSo(t *testing.T) {
	t.Parallel()
	calls := 0
	Eventually(t, time.Minute, func() error {
		if calls++; calls < 3 {
			return errors.New("not yet")
		}
		return nil
	})
	if calls != 3 {
		t.Errorf("called %d times, want 3", calls)
	}
}
