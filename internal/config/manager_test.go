package config

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

const basic = "default_pool_size = 10\n[users.app]\npassword = \"x\"\n[databases.blog]\nhost = \"h\"\n"

func open(t *testing.T, path string, o ...Override) *Manager {
	t.Helper()
	m, err := Open(path, Options{Overrides: o})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if fmt.Sprint(err) != want {
		t.Errorf("wrong error\n got: %v\nwant: %s", err, want)
	}
}

func TestReloadIsAllOrNothing(t *testing.T) {
	t.Parallel()
	path := folder(t, map[string]string{"config.toml": basic})
	m := open(t, path)
	before := m.Current()
	write(t, path, strings.Replace(basic, "10", "11", 1)+"hots = \"x\"\n")
	err := m.Reload(context.Background())
	wantError(t, err, path+`:6:1: unknown key "hots" in [databases.blog]; did you mean "host"?`)
	if m.Current() != before {
		t.Error("a rejected reload changed something")
	}
	if s := m.Status(); s.Err != err.Error() || s.At == 0 {
		t.Errorf("status is %+v", s)
	}
	write(t, path, strings.Replace(basic, "10", "11", 1))
	must(t, m.Reload(context.Background()))
	if got := m.Current().DefaultPoolSize; got != 11 {
		t.Errorf("default_pool_size is %d", got)
	}
	if s := m.Status(); s != (Status{}) {
		t.Errorf("status is %+v", s)
	}
}

func TestAFileThatBecameEmptyIsRefused(t *testing.T) {
	t.Parallel()
	path := folder(t, map[string]string{"config.toml": basic})
	m := open(t, path)
	set := func() { must(t, m.Set("verbose", "1")) } // which builds a configuration without reading the file
	for _, before := range []func(){func() {}, set, func() { set(); set() }} {
		write(t, path, basic)
		must(t, m.Reload(context.Background()))
		before()
		write(t, path, "\n")
		wantError(t, m.Reload(context.Background()), path+": the file has become empty")
	}
	write(t, path, "# nothing\n")
	must(t, m.Reload(context.Background()))
}

func TestSubscribersAreAskedBeforeAnythingChanges(t *testing.T) {
	t.Parallel()
	path := folder(t, map[string]string{"config.toml": basic})
	m := open(t, path)
	var events []string
	m.Subscribe(func(old, next *Config) (func(), error) {
		events = append(events, fmt.Sprintf("first asked %d->%d", old.DefaultPoolSize, next.DefaultPoolSize))
		return func() { events = append(events, fmt.Sprintf("first commits at %d", m.Current().DefaultPoolSize)) }, nil
	})
	m.Subscribe(func(_, next *Config) (func(), error) {
		if next.DefaultPoolSize > 50 {
			return nil, errors.New("too large for me")
		}
		return nil, nil
	})
	write(t, path, strings.Replace(basic, "10", "60", 1))
	wantError(t, m.Reload(context.Background()), "too large for me")
	wantError(t, m.Set("default_pool_size", "70"), "too large for me")
	wantError(t, m.AlterSystem("default_pool_size", pointer("80")), "too large for me")
	if _, err := os.Stat(filepath.Join(filepath.Dir(path), autoFileName)); !os.IsNotExist(err) {
		t.Errorf("a rejected ALTER was kept: %v", err)
	}
	must(t, m.Set("default_pool_size", "40"))
	if diff := cmp.Diff([]string{
		"first asked 10->60", "first asked 10->70", "first asked 10->80", "first asked 10->40", "first commits at 40",
	}, events); diff != "" {
		t.Error(diff)
	}
}

