package config

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"
)

// buildText takes a text through a reader and the builder without touching the disk: every file that it
// names is there and empty.
func buildText(text []byte, ini bool) (*Config, *report) {
	files := newFileSet()
	files.kept = map[string]fileContent{}
	rep := &report{}
	var doc *document
	if ini {
		doc = readINI("f", text, offline{files}.set(), rep)
	} else {
		doc = readTOML("f", text, sourceMain, rep)
	}
	for _, e := range doc.settings {
		if s, ok := Lookup(e.key); ok && s.File {
			return nil, rep
		}
	}
	for _, list := range [][]object{doc.databases, doc.users} {
		for _, o := range list {
			for _, e := range o.entries {
				inShards := e.key == cfgShards && (strings.Contains(string(text), "_file") || strings.Contains(string(text), "url") || strings.Contains(string(text), "dsn"))
				if strings.HasSuffix(e.key, "_file") || e.key == "url" || e.key == "dsn" || inShards {
					return nil, rep
				}
			}
		}
	}
	if rep.err() != nil {
		return nil, rep
	}
	cfg, built := build("f", doc, files)
	return cfg, built
}

// offline makes a fileSet that holds what a fuzzed %include could name.
type offline struct{ files *fileSet }

func (o offline) set() *fileSet {
	o.files.put("f", []byte("[pgbouncer]\nverbose = 1\n"))
	return o.files
}

func FuzzINI(f *testing.F) {
	f.Add([]byte("[pgbouncer]\nlisten_port = 1\n[databases]\n'a b' = host=h password='x''y'\n* =\n[users]\nu = pool_mode=session\n[peers]\n1 = host=h\n"))
	f.Add([]byte("[pgbouncer]\n%include f\nunix_socket_mode = 0777\nserver_lifetime = 1.5\n;x\n#y\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if strings.Contains(strings.ReplaceAll(string(text), "%include f\n", ""), "%include") {
			t.Skip("would read files")
		}
		cfg, rep := buildText(text, true)
		checkConfig(t, cfg, rep)
	})
}

func FuzzTOML(f *testing.F) {
	f.Add([]byte("listen_port = 1\npool_mode = \"session\"\n[databases.\"*\"]\nhost = [\"a\"]\n[users.u]\npool_size = 3\n[peers.1]\nhost = \"h\"\n"))
	f.Add([]byte(strings.ReplaceAll(shopTOML, "url = \"postgres://b@10.0.2.1:5434/shop_b\"", "")))
	f.Add([]byte("databases.a = { host = 'h', x.y = 1 }\n[[users]]\n[databases.b.keys]\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		cfg, rep := buildText(text, false)
		checkConfig(t, cfg, rep)
	})
}

func checkConfig(t *testing.T, cfg *Config, rep *report) {
	t.Helper()
	for _, p := range rep.problems {
		if p.File == "f" && p.Line < 0 || p.Message == "" {
			t.Errorf("bad problem %+v", p)
		}
	}
	if cfg == nil || rep.err() != nil {
		return
	}
	for _, r := range settingsTable.rows {
		_ = r.show(&cfg.Settings)
	}
	for name, d := range cfg.Databases {
		if d.Name != name || d.Port < 1 || IsAdminDatabase(name) {
			t.Errorf("bad database %+v", d)
		}
		_ = cfg.PoolSettings(d, "u")
	}
}

func FuzzUserlist(f *testing.F) {
	f.Add([]byte("\"a\" \"b\"\n; c\n\"d\"\"e\" \"\" rest\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		logins, err := parseUserlist("f", text)
		if err != nil {
			return
		}
		var b strings.Builder
		quote := func(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }
		for _, l := range logins {
			b.WriteString(quote(l.user) + " " + quote(string(l.password)) + "\n")
		}
		again, err := parseUserlist("f", []byte(b.String()))
		if err != nil || len(again) != len(logins) {
			t.Fatalf("written anew it reads differently: %v, %d and %d users", err, len(again), len(logins))
		}
		for i := range again {
			if again[i].user != logins[i].user || again[i].password != logins[i].password {
				t.Errorf("user %d changed", i)
			}
		}
	})
}

func FuzzConnectStrings(f *testing.F) {
	f.Add("host=h port=1 password='a b' user=u\\ v")
	f.Add("postgres://u:p%40@[::1]:1,b:1/d?sslmode=require")
	f.Fuzz(func(t *testing.T, text string) {
		for _, backslash := range []bool{false, true} {
			pairs, err := parsePairs(text, backslash)
			if err != nil {
				continue
			}
			escape := strings.NewReplacer("'", "''")
			if backslash {
				escape = strings.NewReplacer("'", `\'`, `\`, `\\`)
			}
			var b strings.Builder
			for _, p := range pairs {
				b.WriteString(p.key + "='" + escape.Replace(p.value) + "' ")
			}
			again, err := parsePairs(b.String(), backslash)
			if err != nil || len(again) != len(pairs) {
				t.Fatalf("%q reads differently: %v", b.String(), err)
			}
			for i := range pairs {
				if pairs[i] != again[i] {
					t.Errorf("%q became %q", pairs[i], again[i])
				}
			}
		}
		_, _ = parseDSN(text)
		_, _ = parseURL(text)
		_, _ = parseURL("postgres://" + text)
	})
}

func FuzzNumbers(f *testing.F) {
	for _, s := range []string{"5min", "0x10", "0.5", "1MB", "-1", "1e9", "500 ms"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, parse := range []func(string) (d interface{ Seconds() float64 }, err error){
			func(s string) (interface{ Seconds() float64 }, error) { return parseDuration(s) },
			func(s string) (interface{ Seconds() float64 }, error) { return parseSeconds(s) },
		} {
			if d, err := parse(text); err == nil && (d.Seconds() < 0 || d.Seconds() > maxSeconds) {
				t.Errorf("%q is %v", text, d)
			}
		}
		_, _ = parseInt(text)
		_, _ = parseSize(text)
	})
}

// FuzzAutoFile checks that what ALTER writes is read back as it was.
func FuzzAutoFile(f *testing.F) {
	f.Add("blog", "say \"hi\"\n\\ \x7f", int64(5), 0.5)
	f.Fuzz(func(t *testing.T, name, text string, n int64, x float64) {
		if !utf8.ValidString(name) || !utf8.ValidString(text) || x != x || x > 1e15 || x < -1e15 {
			t.Skip()
		}
		doc := &document{databases: []object{{name: name, entries: []entry{
			{key: "a", value: value{raw: text}},
			{key: "b", value: value{raw: n}},
			{key: "c", value: value{raw: x}},
			{key: "d", value: value{raw: []any{text, text}}},
		}}}}
		out, err := renderAuto("f", doc)
		if err != nil {
			t.Fatal(err)
		}
		var tree struct {
			Databases map[string]struct {
				A string
				B int64
				C float64
				D []string
			}
		}
		if err := toml.Unmarshal(out, &tree); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if d := tree.Databases[name]; d.A != text || d.B != n || d.C != x || len(d.D) != 2 || d.D[1] != text {
			t.Errorf("%+v became %+v", doc, d)
		}
	})
}
