package config

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// watching runs Watch until the test ends and returns what it reports.
func watching(t *testing.T, m *Manager) <-chan Reloaded {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	reports, done := make(chan Reloaded, 100), make(chan struct{})
	go func() {
		defer close(done)
		m.Watch(ctx, func(r Reloaded) { reports <- r })
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return reports
}

func next(t *testing.T, reports <-chan Reloaded) Reloaded {
	t.Helper()
	select {
	case r := <-reports:
		return r
	case <-time.After(20 * time.Second):
		t.Fatal("no reload was reported")
		return Reloaded{}
	}
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func sized(n string) string { return strings.Replace(basic, "10", n, 1) }

func (m *Manager) hasSize(n int) func() bool {
	return func() bool { return m.Current().DefaultPoolSize == n }
}

func TestWatchWaysOfSaving(t *testing.T) {
	t.Parallel()
	for name, save := range map[string]func(t *testing.T, path, text string){
		"in place": write,
		"rename over": func(t *testing.T, path, text string) {
			write(t, path+".tmp", text)
			must(t, os.Rename(path+".tmp", path))
		},
		"move away, then write": func(t *testing.T, path, text string) {
			must(t, os.Rename(path, path+"~"))
			write(t, path, text)
		},
		"remove, then write": func(t *testing.T, path, text string) {
			must(t, os.Remove(path))
			write(t, path, text)
		},
		"in pieces": func(t *testing.T, path, text string) {
			f, err := os.OpenFile(path, os.O_TRUNC|os.O_WRONLY, 0)
			must(t, err)
			for _, c := range []byte(text) {
				_, err := f.Write([]byte{c})
				must(t, err)
			}
			must(t, f.Close())
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := folder(t, map[string]string{"config.toml": basic})
			m := open(t, path)
			watching(t, m)
			for _, n := range []struct {
				text string
				size int
			}{{"11", 11}, {"12", 12}, {"13", 13}} {
				save(t, path, sized(n.text))
				eventually(t, "the new size is in force", m.hasSize(n.size))
			}
		})
	}
}

func TestWatchKubernetes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	swap := func(version, size string) {
		write(t, filepath.Join(dir, version, "config.toml"), sized(size))
		must(t, os.Symlink(version, filepath.Join(dir, "..data_tmp")))
		must(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	}
	swap("..v1", "11")
	path := filepath.Join(dir, "config.toml")
	must(t, os.Symlink("..data/config.toml", path))
	m := open(t, path)
	watching(t, m)
	swap("..v2", "12")
	must(t, os.RemoveAll(filepath.Join(dir, "..v1")))
	eventually(t, "the second version is in force", m.hasSize(12))
	swap("..v3", "13")
	eventually(t, "the third version is in force", m.hasSize(13))
}

func TestWatchReplacedFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "conf", "config.toml")
	write(t, path, basic)
	m := open(t, path)
	watching(t, m)
	must(t, os.Rename(filepath.Join(dir, "conf"), filepath.Join(dir, "old")))
	write(t, path, sized("12"))
	eventually(t, "the file in the new folder is in force", m.hasSize(12))
	write(t, path, sized("13"))
	eventually(t, "the new folder is watched", m.hasSize(13))
}

func TestWatchRejectsAndMends(t *testing.T) {
	t.Parallel()
	path := folder(t, map[string]string{"config.toml": basic})
	m := open(t, path)
	reports := watching(t, m)
	write(t, path, "default_pool_size = \n")
	r := next(t, reports)
	if r.Err == nil || m.Status().Err != r.Err.Error() || m.Current().DefaultPoolSize != 10 {
		t.Errorf("got %+v, status %+v", r, m.Status())
	}
	if diff := cmp.Diff([]string{path}, r.Files); diff != "" {
		t.Error(diff)
	}
	write(t, path, sized("12"))
	if r := next(t, reports); r.Err != nil || m.Status().Err != "" || m.Current().DefaultPoolSize != 12 {
		t.Errorf("got %+v, status %+v", r, m.Status())
	}
}