func TestReloadStopsWithItsContext(t *testing.T) {
	t.Parallel()
	m := open(t, folder(t, map[string]string{"config.toml": basic}))
	ctx, cancel := context.WithCancel(context.Background())
	m.Subscribe(func(_, _ *Config) (func(), error) { cancel(); return nil, nil })
	write(t, m.Current().ConfFile, sized("12"))
	if err := m.Reload(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if m.Status().Err != "" || len(m.seen.changed()) != 1 {
		t.Error("what was given up counts as rejected, or as seen")
	}
}

func TestSet(t *testing.T) {
	t.Parallel()
	path := folder(t, map[string]string{"config.toml": basic, "userlist.txt": "\"new\" \"pw\"\n"})
	m := open(t, path)
	must(t, m.Set("query_wait_timeout", "2min"))
	must(t, m.Set("log_stats", "off"))
	must(t, m.Set("auth_file", "userlist.txt"))
	must(t, m.Set("auth_user", "checker"))
	c := m.Current()
	if c.QueryWaitTimeout.Seconds() != 120 || c.LogStats || c.Users["new"] == nil || c.AuthUser != "checker" {
		t.Errorf("not set: %v %v %v %q", c.QueryWaitTimeout, c.LogStats, c.Users["new"], c.AuthUser)
	}
	for _, e := range []struct{ name, value, want string }{
		{"pool_mod", "session", `unknown setting "pool_mod"; did you mean "pool_mode"?`},
		{"pool_mode", "sesion", `pool_mode: "sesion": must be one of session, transaction, statement; did you mean "session"?`},
		{"listen_port", "many", `listen_port: "many": not an integer`},
		{"auth_dbname", "pgbouncer", `auth_dbname: "pgbouncer" is the admin database, which cannot run queries`},
		{"auth_type", "hba", "auth_type hba needs auth_hba_file"},
		{"auth_file", "nowhere", "auth_file: cannot read " + filepath.Join(filepath.Dir(path), "nowhere") + ": no such file or directory"},
	} {
		wantError(t, m.Set(e.name, e.value), e.want)
	}
	if m.Current() != c {
		t.Error("a failed SET changed something")
	}
	must(t, m.Set("listen_port", "7000"))
	if m.Current().ListenPort != 6432 || len(m.PendingRestart()) != 0 {
		t.Error("SET changed what only a restart changes")
	}
	if o := m.Origins()["log_stats"]; o.Source != "SET" || o.Value != "0" || o.Default != "1" || !o.Changeable {
		t.Errorf("origin is %+v", o)
	}

	must(t, m.Reload(context.Background()))
	c = m.Current()
	if !c.LogStats || c.QueryWaitTimeout.Seconds() != 120 { // 120 is also the default
		t.Error("values of SET survived a reload")
	}
	if c.AuthUser != "checker" || c.Users["new"] == nil {
		t.Error("sticky values of SET did not survive a reload")
	}
	write(t, path, "auth_user = \"other\"\n"+basic)
	must(t, m.Reload(context.Background()))
	if got := m.Current().AuthUser; got != "other" {
		t.Errorf("auth_user is %q although the file sets it", got)
	}
}

func TestSettingsThatNeedARestart(t *testing.T) {
	t.Parallel()
	path := folder(t, map[string]string{"config.toml": "listen_port = 7000\n" + basic})
	m := open(t, path)
	write(t, path, "listen_port = 7001\ntrack_extra_parameters = [\"a\", \"b\"]\n"+basic)
	must(t, m.Reload(context.Background()))
	c := m.Current()
	if c.ListenPort != 7000 || len(c.TrackExtraParameters) != 1 {
		t.Errorf("changed while running: %d %v", c.ListenPort, c.TrackExtraParameters)
	}
	if diff := cmp.Diff([]string{"listen_port", "track_extra_parameters"}, m.PendingRestart()); diff != "" {
		t.Error(diff)
	}
	if o := m.Origins()["listen_port"]; o.Value != "7000" || o.Pending != "7001" || o.Source != path+":1" {
		t.Errorf("origin is %+v", o)
	}
	write(t, path, "listen_port = 7000\n"+basic)
	must(t, m.Reload(context.Background()))
	if p := m.PendingRestart(); len(p) != 0 {
		t.Errorf("still pending: %v", p)
	}
}

func TestCommandLine(t *testing.T) {
	t.Parallel()
	path := folder(t, map[string]string{"config.toml": "verbose = 1\n" + basic})
	m := open(t, path, Override{"verbose", "2"})
	for range 2 {
		if o := m.Origins()["verbose"]; o.Value != "2" || o.Source != "command line" || o.Shadows != path+":1" {
			t.Errorf("origin is %+v", o)
		}
		must(t, m.Reload(context.Background()))
	}
	must(t, m.Set("verbose", "0"))
	if o := m.Origins()["verbose"]; o.Value != "0" || o.Source != "SET" || o.Shadows != path+":1" {
		t.Errorf("origin is %+v", o)
	}
	_, err := Open(path, Options{Overrides: []Override{{"verbos", "2"}}})
	wantError(t, err, `unknown setting "verbos"; did you mean "verbose"?`)
}

func TestAlterIsKept(t *testing.T) {
	t.Parallel()
	path := folder(t, map[string]string{
		"config.toml": "auth_file = \"userlist.txt\"\n" + basic, "userlist.txt": "\"listed\" \"pw\"\n",
	})
	auto := filepath.Join(filepath.Dir(path), autoFileName)
	m := open(t, path)
	must(t, m.Set("default_pool_size", "5"))
	must(t, m.AlterSystem("default_pool_size", pointer("12")))
	must(t, m.AlterSystem("server_idle_timeout", pointer("90s")))
	must(t, m.AlterSystem("client_login_timeout", pointer("500ms")))
	must(t, m.AlterSystem("admin_users", pointer("a, b")))
	must(t, m.AlterSystem("log_stats", pointer("off")))
	must(t, m.AlterSystem("login_notify_message", pointer("say \"hi\"\n\\")))
	must(t, m.AlterDatabase("blog", "reserve_pool", pointer("3")))
	must(t, m.AlterDatabase("blog", "pool_mode", pointer("Statement")))
	must(t, m.AlterUser("app", "password", pointer("hunter2")))
	must(t, m.AlterUser("listed", "pool_size", pointer("4")))

	check := func(m *Manager) {
		t.Helper()
		c := m.Current()
		got := fmt.Sprintln(c.DefaultPoolSize, c.ServerIdleTimeout, c.ClientLoginTimeout, c.AdminUsers, c.LogStats, c.LoginNotifyMessage,
			*c.Databases["blog"].ReservePoolSize, *c.Databases["blog"].PoolMode, string(c.Users["app"].Password),
			*c.Users["listed"].PoolSize, string(c.Users["listed"].Password))
		if want := "12 1m30s 500ms [a b] false say \"hi\"\n\\ 3 statement hunter2 4 pw\n"; got != want {
			t.Errorf("\n got: %s\nwant: %s", got, want)
		}
		if o := m.Origins()["default_pool_size"]; o.Source != "auto" || o.Shadows != path+":2" {
			t.Errorf("origin is %+v", o)
		}
	}
	check(m)
	must(t, m.Reload(context.Background()))
	check(m)
	check(open(t, path))

	st, err := os.Stat(auto)
	must(t, err)
	if st.Mode().Perm() != 0o600 {
		t.Errorf("mode is %v", st.Mode())
	}
	text, err := os.ReadFile(auto)
	must(t, err)
	want := autoHeader + `admin_users = ["a", "b"]
client_login_timeout = 0.5
default_pool_size = 12
log_stats = false
login_notify_message = "say \"hi\"\n\\"
server_idle_timeout = 90

[databases.blog]
pool_mode = "statement"
reserve_pool_size = 3

[users.app]
password = "hunter2"

[users.listed]
pool_size = 4
`
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Error(diff)
	}
	if files, _ := os.ReadDir(filepath.Dir(path)); len(files) != 3 {
		t.Errorf("something was left behind: %v", files)
	}

	must(t, m.AlterSystem("server_idle_timeout", nil))
	must(t, m.AlterSystem("max_client_conn", nil)) // not set: nothing to do
	must(t, m.AlterDatabase("blog", "ALL", nil))
	must(t, m.AlterUser("app", "ALL", nil))
	c := m.Current()
	if c.ServerIdleTimeout.Seconds() != 600 || c.Databases["blog"].PoolMode != nil || c.Users["app"].Password != "x" || c.DefaultPoolSize != 12 {
		t.Error("RESET did not take values back")
	}
	must(t, m.AlterSystem("ALL", nil))
	if c := m.Current(); c.DefaultPoolSize != 10 || *c.Users["listed"].PoolSize != 4 {
		t.Error("RESET ALL took the wrong values back")
	}
}

