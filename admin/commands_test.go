package admin

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"pgdrover/pooler"
)

// run runs a query string; out is the last tag or the error as "CODE message".
func run(t *testing.T, c *pgconn.PgConn, sql string) (tag string, failed *pgconn.PgError) {
	t.Helper()
	rs, err := c.Exec(testContext(t), sql).ReadAll()
	if err != nil {
		if !errors.As(err, &failed) {
			t.Fatalf("%s: %v", sql, err)
		}
		return "", failed
	}
	if len(rs) == 0 {
		return "", nil
	}
	return rs[len(rs)-1].CommandTag.String(), nil
}

func TestCommands(t *testing.T) {
	t.Parallel()
	tests := []struct {
		sql, did, tag string
	}{
		{"PAUSE", "pause ", "PAUSE"},
		{"pause shop;", "pause shop", "PAUSE"},
		{`PAUSE "My-Shop.1"`, "pause My-Shop.1", "PAUSE"},
		{"PAUSE my-shop.1", "pause my-shop.1", "PAUSE"},
		{"RESUME", "resume ", "RESUME"},
		{"RESUME 'shop'", "resume shop", "RESUME"},
		{"KILL shop", "kill shop", "KILL"},
		{"KILL_CLIENT 17", "kill_client 17", "KILL_CLIENT"},
		{"KILL_CLIENT 18", "kill_client 2147483666", "KILL_CLIENT"}, // id beyond int4, cut by SHOW CLIENTS
		{"RECONNECT", "reconnect ", "RECONNECT"},
		{"WAIT_CLOSE shop", "wait_close shop", "WAIT_CLOSE"},
		{"DISABLE shop", "disable shop", "DISABLE"},
		{"ENABLE shop -- comment", "enable shop", "ENABLE"},
		{"SHUTDOWN", "shutdown 0", "SHUTDOWN"},
		{"SHUTDOWN WAIT_FOR_SERVERS", "shutdown 1", "SHUTDOWN"},
		{"shutdown wait_for_clients", "shutdown 2", "SHUTDOWN"},
	}
	for _, tt := range tests {
		t.Run(tt.sql, func(t *testing.T) {
			t.Parallel()
			h := start(t)
			c, _ := h.connect(t, "ops")
			tag, failed := run(t, c, tt.sql)
			if failed != nil || tag != tt.tag {
				t.Errorf("tag %q, %v", tag, failed)
			}
			eventually(t, tt.did, func() bool { return slices.Equal(h.ctl.log(), []string{tt.did}) })
			if log := h.log.String(); !strings.Contains(log, `"user":"ops"`) || !strings.Contains(log, `"addr":"127.0.0.1:`) {
				t.Errorf("log %s", log)
			}
		})
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	tests := []struct {
		sql, did, tag string
	}{
		{"SET max_client_conn = 300", "set max_client_conn=300", "SET max_client_conn=300"},
		{"set Max_Client_Conn to '300'", "set max_client_conn=300", "SET max_client_conn=300"},
		{"SET x=-1", "set x=-1", "SET x=-1"},
		{"SET x = 0.5", "set x=0.5", "SET x=0.5"},
		{"SET x = 5min", "set x=5min", "SET x=5min"},
		{"SET x = /etc/ssl/a-b.pem", "set x=/etc/ssl/a-b.pem", "SET x=/etc/ssl/a-b.pem"},
		{"SET x = ''", "set x=", "SET x="},
		{"SET x = a, b", "set x=a, b", "SET x=a, b"},
		{"SET x = $$it's$$", "set x=it's", "SET x=it's"},
		{"SET auth_ldap_options = 'ldapbindpasswd=hush'", "set auth_ldap_options=ldapbindpasswd=hush", "SET auth_ldap_options=****"},
		{"ALTER SYSTEM SET max_client_conn = 5", "system max_client_conn =5", "ALTER SYSTEM"},
		{"ALTER SYSTEM RESET max_client_conn", "system max_client_conn RESET", "ALTER SYSTEM"},
		{"alter system reset all", "system ALL RESET", "ALTER SYSTEM"},
		{"ALTER DATABASE shop SET pool_size TO 40", "database shop pool_size =40", "ALTER DATABASE"},
		{`ALTER DATABASE "a b" RESET pool_size`, "database a b pool_size RESET", "ALTER DATABASE"},
		{"ALTER USER app SET password = 'hush'", "user app password =hush", "ALTER USER"},
		{"ALTER USER app RESET ALL", "user app ALL RESET", "ALTER USER"},
		{"RELOAD", "reload", "RELOAD"},
	}
	for _, tt := range tests {
		t.Run(tt.sql, func(t *testing.T) {
			t.Parallel()
			h := start(t)
			c, _ := h.connect(t, "ops")
			tag, failed := run(t, c, tt.sql)
			if failed != nil || tag != tt.tag {
				t.Errorf("tag %q, %v", tag, failed)
			}
			if got := h.cfg.log(); !slices.Equal(got, []string{tt.did}) {
				t.Errorf("did %q want %q", got, tt.did)
			}
			if log := h.log.String(); strings.Contains(log, "hush") || !strings.Contains(log, "admin command") {
				t.Errorf("log %s", log)
			}
		})
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	h := start(t)
	ops, _ := h.connect(t, "ops")
	exporter, _ := h.connect(t, "exporter")
	tests := []struct {
		c                        *pgconn.PgConn
		sql, code, message, hint string
	}{
		{ops, "FOO bar;", "08P01", "invalid command 'FOO bar', use SHOW HELP;", ""},
		{ops, "PAUSE a b", "08P01", "invalid command 'PAUSE a b', use SHOW HELP;", "The syntax is PAUSE [<database>]."},
		{ops, "SHOW POLLS", "08P01", "invalid command 'SHOW POLLS', use SHOW HELP;", "Perhaps you meant SHOW POOLS."},
		{ops, "SHOW", "08P01", "invalid command 'SHOW', use SHOW HELP;", ""},
		{ops, "DELETE FROM pools", "08P01", "invalid command 'DELETE FROM pools', use SHOW HELP;", "In the admin database, SQL may only SELECT from the views that SHOW HELP lists."},
		{ops, "DISABLE", "08P01", "a database is required", "SHOW DATABASES lists them."},
		{ops, "PAUSE pgbouncer", "08P01", "cannot pause admin db: pgbouncer", ""},
		{ops, "KILL_CLIENT abc", "08P01", "invalid client pointer supplied", "Give the number in column id of SHOW CLIENTS."},
		{ops, "SUSPEND", "0A000", "SUSPEND is not supported", "PAUSE holds new queries as well."},
		{ops, "SHOW FDS", "0A000", "SHOW FDS is not supported", ""},
		{ops, "RESET max_client_conn", "08P01", "invalid command 'RESET max_client_conn', use SHOW HELP;", "ALTER SYSTEM RESET <setting> takes a value back that ALTER SYSTEM SET has set; RELOAD takes back what SET has set."},
		{ops, "DEALLOCATE x", "26000", `prepared statement "x" does not exist`, ""},
		{ops, "SET x = 'open", "42601", `unterminated quoted string at or near "'open"`, ""},
		{exporter, "PAUSE", "42501", "admin access needed", "Users in admin_users may run every command, users in stats_users only SHOW and SELECT."},
		{exporter, "SET max_client_conn = 3", "42501", "admin access needed", "Users in admin_users may run every command, users in stats_users only SHOW and SELECT."},
		{exporter, "SHOW FDS", "42501", "admin access needed", "Users in admin_users may run every command, users in stats_users only SHOW and SELECT."},
	}
	for _, tt := range tests {
		_, e := run(t, tt.c, tt.sql)
		if e == nil || e.Code != tt.code || e.Message != tt.message || e.Hint != tt.hint || e.Severity != "ERROR" {
			t.Errorf("%s: got %#v\nwant %s %s (%s)", tt.sql, e, tt.code, tt.message, tt.hint)
		}
	}
	if got := h.ctl.log(); len(got) != 0 {
		t.Errorf("refused commands did %q", got)
	}

	h.ctl.mu.Lock()
	h.ctl.err = &pooler.Error{Severity: "ERROR", Code: "08P01", Message: "no such database: nope", Detail: "d", Hint: "h"}
	h.ctl.mu.Unlock()
	if _, e := run(t, ops, "RESUME nope"); e == nil || e.Message != "no such database: nope" || e.Detail != "d" || e.Hint != "h" {
		t.Errorf("got %#v", e)
	}
}

func TestRejectedReloadIsToldUntilMended(t *testing.T) {
	t.Parallel()
	h := start(t)
	c, n := h.connect(t, "ops")
	h.cfg.fail(errors.New(`config.toml:7: unknown key "pool_siez"`), `config.toml:7: unknown key "pool_siez"`)
	_, e := run(t, c, "RELOAD")
	if e == nil || e.Code != "F0000" || e.Message != "RELOAD failed, see logs for additional details" || e.Detail != `config.toml:7: unknown key "pool_siez"` {
		t.Errorf("got %#v", e)
	}
	n.take()
	run(t, c, "SHOW LISTS")
	if got := n.take(); len(got) != 0 {
		t.Errorf("told twice: %+v", got[0])
	}
	other, on := h.connect(t, "exporter")
	run(t, other, "SHOW LISTS; SHOW LISTS")
	got := on.take()
	if len(got) != 1 || got[0].Severity != "WARNING" || got[0].Detail != `config.toml:7: unknown key "pool_siez"` {
		t.Errorf("got %+v", got)
	}
	rs, err := other.Exec(testContext(t), "SELECT value FROM state WHERE key = 'config_error'").ReadAll()
	if err != nil || string(rs[0].Rows[0][0]) != `config.toml:7: unknown key "pool_siez"` {
		t.Errorf("state: %v %v", rs, err)
	}
	h.cfg.fail(nil, "")
	run(t, c, "SHOW LISTS")
	if got := n.take(); len(got) != 0 {
		t.Errorf("mended, but told %+v", got[0])
	}
}

func TestSetFailureKeepsPgBouncersWords(t *testing.T) {
	t.Parallel()
	h := start(t)
	c, _ := h.connect(t, "ops")
	h.cfg.fail(errors.New("max_client_conn: not a number"), "")
	if _, e := run(t, c, "SET max_client_conn = x"); e == nil || e.Code != "08P01" || e.Message != "SET failed" || e.Detail != "max_client_conn: not a number" {
		t.Errorf("got %#v", e)
	}
}

func TestWhatDriversSendByThemselves(t *testing.T) {
	t.Parallel()
	h := start(t)
	c, n := h.connect(t, "exporter")
	for _, tt := range []struct{ sql, tag, notice string }{
		{"SET client_encoding = 'UTF8'", "SET", "SET ignored"},
		{"SET extra_float_digits = 3", "SET", "SET ignored"},
		{"SET application_name = 'PostgreSQL JDBC Driver'", "SET", "SET ignored"},
		{"SET SESSION datestyle TO ISO, MDY", "SET", "SET ignored"},
		{"SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", "SET", "SET ignored"},
		{"SET TIME ZONE 'UTC'", "SET", "SET ignored"},
		{"BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY", "BEGIN", ""},
		{"BEGIN", "BEGIN", "there is already a transaction in progress"},
		{"SAVEPOINT a; ROLLBACK TO SAVEPOINT a; RELEASE a", "RELEASE", ""},
		{"COMMIT", "COMMIT", ""},
		{"ROLLBACK", "ROLLBACK", "there is no transaction in progress"},
		{"START TRANSACTION", "START TRANSACTION", ""},
		{"ABORT", "ROLLBACK", ""},
		{"DISCARD ALL", "DISCARD ALL", ""},
		{"UNLISTEN *", "UNLISTEN", ""},
		{"CLOSE ALL", "CLOSE CURSOR ALL", ""},
		{"RESET ALL", "RESET", ""},
		{"DEALLOCATE ALL", "DEALLOCATE ALL", ""},
	} {
		tag, failed := run(t, c, tt.sql)
		var told string
		for _, m := range n.take() {
			told += m.Message
		}
		if failed != nil || tag != tt.tag || told != tt.notice {
			t.Errorf("%s: tag %q, notice %q, %v", tt.sql, tag, told, failed)
		}
	}
	for sql, want := range map[string]string{
		"SHOW client_encoding": "UTF-8", "SHOW default_transaction_isolation": "read committed", "SHOW standard_conforming_strings": "on",
		"SHOW DateStyle": "ISO", "SHOW TimeZone": "GMT", "SHOW TRANSACTION ISOLATION LEVEL": "read committed", "SHOW application_name": "test",
		"SHOW max_client_conn": "200", "SHOW auth_ldap_options": "****", "SELECT current_user": "exporter", "SELECT current_database()": "pgdrover",
		"SELECT version()": "PgBouncer 1.25.2 compatible; pgdrover 0.1.0", "SELECT pg_catalog.version()": "PgBouncer 1.25.2 compatible; pgdrover 0.1.0",
		"SELECT pg_is_in_recovery()": "f", "SELECT 1": "1", "SELECT current_schema()": "public", "SELECT E'a\\'b'": "a'b",
	} {
		rs, err := c.Exec(testContext(t), sql).ReadAll()
		if err != nil || string(rs[0].Rows[0][0]) != want {
			t.Errorf("%s: %v %v", sql, rs, err)
		}
	}
	if h.log.String() != "" {
		t.Errorf("logged as admin actions: %s", h.log)
	}
}

func TestRollbackSaysThatItUndoesNothing(t *testing.T) {
	t.Parallel()
	h := start(t)
	c, n := h.connect(t, "ops")
	run(t, c, "BEGIN; RECONNECT; ROLLBACK")
	if got := n.take(); len(got) != 1 || got[0].Message != "commands of the admin database cannot be rolled back" {
		t.Errorf("got %v", got)
	}
}

func TestCancelEndsWaiting(t *testing.T) {
	t.Parallel()
	for _, sql := range []string{"PAUSE shop", "WAIT_CLOSE"} {
		t.Run(sql, func(t *testing.T) {
			t.Parallel()
			h := start(t)
			h.ctl.waiting = make(chan struct{})
			c, _ := h.connect(t, "ops")
			go func() {
				<-h.ctl.waiting
				_ = c.CancelRequest(context.Background())
			}()
			_, e := run(t, c, sql)
			if e == nil || e.Code != "57014" || e.Message != "canceling statement due to user request" {
				t.Errorf("got %#v", e)
			}
			if got := h.ctl.log(); len(got) != 2 || !strings.HasPrefix(got[1], "undo") {
				t.Errorf("did %q", got)
			}
			h.ctl.waiting = nil
			if tag, e := run(t, c, "SHOW LISTS"); tag != "SHOW" || e != nil {
				t.Errorf("afterwards: %q %v", tag, e)
			}
		})
	}
}

func TestClientThatLeavesEndsWaiting(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.ctl.waiting = make(chan struct{})
	c, _ := h.connect(t, "ops")
	go func() {
		<-h.ctl.waiting
		_ = c.Conn().Close()
	}()
	_, _ = c.Exec(testContext(t), "PAUSE").ReadAll()
	if err := <-h.ended; err != nil {
		t.Errorf("session ended with %v", err)
	}
	if got := h.ctl.log(); len(got) != 2 || got[1] != "undo pause" {
		t.Errorf("did %q", got)
	}
}

func TestShutdownSaysGoodBye(t *testing.T) {
	t.Parallel()
	for _, sql := range []string{"SHOW LISTS", "PAUSE"} {
		h := start(t)
		c, _ := h.connect(t, "ops")
		if sql == "PAUSE" {
			h.ctl.waiting = make(chan struct{})
			go func() { <-h.ctl.waiting; h.stop() }()
			_, _ = c.Exec(testContext(t), sql).ReadAll()
		} else {
			run(t, c, sql)
			h.stop()
			_, err := c.ReceiveMessage(testContext(t))
			var e *pgconn.PgError
			if !errors.As(err, &e) || e.Severity != "FATAL" || e.Message != "server shutting down" {
				t.Errorf("got %v", err)
			}
		}
		if err := <-h.ended; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: session ended with %v", sql, err)
		}
	}
}
