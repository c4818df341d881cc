package config

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestBadFiles loads each file of testdata/bad, whose last line says what must be reported: "line:col:
// message" of the file itself, or after "!" the whole text.
func TestBadFiles(t *testing.T) {
	t.Parallel()
	var files []string
	for _, pattern := range []string{"testdata/bad/*.bad.toml", "testdata/bad/*.bad.ini"} {
		f, err := filepath.Glob(pattern)
		if err != nil || len(f) < 20 {
			t.Fatalf("%s: %d files, %v", pattern, len(f), err)
		}
		files = append(files, f...)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, want, ok := strings.Cut(strings.TrimSuffix(string(text), "\n"), "# want: ")
			if !ok {
				t.Fatal("the file does not say what is wanted")
			}
			if whole, ok := strings.CutPrefix(want, "!"); ok {
				want = whole
			} else {
				want = file + ":" + want
			}
			cfg, _, err := Load(file)
			got := fmt.Sprint(err)
			if got != want {
				t.Errorf("wrong error\n got: %s\nwant: %s", got, want)
			}
			if cfg != nil {
				t.Error("a configuration came with the error")
			}
			if strings.Contains(got, "hunter2") || strings.Contains(got, "12345") {
				t.Errorf("the password is in the error: %s", got)
			}
		})
	}
}

func TestAllProblemsAreReported(t *testing.T) {
	t.Parallel()
	path := folder(t, map[string]string{"config.toml": "a = 1\nb = 2\n[databases.x]\nc = 3\n"})
	problems, _ := Check(path)
	if len(problems) != 3 || problems[2].Line != 4 {
		t.Errorf("got %v", problems)
	}
}

func TestCheckAsksSubscribers(t *testing.T) {
	t.Parallel()
	path := folder(t, map[string]string{"config.toml": ""})
	problems, _ := Check(path, func(_, next *Config) (func(), error) {
		return nil, fmt.Errorf("port %d is taken", next.ListenPort)
	})
	if len(problems) != 1 || problems[0].String() != path+": port 6432 is taken" {
		t.Errorf("got %v", problems)
	}
}

func TestMissingFile(t *testing.T) {
	t.Parallel()
	_, _, err := Load("testdata/nowhere.toml")
	if want := "cannot read configuration file testdata/nowhere.toml: no such file or directory"; fmt.Sprint(err) != want {
		t.Errorf("\n got: %v\nwant: %s", err, want)
	}
}

func TestGolden(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"testdata/full.toml", "testdata/pgbouncer.ini"} {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			cfg, warnings, err := Load(file)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, file+".golden", dump(cfg, warnings))
		})
	}
}

// dump writes everything in cfg that is not at its default, passwords included.
func dump(cfg *Config, warnings []Warning) string {
	var b strings.Builder
	for _, w := range warnings {
		fmt.Fprintln(&b, "warning:", w)
	}
	var d Settings
	defaults(&d)
	for _, r := range settingsTable.rows {
		if v := r.show(&cfg.Settings); v != r.show(&d) {
			source := "default"
			if e, ok := cfg.origins[r.Name]; ok {
				source = e.origin()
			}
			fmt.Fprintf(&b, "%s = %s  (%s)\n", r.Name, v, source)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Databases)) {
		db := cfg.Databases[name]
		fmt.Fprintf(&b, "\ndatabase %q (%s)\n", name, db.Source)
		dumpRows(&b, databaseTable, &databaseKeys{Database: *db})
		if db.Password != "" {
			fmt.Fprintf(&b, "  the password is %q\n", string(db.Password))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Users)) {
		u := cfg.Users[name]
		fmt.Fprintf(&b, "\nuser %q (%s) %q has=%v auth_file=%v\n", name, u.Source, string(u.Password), u.HasPassword, u.FromAuthFile)
		dumpRows(&b, userTable, &userKeys{User: *u})
	}
	for _, id := range slices.Sorted(maps.Keys(cfg.Peers)) {
		fmt.Fprintf(&b, "\npeer %d\n", id)
		dumpRows(&b, peerTable, cfg.Peers[id])
	}
	return b.String()
}

func dumpRows[T any](b *strings.Builder, tab *table[T], v *T) {
	for _, r := range tab.rows {
		if s := r.show(v); s != "" {
			fmt.Fprintf(b, "  %s = %s\n", r.Name, s)
		}
	}
}

func TestTellingTOMLFromINI(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, file, text string
		ini              bool
	}{
		{"empty", "x.toml", "", false},
		{"empty, named ini", "x.ini", "", true},
		{"TOML tables", "x.conf", "[databases.a]\nhost = \"h\"\n", false},
		{"a section that is also TOML", "x.conf", "[pgbouncer]\nlisten_port = 1\n", true},
		{"ini values", "x.conf", "[databases]\na = host=h\n[pgbouncer]\n", true},
		{"ini comment", "x.conf", "; hello\n", true},
		{"include", "x.conf", "%include a\n", true},
		{"broken TOML", "x.conf", "a = \n", false},
		{"ini words inside a TOML string", "x.conf", "auth_query = \"\"\"\n[pgbouncer]\n; $1\"\"\"\n", false},
	} {
		if got := looksLikeINI(c.file, []byte(c.text)); got != c.ini {
			t.Errorf("%s: ini is %v, want %v", c.name, got, c.ini)
		}
	}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, text, want string }{
		{"pool smaller than its minimum", "[users.a]\n[databases.x]\npool_size = 2\nmin_pool_size = 3\n", "4:1: min_pool_size in [databases.x] is 3, more than its pool_size of 2, which wins"},
		{"nobody can log in", "", " no user can log in: auth_type md5 needs [users], auth_file, or auth_user for auth_query"},
		{"nothing to listen on", "unix_socket_dir = \"\"\n[users.a]\n", " neither listen_addr nor unix_socket_dir is set: there is nothing to listen on"},
		{"any without a forced user", "auth_type = \"any\"\n[databases.x]\n", "2:12: auth_type any does not tell users apart: set user in [databases.x], or clients log in to the server without a known password"},
		{"auth_query without the user", "auth_query = \"select 1, 2\"\n[users.a]\n", "1:1: auth_query has no $1 for the user's name"},
		{"rules that are not needed", "auth_hba_file = \"/nowhere/x\"\n[users.a]\n", "1:1: auth_hba_file: cannot read /nowhere/x: no such file or directory; it is not needed with auth_type md5"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := folder(t, map[string]string{"config.toml": c.text})
			_, warnings, err := Load(path)
			if err != nil {
				t.Fatal(err)
			}
			if len(warnings) != 1 || warnings[0].String() != path+":"+c.want {
				t.Errorf("\n got: %v\nwant: %s:%s", warnings, path, c.want)
			}
		})
	}
}

func TestPasswordFromEnvironment(t *testing.T) {
	t.Setenv("PGDROVER_TEST_PASSWORD", "from the environment")
	path := folder(t, map[string]string{"config.toml": "[users.a]\npassword_env = \"PGDROVER_TEST_PASSWORD\"\n"})
	cfg, _, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if u := cfg.Users["a"]; u.Password != "from the environment" || !u.HasPassword {
		t.Errorf("got %+v", u)
	}
	if s := fmt.Sprintf("%v %+v %#v", cfg.Users["a"].Password, *cfg.Users["a"], *cfg.Users["a"]); strings.Contains(s, "environment") {
		t.Errorf("the password prints: %s", s)
	}
}
