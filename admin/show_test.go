package admin

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// pgbouncerColumns are PgBouncer 1.25.2's, written down independently of the view table:
// t text, i int4, q int8, N numeric.
func pgbouncerColumns() map[string]string {
	sockets := "type t, user t, database t, replication t, state t, addr t, port i, local_addr t, local_port i, connect_time t, request_time t, wait i, wait_us i, close_needed i, ptr t, link t, remote_pid i, tls t, application_name t, prepared_statements i, id i"
	buffers := ", recv_pos i, pkt_pos i, pkt_remain i, send_pos i, send_remain i, pkt_avail i, send_avail i"
	n := func(s string) string { return "database t, " + strings.ReplaceAll(s, ",", " N,") + " N" }
	return map[string]string{
		"CLIENTS": sockets, "SERVERS": sockets, "SOCKETS": sockets + buffers, "ACTIVE_SOCKETS": sockets + buffers,
		"POOLS":          "database t, user t, cl_active i, cl_waiting i, cl_active_cancel_req i, cl_waiting_cancel_req i, sv_active i, sv_active_cancel i, sv_being_canceled i, sv_idle i, sv_used i, sv_tested i, sv_login i, maxwait i, maxwait_us i, pool_mode t, load_balance_hosts t",
		"PEER_POOLS":     "peer_id i, cl_active_cancel_req i, cl_waiting_cancel_req i, sv_active_cancel i, sv_login i",
		"DATABASES":      "name t, host t, port i, database t, force_user t, pool_size i, min_pool_size i, reserve_pool_size i, server_lifetime i, pool_mode t, load_balance_hosts t, max_connections i, current_connections i, max_client_connections i, current_client_connections i, paused i, disabled i",
		"PEERS":          "peer_id i, host t, port i, pool_size i",
		"USERS":          "name t, pool_size t, reserve_pool_size t, pool_mode t, max_user_connections i, current_connections i, max_user_client_connections i, current_client_connections i",
		"LISTS":          "list t, items i",
		"STATS":          n("total_server_assignment_count, total_xact_count, total_query_count, total_received, total_sent, total_xact_time, total_query_time, total_wait_time, total_client_parse_count, total_server_parse_count, total_bind_count, total_client_login_count, avg_server_assignment_count, avg_xact_count, avg_query_count, avg_recv, avg_sent, avg_xact_time, avg_query_time, avg_wait_time, avg_client_parse_count, avg_server_parse_count, avg_bind_count, avg_client_login_count"),
		"STATS_TOTALS":   n("server_assignment_count, xact_count, query_count, bytes_received, bytes_sent, xact_time, query_time, wait_time, client_parse_count, server_parse_count, bind_count, client_login_count"),
		"STATS_AVERAGES": n("server_assignment_count, xact_count, query_count, bytes_received, bytes_sent, xact_time, query_time, wait_time, avg_client_parse_count, avg_server_parse_count, avg_bind_count, avg_client_login_count"),
		"TOTALS":         "name t, value N",
		"CONFIG":         "key t, value t, default t, changeable t",
		"MEM":            "name t, size i, used i, free i, memtotal i",
		"STATE":          "key t, value t",
		"VERSION":        "version t",
		"DNS_HOSTS":      "hostname t, ttl q, addrs t",
		"DNS_ZONES":      "zonename t, serial q, count i",
	}
}

func typeLetter(oid uint32) string {
	switch oid {
	case 25:
		return "t"
	case 23:
		return "i"
	case 20:
		return "q"
	case 1700:
		return "N"
	case 701:
		return "f"
	}
	return fmt.Sprint(oid)
}

func describeFields(fds []pgconn.FieldDescription) string {
	var out []string
	for _, f := range fds {
		out = append(out, f.Name+" "+typeLetter(f.DataTypeOID))
	}
	return strings.Join(out, ", ")
}

