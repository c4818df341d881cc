package admin

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pgdrover/pooler"
)

func TestInstallCommandsSayWhatIsToBeDone(t *testing.T) {
	t.Parallel()
	h := start(t)
	c, told := h.connect(t, "ops")
	for sql, want := range map[string]string{
		"ALTER DATABASE shop INSTALL GUARD":                                  "install shop {What:0 As: Roles:[]}",
		"ALTER DATABASE shop INSTALL GUARD AS Postgres":                      "install shop {What:0 As:postgres Roles:[]}",
		"alter database shop remove guard as \"Boss\"":                       "install shop {What:1 As:Boss Roles:[]}",
		"ALTER DATABASE shop INSTALL TWO PHASE":                              "install shop {What:2 As: Roles:[]}",
		"ALTER DATABASE shop INSTALL TWO PHASE FOR app, \"Web\" AS postgres": "install shop {What:2 As:postgres Roles:[app Web]}",
		"ALTER DATABASE \"my shop\" INSTALL TWO PHASE FOR app":               "install my shop {What:2 As: Roles:[app]}",
		"ALTER DATABASE shop INSTALL NEXT ID AS postgres":                    "install shop {What:3 As:postgres Roles:[]}",
		"SHOW TWO_PHASE ON DATABASE shop":                                    "two phase shop []",
		"show two_phase on database shop for App, web":                       `two phase shop ["app" "web"]`,
		"ROUTE shop 'SELECT 1'":                                              "route shop  SELECT 1",
		"ROUTE shop AS app $$SELECT 'x' FROM t WHERE a = 1$$":                "route shop app SELECT 'x' FROM t WHERE a = 1",
		"ROUTE \"my shop\" AS \"App\" 'SELECT ''x''; SELECT 2'":              "route my shop App SELECT 'x'; SELECT 2",
		"ALTER DATABASE shop INSTALL TWO PHASE FOR as, \"for\" AS \"as\"":    "install shop {What:2 As:as Roles:[as for]}",
	} {
		before := len(h.ctl.log())
		if _, failed := run(t, c, sql); failed != nil {
			t.Errorf("%s: %v", sql, failed)
		}
		if did := h.ctl.log()[before:]; len(did) != 1 || did[0] != want {
			t.Errorf("%s\n got %q\nwant %q", sql, did, want)
		}
	}
	told.take()
	if _, failed := run(t, c, "ALTER DATABASE shop INSTALL GUARD"); failed != nil {
		t.Fatal(failed)
	}
	if n := told.take(); len(n) != 2 || n[0].Message != `shard "a": installed` || n[1].Message != `shard "b": installed` {
		t.Errorf("notices %+v", n)
	}
	for sql, want := range map[string]string{
		"ALTER DATABASE shop INSTALL GUARD AS a, b":     "42601",
		"ALTER DATABASE shop INSTALL TWO PHASE FOR 1 2": "42601",
		"ALTER DATABASE shop INSTALL":                   codeProtocol,
		"ROUTE shop":                                    codeProtocol,
		"SHOW TWO_PHASE":                                codeProtocol,
	} {
		if _, failed := run(t, c, sql); failed == nil || failed.Code != want {
			t.Errorf("%s: %+v, want %s", sql, failed, want)
		}
	}
}

func TestInstallationsNeedAnAdminAndPassErrorsOn(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.ctl.err = &pooler.Error{Severity: "ERROR", Code: "42501", Message: `shard "b": permission denied`, Hint: "Ask."}
	c, _ := h.connect(t, "ops")
	if _, failed := run(t, c, "ALTER DATABASE shop INSTALL GUARD"); failed == nil || failed.Code != "42501" || failed.Message != `shard "b": permission denied` || failed.Hint != "Ask." {
		t.Errorf("got %+v", failed)
	}
	stats, _ := h.connect(t, "exporter")
	for _, sql := range []string{"ALTER DATABASE shop INSTALL GUARD", "ALTER DATABASE shop REMOVE GUARD", "ROUTE shop 'SELECT 1'"} {
		if _, failed := run(t, stats, sql); failed == nil || failed.Code != codePrivilege {
			t.Errorf("%s as a user who may only look: %+v", sql, failed)
		}
	}
}

func TestRouteShowsPlansAndRefusals(t *testing.T) {
	t.Parallel()
	h := start(t)
	c, _ := h.connect(t, "ops")
	got := selectRows(t, c, "ROUTE shop 'SELECT ''secret''\nFROM t'")
	want := []string{
		"1|1|forward|a|customer = 1|SELECT 'secret'\nFROM t|||||",
		"2|0|refused|||SELECT 'secret'\nFROM t|0A000|MERGE|m|d|h",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if log := h.log.String(); strings.Contains(log, "secret") || !strings.Contains(log, "ROUTE database=shop sql=…") {
		t.Errorf("the log has %s", log)
	}
	if got := selectRows(t, c, "SHOW TWO_PHASE ON DATABASE shop"); !cmp.Equal(got, []string{"CREATE x;", "GRANT y;"}) {
		t.Errorf("%q", got)
	}
}
