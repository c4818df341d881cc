package admin

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

func modes() []pgx.QueryExecMode {
	return []pgx.QueryExecMode{
		pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
	}
}

func TestPgxInEveryMode(t *testing.T) {
	t.Parallel()
	h := start(t)
	for _, mode := range modes() {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			ctx := testContext(t)
			c := h.pgx(t, "ops", mode)
			for range 2 { // the second time from pgx's caches
				type pool struct {
					Database string
					Waiting  int32
				}
				rows, err := c.Query(ctx, "SELECT database, cl_waiting FROM pools WHERE cl_waiting > $1 AND user = $2 ORDER BY 1", 1, "app")
				if err != nil {
					t.Fatal(err)
				}
				got, err := pgx.CollectRows(rows, pgx.RowToStructByPos[pool])
				if err != nil {
					t.Fatal(err)
				}
				if want := []pool{{"shop", 7}}; !slices.Equal(got, want) {
					t.Errorf("got %v want %v", got, want)
				}
				var n, big int64
				var avg, age float64
				var recovering bool
				var one int
				err = c.QueryRow(ctx, `SELECT count(*), (SELECT max(total_xact_count) FROM stats), avg(cl_waiting), (SELECT max(query_age_s) FROM clients),
					pg_is_in_recovery(), 1 FROM pools`).Scan(&n, &big, &avg, &age, &recovering, &one)
				if err != nil {
					t.Fatal(err)
				}
				if n != 3 || big != 5_000_000_000 || avg != 7.0/3 || age != 1 || recovering || one != 1 {
					t.Errorf("got %v %v %v %v %v %v", n, big, avg, age, recovering, one)
				}
				var key, value string
				if err := c.QueryRow(ctx, "SHOW STATE").Scan(&key, &value); err != nil || key != "active" || value != "yes" {
					t.Errorf("SHOW STATE: %q %q %v", key, value, err)
				}
				tag, err := c.Exec(ctx, "PAUSE shop")
				if err != nil || tag.String() != "PAUSE" {
					t.Errorf("PAUSE: %q %v", tag, err)
				}
				var missing *pgconn.PgError
				if _, err := c.Exec(ctx, "SELECT nope FROM pools"); !errors.As(err, &missing) || missing.Code != "42703" {
					t.Errorf("missing column: %v", err)
				}
				if err := c.QueryRow(ctx, "SELECT sum(total_received) FROM stats").Scan(&n); err != nil || n != 40 {
					t.Errorf("numeric: %d %v", n, err)
				}
				if err := c.QueryRow(ctx, "SELECT count(*) FROM pools LIMIT $1", 5).Scan(&n); err != nil || n != 3 {
					t.Errorf("LIMIT $1: %d %v", n, err)
				}
			}
			tx, err := c.Begin(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if s := c.PgConn().TxStatus(); s != 'T' {
				t.Errorf("status in a transaction: %c", s)
			}
			if _, err := tx.Exec(ctx, "SHOW LISTS"); err != nil {
				t.Error(err)
			}
			if err := tx.Commit(ctx); err != nil {
				t.Error(err)
			}
			if err := c.DeallocateAll(ctx); err != nil {
				t.Error(err)
			}
			b := &pgx.Batch{}
			b.Queue("SHOW VERSION")
			b.Queue("SELECT name FROM databases WHERE name IN ($1, $2) ORDER BY name", "shop", "blog")
			res := c.SendBatch(ctx, b)
			var version, name string
			if err := res.QueryRow().Scan(&version); err != nil || version != "PgBouncer 1.25.2 compatible; pgdrover 0.1.0" {
				t.Errorf("version %q %v", version, err)
			}
			if err := res.QueryRow().Scan(&name); err != nil || name != "blog" {
				t.Errorf("name %q %v", name, err)
			}
			if err := res.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// talk sends frontend messages and returns the types and salient parts of the answers, up to n ReadyForQuery.
func talk(t *testing.T, c *pgconn.PgConn, n int, msgs ...pgproto3.FrontendMessage) []string {
	t.Helper()
	hj, err := c.Hijack()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hj.Conn.Close() })
	_ = hj.Conn.SetDeadline(time.Now().Add(30 * time.Second))
	for _, m := range msgs {
		hj.Frontend.Send(m)
	}
	if err := hj.Frontend.Flush(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for n > 0 {
		m, err := hj.Frontend.Receive()
		if err != nil {
			return append(got, "EOF")
		}
		switch m := m.(type) {
		case *pgproto3.ReadyForQuery:
			got = append(got, "Ready "+string(m.TxStatus))
			n--
		case *pgproto3.ErrorResponse:
			got = append(got, m.Severity+" "+m.Code+" "+m.Message)
		case *pgproto3.NoticeResponse:
			got = append(got, m.Severity+" "+m.Message)
		case *pgproto3.CommandComplete:
			got = append(got, "Complete "+string(m.CommandTag))
		case *pgproto3.DataRow:
			got = append(got, fmt.Sprintf("Row %q", m.Values))
		case *pgproto3.RowDescription:
			s := "Columns"
			for _, f := range m.Fields {
				s += fmt.Sprintf(" %s/%d/%d", f.Name, f.DataTypeOID, f.Format)
			}
			got = append(got, s)
		case *pgproto3.ParameterDescription:
			got = append(got, fmt.Sprintf("Parameters %v", m.ParameterOIDs))
		default:
			got = append(got, fmt.Sprintf("%T", m)[len("*pgproto3."):])
		}
	}
	return got
}

func TestExtendedProtocol(t *testing.T) {
	t.Parallel()
	h := start(t)
	parse := func(name, q string) *pgproto3.Parse { return &pgproto3.Parse{Name: name, Query: q} }
	tests := []struct {
		name string
		msgs []pgproto3.FrontendMessage
		n    int
		want []string
	}{
		{
			"max rows suspend the portal and go on",
			[]pgproto3.FrontendMessage{
				parse("", "SELECT database FROM pools ORDER BY 1"), &pgproto3.Bind{}, &pgproto3.Describe{ObjectType: 'P'},
				&pgproto3.Execute{MaxRows: 2}, &pgproto3.Execute{MaxRows: 2}, &pgproto3.Execute{}, &pgproto3.Sync{},
			},
			1,
			[]string{"ParseComplete", "BindComplete", "Columns database/25/0", `Row ["blog"]`, `Row ["pgdrover"]`, "PortalSuspended", `Row ["shop"]`, "Complete SELECT 1", "Complete SELECT 0", "Ready I"},
		},
		{
			"an error skips to Sync",
			[]pgproto3.FrontendMessage{
				parse("", "NONSENSE"), &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Query{String: "SHOW VERSION"}, &pgproto3.Sync{},
				parse("", "SHOW timezone"), &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{},
			},
			2,
			[]string{"ERROR 08P01 invalid command 'NONSENSE', use SHOW HELP;", "Ready I", "ParseComplete", "BindComplete", `Row ["GMT"]`, "Complete SHOW", "Ready I"},
		},
		{
			"names, Describe, Close",
			[]pgproto3.FrontendMessage{
				parse("s", "SHOW PEERS"), &pgproto3.Describe{ObjectType: 'S', Name: "s"}, parse("s", "SHOW PEERS"), &pgproto3.Sync{},
				&pgproto3.Bind{PreparedStatement: "s", DestinationPortal: "p", ResultFormatCodes: []int16{1}}, &pgproto3.Close{ObjectType: 'S', Name: "s"},
				&pgproto3.Execute{Portal: "p"}, &pgproto3.Close{ObjectType: 'P', Name: "p"}, &pgproto3.Execute{Portal: "p"}, &pgproto3.Sync{},
				&pgproto3.Bind{PreparedStatement: "s"}, &pgproto3.Sync{},
			},
			3,
			[]string{
				"ParseComplete", "Parameters []", "Columns peer_id/23/0 host/25/0 port/23/0 pool_size/23/0", `ERROR 42P05 prepared statement "s" already exists`, "Ready I",
				"BindComplete", "CloseComplete", `Row ["\x00\x00\x00\x01" "/run/p" "\x00\x00\x19 " "\x00\x00\x00\x14"]`, `Row ["\x00\x00\x00\x02" "10.0.0.2" "\x00\x00\x19 " "\x00\x00\x00\x14"]`, "Complete SHOW",
				"CloseComplete", `ERROR 34000 portal "p" does not exist`, "Ready I", `ERROR 26000 prepared statement "s" does not exist`, "Ready I",
			},
		},
		{
			"portals end with Sync outside a transaction",
			[]pgproto3.FrontendMessage{
				parse("", "SHOW timezone"), &pgproto3.Bind{DestinationPortal: "p"}, &pgproto3.Sync{}, &pgproto3.Execute{Portal: "p"}, &pgproto3.Sync{},
				&pgproto3.Query{String: "BEGIN"}, parse("", "SHOW timezone"), &pgproto3.Bind{DestinationPortal: "p"}, &pgproto3.Sync{}, &pgproto3.Execute{Portal: "p"}, &pgproto3.Sync{},
			},
			5,
			[]string{
				"ParseComplete", "BindComplete", "Ready I", `ERROR 34000 portal "p" does not exist`, "Ready I", "Complete BEGIN", "Ready T",
				"ParseComplete", "BindComplete", "Ready T", `Row ["GMT"]`, "Complete SHOW", "Ready T",
			},
		},
		{
			"parameters are typed by what they meet",
			[]pgproto3.FrontendMessage{
				parse("", "SELECT 1 FROM stats s JOIN pools p ON s.database = p.database WHERE $1 < s.total_sent AND p.cl_active IN (1, $2) AND p.user = $3 AND sum(p.cl_active) > $4 AND cl_active + 1 > $5 LIMIT $6"),
				&pgproto3.Sync{},
				parse("", "SELECT count(*) FROM stats s JOIN pools p ON s.database = p.database WHERE $1 < s.total_sent AND p.cl_active IN (1, $2) AND p.user = $3 AND cl_active + 1 > $5 LIMIT $6"),
				&pgproto3.Describe{ObjectType: 'S'}, &pgproto3.Bind{Parameters: [][]byte{[]byte("1"), []byte("2"), []byte("app"), nil, []byte("2"), []byte("10")}}, &pgproto3.Execute{}, &pgproto3.Sync{},
			},
			2,
			[]string{"ParseComplete", "Ready I", "ParseComplete", "Parameters [1700 23 25 25 25 20]", "Columns count/20/0", "BindComplete", `Row ["1"]`, "Complete SELECT 1", "Ready I"},
		},
		{
			"empty query, wrong number of parameters, Flush, function call",
			[]pgproto3.FrontendMessage{
				parse("", " ; -- nothing"), &pgproto3.Describe{ObjectType: 'S'}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Flush{}, &pgproto3.Sync{},
				parse("", "SELECT $1"), &pgproto3.Bind{}, &pgproto3.Sync{}, &pgproto3.FunctionCall{}, &pgproto3.Query{String: ""},
			},
			4,
			[]string{
				"ParseComplete", "Parameters []", "NoData", "BindComplete", "EmptyQueryResponse", "Ready I", "ParseComplete",
				`ERROR 08P01 bind message supplies 0 parameters, but prepared statement "" requires 1`, "Ready I",
				"ERROR 0A000 function calls are not supported in the admin database", "Ready I", "EmptyQueryResponse", "Ready I",
			},
		},
		{
			"commands run in order up to the first that fails",
			[]pgproto3.FrontendMessage{
				&pgproto3.Query{String: "SHOW timezone; resume \"shop\" ; BOGUS 1; SHOW datestyle"},
			},
			1,
			[]string{"Columns timezone/25/0", `Row ["GMT"]`, "Complete SHOW", "Complete RESUME", "ERROR 08P01 invalid command 'BOGUS 1', use SHOW HELP;", "Ready I"},
		},
		{
			"two commands in one Parse",
			[]pgproto3.FrontendMessage{parse("", "SHOW timezone; SHOW datestyle"), &pgproto3.Sync{}},
			1,
			[]string{"ERROR 42601 cannot insert multiple commands into a prepared statement", "Ready I"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, _ := h.connect(t, "ops")
			if got := talk(t, c, tt.n, tt.msgs...); !slices.Equal(got, tt.want) {
				t.Errorf("\n got %q\nwant %q", got, tt.want)
			}
		})
	}
}

// A Bind whose parameter has a length of -2 made the decoder slice out of bounds.
func TestBrokenMessagesEndOnlyTheSession(t *testing.T) {
	t.Parallel()
	h := start(t)
	for name, raw := range map[string][]byte{
		"negative length": {'B', 0, 0, 0, 16, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xf0, 0, 0},
		"short Parse":     {'P', 0, 0, 0, 5, 'x'},
		"unknown type":    {'!', 0, 0, 0, 4},
		"too long":        {'Q', 0x7f, 0, 0, 0},
		"length below 4":  {'Q', 0, 0, 0, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, _ := h.connect(t, "ops")
			hj, err := c.Hijack()
			if err != nil {
				t.Fatal(err)
			}
			defer hj.Conn.Close()
			_ = hj.Conn.SetDeadline(time.Now().Add(30 * time.Second))
			if _, err := hj.Conn.Write(raw); err != nil {
				t.Fatal(err)
			}
			m, err := hj.Frontend.Receive()
			if err != nil {
				t.Fatal(err)
			}
			if e, ok := m.(*pgproto3.ErrorResponse); !ok || e.Severity != "FATAL" || e.Code != "08P01" {
				t.Errorf("got %#v", m)
			}
			if _, err := hj.Frontend.Receive(); err == nil {
				t.Error("the session goes on")
			}
		})
	}
}