func TestShowHasPgBouncersColumnsFirst(t *testing.T) {
	t.Parallel()
	h := start(t)
	c, _ := h.connect(t, "exporter")
	for show, want := range pgbouncerColumns() {
		m := c.Exec(testContext(t), "SHOW "+show+";")
		if !m.NextResult() {
			t.Errorf("SHOW %s: %v", show, m.Close())
			continue
		}
		got := describeFields(m.ResultReader().FieldDescriptions())
		if tag, err := m.ResultReader().Close(); err != nil || tag.String() != "SHOW" {
			t.Errorf("SHOW %s: tag %q, %v", show, tag, err)
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		if got != want && !strings.HasPrefix(got, want+", ") {
			t.Errorf("SHOW %s\n got %s\nwant %s", show, got, want)
		}
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got); -update rewrites it:\n%s", path, diff)
	}
}

// show prints results one value to a line, with types.
func show(rs []*pgconn.Result) string {
	var b strings.Builder
	for _, r := range rs {
		for i, row := range r.Rows {
			fmt.Fprintf(&b, "- row %d\n", i+1)
			for j, v := range row {
				f := r.FieldDescriptions[j]
				val := "NULL"
				if v != nil {
					val = "'" + string(v) + "'"
				}
				fmt.Fprintf(&b, "  %s %s = %s\n", f.Name, typeLetter(f.DataTypeOID), val)
			}
		}
		fmt.Fprintf(&b, "%s\n", r.CommandTag)
	}
	return b.String()
}

func TestShowGolden(t *testing.T) {
	t.Parallel()
	h := start(t)
	c, _ := h.connect(t, "exporter")
	for _, v := range h.srv.set.views {
		rs, err := c.Exec(testContext(t), "show "+v.name).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		if v.name == "columns" {
			continue // all of docs/admin.md; the drift test has it
		}
		golden(t, "show_"+v.name+".txt", show(rs))
		// SELECT x is SHOW x, and SQL sees the same rows.
		again, err := c.Exec(testContext(t), "SELECT "+v.name+"; SELECT * FROM "+v.name).ReadAll()
		if err != nil {
			t.Fatalf("%s: %v", v.name, err)
		}
		if diff := cmp.Diff(show(rs), show(again[:1])); diff != "" {
			t.Errorf("SELECT %s: %s", v.name, diff)
		}
		if diff := cmp.Diff(rs[0].Rows, again[1].Rows); diff != "" {
			t.Errorf("SELECT * FROM %s: %s", v.name, diff)
		}
		if got, want := describeFields(again[1].FieldDescriptions), describeFields(rs[0].FieldDescriptions); got != want {
			t.Errorf("SELECT * FROM %s:\n got %s\nwant %s", v.name, got, want)
		}
	}
}

func TestNoControlCharactersInViews(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.cfg.fail(nil, "config.toml:3: bad\n\tvalue")
	c, _ := h.connect(t, "ops")
	for _, v := range h.srv.set.views {
		rs, err := c.Exec(testContext(t), "SHOW "+v.name).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range rs[0].Rows {
			for i, val := range row {
				if strings.ContainsAny(string(val), "\t\n\r") {
					t.Errorf("SHOW %s: %s has control characters: %q", v.name, rs[0].FieldDescriptions[i].Name, val)
				}
			}
		}
	}
}

// pgbouncer_exporter refuses SHOW CONFIG with other than 3 or 4 columns.
func TestShowConfigOnPgBouncerHasItsColumnsOnly(t *testing.T) {
	t.Parallel()
	h := start(t)
	c, _ := h.connect(t, "exporter", "dbname=pgbouncer")
	rs, err := c.Exec(testContext(t), "SHOW CONFIG; SELECT * FROM config").ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if got := describeFields(rs[0].FieldDescriptions); got != "key t, value t, default t, changeable t" {
		t.Errorf("SHOW: %s", got)
	}
	if got := len(rs[1].FieldDescriptions); got != 9 {
		t.Errorf("SELECT: %d columns", got)
	}
}
