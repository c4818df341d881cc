package integration

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgproto3"

	"pgdrover/internal/pgtest"
)

// streamLab is a PostgreSQL that can be replicated, with a pool in front of it. All its databases are "postgres":
// PostgreSQL's programs ask for one of the name "replication" when any will do.
func streamLab(t *testing.T) (*pgtest.Cluster, *bouncer) {
	t.Helper()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"), pgtest.WithSetting("wal_level", "logical"))
	b := newPool(t, pg, "pool_mode = \"transaction\"\ndefault_pool_size = 2\n", "", pgDatabase("postgres", pg, ""), pgDatabase("replication", pg, ""))
	pg.MustExec(t, "postgres", "CREATE TABLE r (a int PRIMARY KEY, b text)", "CREATE PUBLICATION p FOR TABLE r")
	return pg, b
}

// awaitSlot waits until a slot is in use, or is not.
func awaitSlot(t *testing.T, pg *pgtest.Cluster, slot string, active bool) {
	t.Helper()
	pgtest.Eventually(t, patience, func() error {
		got := pg.MustValue(t, "postgres", "SELECT active FROM pg_replication_slots WHERE slot_name = '"+slot+"'")
		if (got == "t") != active {
			return fmt.Errorf("slot %s: active is %q, want %v", slot, got, active)
		}
		return nil
	})
}

// noStreams waits until neither side knows of a replication connection.
func noStreams(t *testing.T, pg *pgtest.Cluster, b *bouncer) {
	t.Helper()
	pgtest.Eventually(t, patience, func() error {
		for _, view := range []string{"SERVERS", "CLIENTS"} {
			for _, r := range b.rows(view) {
				if r["replication"] != "none" && r["replication"] != "" {
					return fmt.Errorf("SHOW %s still has %v", view, r)
				}
			}
		}
		if n := pg.MustValue(t, "postgres", "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender'"); n != "0" {
			return fmt.Errorf("PostgreSQL still has %s walsenders", n)
		}
		return nil
	})
}

// TestReplicationCommandsAnswerAsPostgreSQL asks PostgreSQL and the pool the same things; names of systems and positions are
// left out.
func TestReplicationCommandsAnswerAsPostgreSQL(t *testing.T) {
	t.Parallel()
	pg, b := streamLab(t)
	for kind, say := range map[string][]string{
		"database": {
			"Q CREATE_REPLICATION_SLOT s TEMPORARY LOGICAL test_decoding NOEXPORT_SNAPSHOT", "Q SELECT 1", "Q SHOW server_encoding", "Q SELECT 1; SELECT 1 / 0",
			"Q START_REPLICATION SLOT none LOGICAL 0/0", "Q DROP_REPLICATION_SLOT s", "Q IDENTIFY SYSTEM",
			"Q BEGIN; CREATE_REPLICATION_SLOT", "Q BEGIN", "Q SELECT 2", "Q ROLLBACK",
		},
		"true": {"Q CREATE_REPLICATION_SLOT s TEMPORARY PHYSICAL RESERVE_WAL", "Q SELECT 1", "Q SHOW server_encoding", "Q TIMELINE_HISTORY 9", "Q START_REPLICATION 99/0", "Q DROP_REPLICATION_SLOT s", "P - SELECT 1"},
	} {
		var answers [2]string
		for i, port := range []int{pg.Port, b.Port} {
			c := startRaw(t, port, "postgres", "postgres", "replication", kind)
			for _, m := range say {
				packet := []string{m}
				if strings.HasPrefix(m, "P") {
					packet = append(packet, "S")
				}
				got := c.say(packet...)
				if strings.Contains(m, "CREATE_REPLICATION_SLOT s") || strings.Contains(m, "99/0") {
					got = strings.Join(strings.Fields(got)[len(strings.Fields(got))-1:], " ")
				}
				answers[i] += m + " => " + got + "\n"
			}
			_ = c.nc.Close()
		}
		if diff := cmp.Diff(answers[0], answers[1]); diff != "" {
			t.Errorf("replication=%s (-PostgreSQL +pgdrover):\n%s", kind, diff)
		}
	}
	noStreams(t, pg, b)
}

// streamed reads what pgoutput sends, and returns it as text up to and with the n-th commit.
func streamed(t *testing.T, c *rawClient, n int) (out []string) {
	t.Helper()
	for n > 0 {
		typ, body, err := c.next()
		if err != nil || typ != 'd' {
			t.Fatalf("after %q: message %q (%s), %v", out, typ, body, err)
		}
		if body[0] != 'w' { // keep-alives
			continue
		}
		switch msg := body[25:]; msg[0] {
		case 'C':
			n--
			out = append(out, "commit")
		case 'I':
			out = append(out, "insert "+tuple(msg[6:]))
		case 'D', 'U':
			out = append(out, string(msg[0]))
		}
	}
	return out
}