func TestAlterErrors(t *testing.T) {
	t.Parallel()
	path := folder(t, map[string]string{"config.toml": basic})
	m := open(t, path)
	for _, c := range []struct {
		err  error
		want string
	}{
		{m.AlterSystem("pool_size", pointer("1")), `unknown setting "pool_size"; it is a key of a database; did you mean "default_pool_size"?`},
		{m.AlterSystem("ALL", pointer("1")), `unknown setting "ALL"`},
		{m.AlterSystem("listen_port", pointer("x")), `listen_port: "x": not an integer`},
		{m.AlterSystem("auto_config_file", pointer("x")), "auto_config_file cannot be kept in config.auto.toml"},
		{m.AlterSystem("auth_type", pointer("hba")), "auth_type hba needs auth_hba_file"},
		{m.AlterDatabase("blogg", "pool_size", pointer("1")), `no such database: blogg; did you mean "blog"?`},
		{m.AlterDatabase("blogg", "pool_size", nil), `no such database: blogg; did you mean "blog"?`},
		{m.AlterDatabase("pgbouncer", "pool_size", pointer("1")), `"pgbouncer" is the admin database, which has no settings of its own`},
		{m.AlterDatabase("blog", "pool_sice", pointer("1")), `unknown key "pool_sice" in [databases.blog]; did you mean "pool_size"?`},
		{m.AlterDatabase("blog", "url", pointer("postgres://u:hun ter2@[h/d")), "url in [databases.blog]: an address has no closing ]"},
		{m.AlterDatabase("blog", "dbname", pointer("\xff")), "dbname: not valid UTF-8"},
		{m.AlterUser("nobody", "pool_size", pointer("1")), "no such user: nobody"},
		{m.AlterUser("app", "pool_size", pointer("-1")), "pool_size: must be from 0 to 2147483647"},
	} {
		wantError(t, c.err, c.want)
	}
	if m.Current().ListenPort != 6432 || m.Current().AuthType != "md5" {
		t.Error("a failed ALTER changed something")
	}
	if files, _ := os.ReadDir(filepath.Dir(path)); len(files) != 1 {
		t.Errorf("a failed ALTER left something behind: %v", files)
	}
}

