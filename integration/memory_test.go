package integration

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"pgdrover/internal/pgtest"
)

// mostResident bounds the memory of a pgdrover process with a handful of clients, whatever they send, in kB.
const mostResident = 64 << 10

// residentPeak returns the largest resident set that a process has had, in kB.
func residentPeak(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(text)
	if m == nil {
		t.Fatalf("no VmHWM in\n%s", text)
	}
	return atoi(t, string(m[1]))
}

// TestAPipelineStaysWithinAMemoryLimit lets a client send 100,000 statements with large results before it reads anything, to a
// pgdrover process that the kernel gives no more than a bounded amount of data. The answers wait in PostgreSQL.
func TestAPipelineStaysWithinAMemoryLimit(t *testing.T) {
	t.Parallel()
	ca := pgtest.StartCA(t, "ca")
	pair, err := ca.IssueServer()
	if err != nil {
		t.Fatal(err)
	}
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	p := startProcess(t, pg, fmt.Sprintf("default_pool_size = 2\nclient_tls_sslmode = \"allow\"\nclient_tls_cert_file = %q\nclient_tls_key_file = %q\n", pair.CertFile, pair.KeyFile))
	// Go reserves much address space and uses little, so the limit is on what is writable and private, with room for the
	// runtime's own reservations.
	if err := unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_DATA, &unix.Rlimit{Cur: 512 << 20, Max: 512 << 20}, nil); err != nil {
		t.Fatalf("limiting the process: %v", err)
	}
	statements := 100_000
	if testing.Short() {
		statements = 10_000
	}
	for _, test := range []struct {
		name string
		tls  bool
		one  []string
	}{
		{"simple", false, []string{"Q SELECT %d, repeat('r', 2000)"}},
		{"extended", false, []string{"P - SELECT %d, repeat('r', 2000)", "B - -", "E -", "S"}},
		{"simple over TLS", true, []string{"Q SELECT %d, repeat('r', 2000)"}},
		{"extended over TLS", true, []string{"P - SELECT %d, repeat('r', 2000)", "B - -", "E -", "S"}},
		{"prepared over TLS", true, []string{"B - s %d", "E -", "S"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			nc, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p.Port)))
			if err != nil {
				t.Fatal(err)
			}
			c := newRawClient(t, nc)
			if test.tls {
				c.write([]byte{0, 0, 0, 8, 4, 210, 22, 47}) // SSLRequest
				if b, err := c.br.ReadByte(); err != nil || b != 'S' {
					t.Fatalf("answer to SSLRequest: %q, %v", b, err)
				}
				c = newRawClient(t, tls.Client(nc, &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost"}))
			}
			if got := c.login(3<<16, "db", "postgres"); !strings.HasSuffix(got, "Z(I)") {
				t.Fatal(got)
			}
			c.say("P s SELECT $1::int, repeat('r', 2000)", "S")
			neighbour := startRaw(t, p.Port, "db", "postgres")
			var b []byte
			for i := range statements {
				b = append(b, numbered(t, test.one, i)...)
				if len(b) > 20_000 || i == statements-1 {
					if err := c.tryWrite(b); err != nil {
						t.Fatalf("statement %d cannot be sent: %v", i, err)
					}
					b = b[:0]
				}
				if i%10_000 == 0 { // others are served meanwhile
					if got := neighbour.say("Q SELECT 1"); got != "T(?column?:23) D(1) C(SELECT 1) Z(I)" {
						t.Fatalf("beside it: %s", got)
					}
				}
			}
			if n := residentPeak(t, p.cmd.Process.Pid); n > mostResident {
				t.Errorf("everything sent, %d kB were resident, want at most %d", n, mostResident)
			}
			for i := range statements {
				for typ := byte(0); typ != 'Z'; {
					var body []byte
					if typ, body, err = c.next(); err != nil {
						t.Fatalf("answer %d: %v", i, err)
					}
					if typ == 'D' && !strings.HasPrefix(describe(typ, body), fmt.Sprintf("D(%d|", i)) || typ == 'E' {
						t.Fatalf("answer %d: %s", i, describe(typ, body))
					}
				}
			}
			n := residentPeak(t, p.cmd.Process.Pid)
			t.Logf("at most %d kB were resident", n)
			if n > mostResident {
				t.Errorf("want at most %d kB", mostResident)
			}
		})
	}
	if !p.running() {
		t.Error("the process has ended")
	}
}