// tuple shows the values of a TupleData.
func tuple(b []byte) string {
	var vals []string
	n := binary.BigEndian.Uint16(b)
	for b = b[2:]; n > 0; n-- {
		if b[0] != 't' {
			vals, b = append(vals, string(b[0])), b[1:]
			continue
		}
		l := binary.BigEndian.Uint32(b[1:])
		vals, b = append(vals, short(b[5:5+l])), b[5+l:]
	}
	return strings.Join(vals, "|")
}

// status tells the server that everything up to a position has come and wants an answer.
func status() []byte {
	b := append([]byte{'r'}, make([]byte, 32)...)
	for i := 1; i <= 24; i += 8 {
		binary.BigEndian.PutUint64(b[i:], 1)
	}
	msg, err := (&pgproto3.CopyData{Data: append(b, 1)}).Encode(nil)
	if err != nil {
		panic(err)
	}
	return msg
}

// TestLogicalStreamsPassBothWays streams changes with pgoutput, ends the stream in an orderly way and uses the connection
// again; then ends it in every other way there is. The slot is free afterwards.
func TestLogicalStreamsPassBothWays(t *testing.T) {
	t.Parallel()
	pg, b := streamLab(t)
	const start = "Q START_REPLICATION SLOT s LOGICAL 0/0 (proto_version '1', publication_names 'p')"
	pg.MustExec(t, "postgres", "SELECT pg_create_logical_replication_slot('s', 'pgoutput')")
	dial := func(port int) *rawClient {
		return startRaw(t, port, "postgres", "postgres", "replication", "database", "application_name", "raw stream")
	}
	begin := func(c *rawClient) {
		c.write(encode(t, start))
		if typ, _, err := c.next(); typ != 'W' || err != nil {
			t.Fatalf("got %q, %v; want CopyBothResponse", typ, err)
		}
		awaitSlot(t, pg, "s", true)
	}

	var c *rawClient
	for round := range 3 {
		c = dial(b.Port)
		begin(c)
		big := strings.Repeat("z", 300_000)
		pg.MustExec(t, "postgres", "BEGIN; TRUNCATE r; INSERT INTO r VALUES (1, 'one'), (2, NULL); COMMIT", "INSERT INTO r VALUES (3, '"+big+"')", "DELETE FROM r WHERE a = 1")
		want := []string{"insert 1|one", "insert 2|n", "commit", "insert 3|" + short([]byte(big)), "commit", "D", "commit"}
		if diff := cmp.Diff(want, streamed(t, c, 3)); diff != "" {
			t.Fatalf("round %d (-want +got):\n%s", round, diff)
		}
		for range 10 { // the client says something while the server does
			pg.MustExec(t, "postgres", "DELETE FROM r", "INSERT INTO r VALUES (9, 'nine')")
			c.write(status())
			streamed(t, c, 2)
		}
		c.write(encode(t, "c"))
		for typ := byte(0); typ != 'Z'; {
			var err error
			if typ, _, err = c.next(); err != nil {
				t.Fatalf("the end of the stream: %v", err)
			}
		}
		awaitSlot(t, pg, "s", false)
		if got := c.say("Q SELECT pg_replication_slot_advance('s', pg_current_wal_lsn()) IS NOT NULL"); !strings.Contains(got, "D(t)") {
			t.Fatalf("after the stream: %s", got)
		}
		_ = c.nc.Close()
	}

	for name, end := range map[string]func(){
		"left without an end":      func() { c.write(encode(t, "X")) },
		"terminated by the client": func() { c.write(encode(t, "c", "X")) },
		"the client vanishes":      func() { _ = c.nc.Close() },
		"the client is killed":     func() { b.Admin("KILL_CLIENT " + b.row("CLIENTS", "replication=logical")["id"]) },
		"the server is terminated": func() {
			pg.MustExec(t, "postgres", "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots")
		},
		"the database is killed":    func() { b.Admin("KILL postgres", "RESUME postgres") },
		"the client says no copy":   func() { c.write(encode(t, "f no more", "X")) },
		"the client breaks a frame": func() { c.write([]byte{'d', 0, 0, 0, 1}) },
	} {
		t.Log(name)
		c = dial(b.Port)
		begin(c)
		end()
		awaitSlot(t, pg, "s", false)
		_ = c.nc.Close()
		noStreams(t, pg, b)
	}

	// A cancel request ends the stream with PostgreSQL's error, and the connection can be used again.
	var answers [2]string
	for i, port := range []int{pg.Port, b.Port} {
		c = dial(port)
		begin(c)
		cancel := dialRaw(t, port)
		cancel.write(append([]byte{0, 0, 0, 16, 4, 210, 22, 46}, c.key...))
		for typ := byte(0); typ != 'E'; {
			var body []byte
			var err error
			if typ, body, err = c.next(); err != nil {
				t.Fatal(err)
			}
			if typ == 'E' {
				answers[i] = describe(typ, body)
			}
		}
		answers[i] += c.until("Z")
		answers[i] += c.say("Q SELECT 1")
		_ = c.nc.Close()
		awaitSlot(t, pg, "s", false)
	}
	if diff := cmp.Diff(answers[0], answers[1]); diff != "" {
		t.Errorf("cancel (-PostgreSQL +pgdrover):\n%s", diff)
	}
	noStreams(t, pg, b)
}

