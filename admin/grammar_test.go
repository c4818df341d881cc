package admin

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSplit(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		src  string
		want []string
	}{
		{"", nil},
		{" ;; -- x\n /* ; /* nested ; */ */ ;", nil},
		{"a;b ; c", []string{"a", "b", "c"}},
		{`SELECT ';' , ";" , $$;$$, $a$;$$;$a$, E'\';'; x`, []string{`SELECT ';' , ";" , $$;$$, $a$;$$;$a$, E'\';'`, "x"}},
		{"a--b;c\n d", []string{"a--b;c\n d"}},
	} {
		sts, err := split(tt.src)
		if err != nil {
			t.Errorf("%q: %v", tt.src, err)
		}
		var got []string
		for _, st := range sts {
			got = append(got, st.text)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%q: %s", tt.src, diff)
		}
	}
	for _, src := range []string{"'a", `"a`, `""`, "/* a", "$$ a", "$x$ a $$", "\xff", `E'\q'`} {
		var pe *pgError
		if _, err := split(src); !errors.As(err, &pe) {
			t.Errorf("%q: got %v", src, err)
		}
	}
}

func TestPattern(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		pattern, src string
		want         args
	}{
		{"A [ B ] <c>", "a b", args{"A": "a", "c": "b"}},
		{"A [ B ] <c>", "a b c", args{"A": "a", "B": "b", "c": "c"}},
		{"A [ <b> ]", "A", args{"A": "A"}},
		{"A [ <b> ]", `A "b c"`, args{"A": "A", "b": "b c"}},
		{"A [ <b> ]", "A b c", nil},
		{"A { = | TO } <v...>", "a=b,  c", args{"A": "a", "v": "b, c"}},
		{"A { = | TO } <v...>", "a b", nil},
		{"A [ <rest...> ]", "a b = ( c", args{"A": "a", "rest": ""}},
		{"A *", "a *", args{"A": "a"}},
		{"A <b>", `"A" b`, nil},
		{"A <b*> C [ D ]", "a x . \"Y\" ('z''s') c c d", args{"A": "a", "b": "x . \"Y\" ('z''s') c", "C": "c", "D": "d"}},
		{"A <b**> [ C ]", "a $1 -1 c", args{"A": "a", "b": "$1 -1", "C": "c"}},
		{"A <b*>", "a", nil},
		{"A <b*>", "a " + strings.Repeat("x ", maxText+1), nil},
	} {
		sts, err := split(tt.src)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, mustPattern(tt.pattern).match(sts[0].toks)); diff != "" {
			t.Errorf("%s ~ %s: %s", tt.pattern, tt.src, diff)
		}
	}
}

// Whatever is sent: every statement is parsed or refused with an error for the client, and the tokens lie in
// the text one behind the other.
func FuzzCommand(f *testing.F) {
	for _, s := range []string{
		"SHOW POOLS;", "SET a = 'b'", "ALTER USER x RESET ALL", "SELECT count(*) FROM pools p, $q$ $q$ WHERE $1 < p.cl_active", "PAUSE \"a\"\"b\"",
		"WITH x AS (SELECT 1) SELECT * FROM x", "/*", "SELECT CASE WHEN 1 THEN 2 END, a.b, f(x) y", "((((", "SELECT a IN ($1,$2) FROM pools LIMIT $3", "SELECT , , ()",
		"CREATE TABLE a.b ON DATABASE c KEY d (e, f)", "ALTER KEY k ON DATABASE d PLACE ON s FOR VALUES IN ('x') WITHOUT MOVING ROWS", "CREATE SHARD a ON DATABASE b WITH (host 'x')",
	} {
		f.Add(s)
	}
	set := newRegistry()
	s := newSession(&Server{opts: Options{Now: nil}, set: set, ctl: &fakeControl{}, cfg: &fakeConfig{}}, adminSession())
	s.srv.opts.Now = atNow
	f.Fuzz(func(t *testing.T, src string) {
		toks, err := lex(src)
		end := 0
		for _, tok := range toks {
			if tok.start < end || tok.end <= tok.start || tok.end > len(src) {
				t.Fatalf("token %+v after %d", tok, end)
			}
			end = tok.end
		}
		sts, err2 := split(src)
		if (err == nil) != (err2 == nil) {
			t.Fatalf("lex: %v, split: %v", err, err2)
		}
		for _, st := range sts {
			c, err := set.find(st)
			var pe *pgError
			switch {
			case err != nil && !errors.As(err, &pe):
				t.Fatalf("not an error for a client: %v", err)
			case err != nil || c.sel == nil:
				continue
			}
			text := c.sel.render(s)
			if !strings.Contains(text, "\x00") {
				// What SQLite gets has the same tokens for us: nothing can break out of a string.
				again, err := split(text)
				if err != nil || len(again) != 1 {
					t.Fatalf("rendered %q: %d statements, %v", text, len(again), err)
				}
			}
			c.sel.paramTypes(nil)
		}
	})
}

func TestNearest(t *testing.T) {
	t.Parallel()
	names := []string{"pools", "clients", "servers", "max_client_conn", "state", "stats"}
	for word, want := range map[string]string{"polls": "pools", "client": "clients", "max_client_con": "max_client_conn", "stat": "state", "zzzz": "", strings.Repeat("x", 100): ""} {
		if got := nearest(word, names); got != want {
			t.Errorf("%s: got %q want %q", word, got, want)
		}
	}
}