func TestAlterOfAUserThatOnlyAuthQueryKnows(t *testing.T) {
	t.Parallel()
	for name, asks := range map[string]string{
		"for all databases": "auth_user = \"asker\"\n" + basic, "for one": basic + "[databases.shop]\nhost = \"h\"\nauth_user = \"asker\"\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := folder(t, map[string]string{"config.toml": asks})
			m := open(t, path)
			must(t, m.AlterUser("guest", "max_user_connections", pointer("5")))
			wantError(t, m.AlterUser("guest", "password", pointer("hunter2")), `user "guest" is not in the configuration, and its password is what auth_query finds`)
			check := func(m *Manager) {
				t.Helper()
				if u := m.Current().Users["guest"]; u == nil || *u.MaxUserConnections != 5 || u.HasPassword || !u.Unlisted {
					t.Errorf("got %+v", u)
				}
			}
			check(m)
			check(open(t, path))
			// Without auth_query nobody knows the user: what was kept is not enough to make one.
			write(t, path, basic)
			must(t, m.Reload(context.Background()))
			if u := m.Current().Users["guest"]; u != nil {
				t.Errorf("got %+v", u)
			}
			if w := m.Warnings(); len(w) != 1 || !strings.Contains(w[0].Message, `user "guest" has values here but is not in the configuration any more`) {
				t.Errorf("warnings are %v", w)
			}
			must(t, m.AlterUser("guest", "ALL", nil))
		})
	}
}

// A user is taken out of the file to lock it out: a password that ALTER USER has kept must not let it in, nor does auth_query change that.
func TestAPasswordThatWasKeptGoesWithItsUser(t *testing.T) {
	t.Parallel()
	path := folder(t, map[string]string{"config.toml": "auth_user = \"app\"\n" + basic + "[users.fired]\n"})
	m := open(t, path)
	must(t, m.AlterUser("fired", "password", pointer("hunter2")))
	write(t, path, "auth_user = \"app\"\n"+basic)
	must(t, m.Reload(context.Background()))
	if u := m.Current().Users["fired"]; u != nil {
		t.Errorf("got %+v", u)
	}
	if w := m.Warnings(); len(w) != 1 || !strings.Contains(w[0].Message, `user "fired" has values here`) {
		t.Errorf("warnings are %v", w)
	}
}