// start runs a program beside the test; stop interrupts it as ^C does and returns what it printed.
func (b toolbox) start(name string, args ...string) (stop func() ran) {
	b.t.Helper()
	cmd := b.command(testContext(b.t), name, args...)
	var stdout, stderr lockedBuffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	ended := background(cmd.Wait)
	stopped := false
	stop = func() ran {
		if !stopped {
			stopped = true
			_ = cmd.Process.Signal(syscall.SIGINT) // it may have ended by itself
			<-ended
		}
		return ran{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
	}
	b.t.Cleanup(func() {
		if r := stop(); b.t.Failed() {
			b.t.Logf("%s: %s", name, r.everything())
		}
	})
	return stop
}

// TestReceiversOfPostgreSQLWork runs pg_recvlogical with test_decoding and pg_receivewal while rows are inserted, and ends the
// server under them.
func TestReceiversOfPostgreSQLWork(t *testing.T) {
	t.Parallel()
	pg, b := streamLab(t)
	tools := newToolbox(t, pg, "pg_recvlogical", "pg_receivewal", "pg_basebackup")
	dir := t.TempDir()
	out := filepath.Join(dir, "changes")
	tools.run("pg_recvlogical", "-d", b.DSN("postgres", "postgres"), "--slot", "logical", "--create-slot", "-P", "test_decoding")
	stop := tools.start("pg_recvlogical", "-d", b.DSN("postgres", "postgres"), "--slot", "logical", "--start", "-f", out, "-F", "1", "-s", "1")
	awaitRow := func(text string) {
		t.Helper()
		pgtest.Eventually(t, patience, func() error {
			got, err := os.ReadFile(out)
			if err == nil && !strings.Contains(string(got), text) {
				err = fmt.Errorf("%q has not come", text)
			}
			return err
		})
	}
	awaitSlot(t, pg, "logical", true)
	for i := range 200 {
		pg.MustExec(t, "postgres", fmt.Sprintf("INSERT INTO r VALUES (%d, 'row %[1]d.')", i))
	}
	awaitRow("row 199.")
	// It connects again by itself, five seconds after it has lost its server.
	pg.MustExec(t, "postgres", "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active", "INSERT INTO r VALUES (1000, 'row 1000.')")
	awaitRow("row 1000.")
	if r := stop(); r.code != 0 {
		t.Errorf("pg_recvlogical after ^C: %s", r.everything())
	}
	awaitSlot(t, pg, "logical", false)
	changes := string(read(t, out))
	for i := range 200 {
		if !strings.Contains(changes, fmt.Sprintf("'row %d.'", i)) {
			t.Errorf("row %d is missing", i)
		}
	}
	tools.run("pg_recvlogical", "-d", b.DSN("postgres", "postgres"), "--slot", "logical", "--drop-slot")

	wal := filepath.Join(dir, "wal")
	if err := os.Mkdir(wal, 0o700); err != nil {
		t.Fatal(err)
	}
	tools.run("pg_receivewal", "-d", b.DSN("postgres", "postgres"), "--slot", "physical", "--create-slot")
	stop = tools.start("pg_receivewal", "-d", b.DSN("postgres", "postgres"), "--slot", "physical", "-D", wal, "-s", "1")
	awaitSlot(t, pg, "physical", true)
	first := pg.MustValue(t, "postgres", "SELECT pg_walfile_name(pg_current_wal_lsn())")
	pg.MustExec(t, "postgres", "INSERT INTO r SELECT g, repeat('w', 1000) FROM generate_series(2000, 3000) g", "SELECT pg_switch_wal()", "INSERT INTO r VALUES (5000, '')")
	pgtest.Eventually(t, patience, func() error {
		_, err := os.Stat(filepath.Join(wal, first))
		return err
	})
	if r := stop(); r.code != 0 {
		t.Errorf("pg_receivewal after ^C: %s", r.everything())
	}
	awaitSlot(t, pg, "physical", false)
	dump, err := tools.in.Program("pg_waldump")
	if err == nil { // what came is WAL
		r, err := execute(exec.CommandContext(testContext(t), dump, "-q", filepath.Join(wal, first)))
		if err != nil || r.code != 0 {
			t.Errorf("pg_waldump: %v: %s", err, r.everything())
		}
	}
	tools.run("pg_receivewal", "-d", b.DSN("postgres", "postgres"), "--slot", "physical", "--drop-slot")

	// A base backup with its WAL takes two connections at a time.
	tools.run("pg_basebackup", "-d", b.DSN("postgres", "postgres"), "-D", filepath.Join(dir, "base"), "-X", "stream", "-c", "fast")
	if _, err := os.Stat(filepath.Join(dir, "base", "backup_manifest")); err != nil {
		t.Error(err)
	}
	noStreams(t, pg, b)
}