func TestWatchOtherFiles(t *testing.T) {
	t.Parallel()
	pem := func(name string) string {
		text, err := os.ReadFile(filepath.Join("testdata/tls", name))
		must(t, err)
		return string(text)
	}
	path := folder(t, map[string]string{
		"config.toml": `auth_type = "hba"
auth_file = "users/list.txt"
auth_hba_file = "hba.conf"
auth_ident_file = "ident.conf"
client_tls_cert_file = "tls/cert.pem"
client_tls_key_file = "tls/key.pem"
[databases.d]
password_file = "secrets/d"
`,
		"users/list.txt": `"a" "1"`, "hba.conf": "local all all trust\n", "ident.conf": "", "secrets/d": "one",
		"tls/cert.pem": pem("cert.pem"), "tls/key.pem": pem("key.pem"),
	})
	dir := filepath.Dir(path)
	m := open(t, path)
	asked := make(chan struct{}, 100)
	m.Subscribe(func(_, _ *Config) (func(), error) { asked <- struct{}{}; return nil, nil })
	reports := watching(t, m)
	for _, c := range []struct{ file, text string }{
		{"users/list.txt", `"a" "2"`},
		{"hba.conf", "local all all reject\n"},
		{"ident.conf", "m a b\n"},
		{"tls/cert.pem", pem("cert.pem") + "\n"},
		{"secrets/d", "two"},
		{autoFileName, "max_client_conn = 3\n"},
	} {
		write(t, filepath.Join(dir, c.file), c.text)
		r := next(t, reports)
		for r.Err != nil { // seen between truncation and writing
			r = next(t, reports)
		}
		if len(r.Files) != 1 || r.Files[0] != filepath.Join(dir, c.file) {
			t.Errorf("%s: reported %v", c.file, r.Files)
		}
		<-asked
	}
	c := m.Current()
	if c.Users["a"].Password != "2" || string(c.HBA) != "local all all reject\n" || string(c.Ident) != "m a b\n" ||
		c.Databases["d"].Password != "two" || c.MaxClientConn != 3 {
		t.Errorf("not all is in force: %+v", c)
	}
}

func TestWatchIgnoresWhatIsNotNew(t *testing.T) {
	t.Parallel()
	path := folder(t, map[string]string{"config.toml": basic})
	m := open(t, path)
	asked := 0
	m.Subscribe(func(_, _ *Config) (func(), error) { asked++; return nil, nil })
	reports := watching(t, m)
	must(t, m.AlterSystem("max_client_conn", pointer("5"))) // our own write
	must(t, os.Chtimes(path, time.Now(), time.Now()))       // a touch
	write(t, path, basic)                                   // the same again
	write(t, filepath.Join(filepath.Dir(path), "other"), "")
	// A real change flushes out anything that the others might have caused.
	write(t, path+".new", sized("12"))
	must(t, os.Rename(path+".new", path))
	r := next(t, reports)
	if r.Err != nil || m.Current().DefaultPoolSize != 12 || m.Current().MaxClientConn != 5 {
		t.Errorf("got %+v", r)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if asked != 2 {
		t.Errorf("subscribers were asked %d times, want one for ALTER and one for the change", asked)
	}
}

func TestWatchFollowsIncludes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, included := filepath.Join(dir, "pgbouncer.ini"), filepath.Join(dir, "more.ini")
	write(t, included, "default_pool_size = 10\n")
	write(t, path, "[pgbouncer]\n%include "+included+"\n[databases]\nx = host=h\n")
	m := open(t, path)
	watching(t, m)
	write(t, included, "default_pool_size = 12\n")
	eventually(t, "the included file is in force", m.hasSize(12))
	if got := m.Origins()["default_pool_size"].Source; got != included+":1" {
		t.Errorf("source is %s", got)
	}
}

func TestStepsTo(t *testing.T) {
	t.Parallel()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	write(t, filepath.Join(dir, "real/f"), "")
	must(t, os.Symlink("real", filepath.Join(dir, "link")))
	must(t, os.Symlink("loop", filepath.Join(dir, "loop")))
	for path, want := range map[string][]string{
		"real/f":         {"real/f"},
		"link/f":         {"link", "real/f"},
		"link/../real/f": {"real/f"},
		"link/nowhere/f": {"link", "real/nowhere"},
	} {
		var full []string
		for _, w := range want {
			full = append(full, filepath.Join(dir, w))
		}
		if diff := cmp.Diff(full, stepsTo(filepath.Join(dir, path))); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
	}
	if got := stepsTo(filepath.Join(dir, "loop")); len(got) == 0 {
		t.Error("a loop has no steps")
	}
}