func TestAlterOfADatabaseBehindTheTemplate(t *testing.T) {
	t.Parallel()
	path := folder(t, map[string]string{"config.toml": "[users.a]\n[databases.\"*\"]\nhost = \"h\"\nuser = \"u\"\n"})
	m := open(t, path)
	must(t, m.AlterDatabase("shop", "pool_size", pointer("7")))
	d, auto := m.Current().FindDatabase("shop")
	if d == nil || auto || d.Hosts[0] != "h" || d.User != "u" || d.DBName != "shop" || *d.PoolSize != 7 {
		t.Errorf("got %+v", d)
	}
	// The template goes: what was kept for its databases is not enough to make one.
	write(t, path, "[users.a]\n")
	must(t, m.Reload(context.Background()))
	if w := m.Warnings(); len(w) != 1 || !strings.Contains(w[0].Message, `database "shop" has values here but is not in the configuration any more`) {
		t.Errorf("warnings are %v", w)
	}
	must(t, m.AlterDatabase("shop", "ALL", nil))
	if w := m.Warnings(); len(w) != 0 {
		t.Errorf("warnings are %v", w)
	}
}

func TestAlterOfAUserThatWentAway(t *testing.T) {
	t.Parallel()
	path := folder(t, map[string]string{"config.toml": basic})
	m := open(t, path)
	must(t, m.AlterUser("app", "pool_size", pointer("7")))
	write(t, path, "[users.other]\n")
	must(t, m.Reload(context.Background()))
	if m.Current().Users["app"] != nil || len(m.Warnings()) != 1 {
		t.Errorf("a user lives on in config.auto.toml alone: %v", m.Warnings())
	}
}

func TestAlterWinsOverOtherWaysToSayTheSame(t *testing.T) {
	t.Parallel()
	path := folder(t, map[string]string{
		"config.toml": "[users.app]\npassword_file = \"pw\"\n[databases.blog]\nurl = \"postgres://h1/d1\"\n", "pw": "old",
	})
	m := open(t, path)
	must(t, m.AlterUser("app", "password", pointer("new")))
	must(t, m.AlterDatabase("blog", "dsn", pointer("host=h2 dbname=d2")))
	must(t, m.AlterDatabase("blog", "host", pointer("h3")))
	c := m.Current()
	if c.Users["app"].Password != "new" || c.Databases["blog"].DBName != "d2" || c.Databases["blog"].Hosts[0] != "h3" {
		t.Errorf("got %+v, %+v", c.Users["app"], c.Databases["blog"])
	}
}

func TestBrokenAutoFile(t *testing.T) {
	t.Parallel()
	path := folder(t, map[string]string{"config.toml": basic})
	m := open(t, path)
	auto := filepath.Join(filepath.Dir(path), autoFileName)
	for text, want := range map[string]string{
		"default_pool_size = \n":         auto + ":1:21: the value is missing",
		"default_pool_sice = 1\n":        auto + `:1:1: unknown setting "default_pool_sice"`,
		"conffile = \"x\"\n":             auto + ":1:1: conffile must not be set in this file",
		"[peers.1]\nhost = \"h\"\n":      auto + ":1:8: peers must not be set in this file",
		"default_pool_size = \"many\"\n": auto + ":1:1: default_pool_size: must be an integer",
	} {
		write(t, auto, text)
		if err := m.Reload(context.Background()); !strings.HasPrefix(fmt.Sprint(err), want) {
			t.Errorf("reload\n got: %v\nwant: %s…", err, want)
		}
		if err := m.AlterSystem("max_client_conn", pointer("5")); !strings.HasPrefix(fmt.Sprint(err), want) {
			t.Errorf("alter\n got: %v\nwant: %s…", err, want)
		}
		if got, _ := os.ReadFile(auto); string(got) != text {
			t.Errorf("the broken file was overwritten with %s", got)
		}
	}
}

func TestAutoFileElsewhere(t *testing.T) {
	t.Parallel()
	path := folder(t, map[string]string{"config.toml": "auto_config_file = \"state/auto.toml\"\n" + basic, "state/x": ""})
	m := open(t, path)
	must(t, m.AlterSystem("max_client_conn", pointer("5")))
	if _, err := os.Stat(filepath.Join(filepath.Dir(path), "state/auto.toml")); err != nil {
		t.Error(err)
	}
	if got := open(t, path).Current().MaxClientConn; got != 5 {
		t.Errorf("max_client_conn is %d", got)
	}
	missing := folder(t, map[string]string{"config.toml": "auto_config_file = \"state/auto.toml\"\n" + basic})
	err := open(t, missing).AlterSystem("max_client_conn", pointer("5"))
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestAlterWaitsForTheLock(t *testing.T) {
	t.Parallel()
	path := folder(t, map[string]string{"config.toml": basic})
	m := open(t, path)
	d, err := os.Open(filepath.Dir(path))
	must(t, err)
	defer d.Close()
	must(t, unix.Flock(int(d.Fd()), unix.LOCK_EX))
	done := make(chan error, 1)
	go func() { done <- m.AlterSystem("max_client_conn", pointer("5")) }()
	select {
	case err := <-done:
		t.Errorf("ALTER did not wait: %v", err)
	default:
	}
	must(t, unix.Flock(int(d.Fd()), unix.LOCK_UN))
	must(t, <-done)
}

func TestTwoProcessesShareTheAutoFile(t *testing.T) {
	t.Parallel()
	path := folder(t, map[string]string{"config.toml": basic})
	a, b := open(t, path), open(t, path)
	must(t, a.AlterSystem("max_client_conn", pointer("5")))
	must(t, b.AlterSystem("min_pool_size", pointer("1")))
	if c := b.Current(); c.MaxClientConn != 5 || c.MinPoolSize != 1 {
		t.Errorf("one process undid the other's ALTER: %d %d", c.MaxClientConn, c.MinPoolSize)
	}
}

func TestConffileNamesTheNextFile(t *testing.T) {
	t.Parallel()
	path := folder(t, map[string]string{"config.toml": basic, "second.toml": strings.Replace(basic, "10", "22", 1)})
	m := open(t, path)
	second := filepath.Join(filepath.Dir(path), "second.toml")
	must(t, m.Set("conffile", second))
	if got := m.Current().DefaultPoolSize; got != 10 {
		t.Errorf("default_pool_size is %d before the reload", got)
	}
	must(t, m.Set("max_client_conn", "7"))
	must(t, m.Reload(context.Background()))
	if c := m.Current(); c.DefaultPoolSize != 22 || c.ConfFile != second {
		t.Errorf("got %d, %s", c.DefaultPoolSize, c.ConfFile)
	}
}

// TestChangesAtTheSameTime is for the race detector.
func TestChangesAtTheSameTime(t *testing.T) {
	t.Parallel()
	path := folder(t, map[string]string{"config.toml": basic})
	m := open(t, path)
	m.Subscribe(func(old, next *Config) (func(), error) {
		_ = maps.Clone(old.Databases)
		_ = maps.Clone(next.Databases)
		return func() { _ = m.Current().ListenPort }, nil
	})
	var wg sync.WaitGroup
	check := func(err error) {
		if err != nil {
			t.Error(err)
		}
	}
	for i := range 4 {
		wg.Go(func() {
			for n := range 5 {
				check(m.Set("max_client_conn", fmt.Sprint(100*i+n)))
				check(m.Reload(context.Background()))
				check(m.AlterSystem("min_pool_size", pointer(fmt.Sprint(n))))
				check(m.AlterDatabase("blog", "pool_size", pointer(fmt.Sprint(n+10))))
			}
		})
		wg.Go(func() {
			for range 200 {
				c := m.Current()
				if c.Databases["blog"] == nil || m.Origins()["pool_mode"].Value != "session" {
					t.Error("half a configuration")
				}
				_, _, _ = m.Status(), m.Warnings(), m.PendingRestart()
			}
		})
	}
	wg.Wait()
	if c := m.Current(); c.MinPoolSize != 4 || *c.Databases["blog"].PoolSize != 14 {
		t.Errorf("got %d, %d", c.MinPoolSize, *c.Databases["blog"].PoolSize)
	}
}
