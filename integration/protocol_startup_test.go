package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pgdrover/internal/pgtest"
)

// TestProtocolVersionsAreNegotiated covers 3.0, 3.2 with its long keys, versions that do not exist yet, and options of the
// protocol that nobody knows.
func TestProtocolVersionsAreNegotiated(t *testing.T) {
	t.Parallel()
	l := newLab(t, "")
	for _, test := range []struct {
		name    string
		version uint32
		extra   []string
		key     int // bytes of the secret, without the process ID
		answer  string
	}{
		{"3.0", 3 << 16, nil, 4, ""},
		{"3.2", 3<<16 | 2, nil, 32, ""},
		{"3.9999 with grease", 3<<16 | 9999, []string{"_pq_.test_protocol_negotiation", ""}, 32, "v(3.2 _pq_.test_protocol_negotiation)"},
		{"3.0 with an unknown option", 3 << 16, []string{"_pq_.x", "1", "_pq_.y", "2"}, 4, "v(3.0 _pq_.x,_pq_.y)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := dialRaw(t, l.b.Port)
			if got := c.login(test.version, "tx", "postgres", test.extra...); got != "R Z(I)" && got != "R(0) Z(I)" {
				t.Fatalf("login: %s", got)
			}
			if c.version != test.answer {
				t.Errorf("negotiation:\n got %s\nwant %s", c.version, test.answer)
			}
			if len(c.key) != 4+test.key {
				t.Errorf("the key has %d bytes, want %d", len(c.key)-4, test.key)
			}
			if got := c.say("Q SELECT 1"); !strings.Contains(got, "D(1)") {
				t.Error(got)
			}
			// The key works.
			c.write(encode(t, "Q SELECT pg_sleep(30)"))
			pgtest.Eventually(t, 10*time.Second, func() error {
				k := dialRaw(t, l.b.Port)
				k.write(append([]byte{0, 0, 0, byte(8 + len(c.key)), 4, 210, 22, 46}, c.key...))
				_ = k.eof()
				_ = c.nc.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
				_, err := c.br.Peek(1)
				return err
			})
			if got := c.until("Z"); !strings.Contains(got, "C57014") {
				t.Errorf("canceled query: %s", got)
			}
		})
	}
}

// TestRequestsBeforeStartupAreAnswered covers SSLRequest and GSSENCRequest without TLS.
func TestRequestsBeforeStartupAreAnswered(t *testing.T) {
	t.Parallel()
	l := newLab(t, "")
	c := dialRaw(t, l.b.Port)
	for _, code := range []byte{47, 48} {
		c.write([]byte{0, 0, 0, 8, 4, 210, 22, code})
		if b, err := c.br.ReadByte(); err != nil || b != 'N' {
			t.Fatalf("answer to request %d: %q, %v; want N", code, b, err)
		}
	}
	if got := c.login(3<<16, "tx", "postgres"); !strings.HasSuffix(got, "Z(I)") {
		t.Fatal(got)
	}
}

// TestStartupErrorsNameTheirReason covers startup packets that cannot be accepted.
func TestStartupErrorsNameTheirReason(t *testing.T) {
	t.Parallel()
	l := newLab(t, "")
	user := []string{"user", "postgres", "database", "tx"}
	for _, test := range []struct {
		name   string
		packet []byte
		want   string
	}{
		{"version 2", startupMessage(2<<16, user...), "old V2 protocol not supported"},
		{"version 4", startupMessage(4<<16, user...), "unsupported frontend protocol 4.0"},
		{"no user", startupMessage(3 << 16), "no username supplied"},
		{"no such database", startupMessage(3<<16, "user", "postgres", "database", "nowhere"), "no such database: nowhere"},
		{"too short", []byte{0, 0, 0, 4}, "bad packet header"},
		{"too long", []byte{0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 0}, "bad packet header"},
		{"HTTP", []byte("GET / HTTP/1.1\r\n\r\n"), "bad packet header"},
		{"not terminated", []byte{0, 0, 0, 14, 0, 3, 0, 0, 'u', 's', 'e', 'r', 0, 'x'}, "expected terminator"},
		{"options that are no settings", startupMessage(3<<16, append([]string{"options", "-e"}, user...)...), "unsupported options startup parameter"},
		{"replication that is none", startupMessage(3<<16, append([]string{"replication", "maybe"}, user...)...), `invalid value for parameter "replication"`},
	} {
		c := dialRaw(t, l.b.Port)
		c.write(test.packet)
		got := c.eof()
		if !strings.Contains(got, test.want) || !strings.Contains(got, "SFATAL") || !strings.HasSuffix(got, "EOF") {
			t.Errorf("%s:\n got %s\nwant FATAL … %s … EOF", test.name, got, test.want)
		}
	}
}

// TestViolationsCloseOnlyTheirClient sends what no client may send: it gets an error and is closed, what it sent before is
// answered, and neither other clients nor servers suffer.
func TestViolationsCloseOnlyTheirClient(t *testing.T) {
	t.Parallel()
	l := newLab(t, "")
	other := l.dial(t, "tx")
	other.say("Q SELECT 1")
	servers := func() int {
		n := 0
		for _, r := range l.b.Admin("SHOW SERVERS") {
			if r["database"] == "tx" {
				n++
			}
		}
		return n
	}
	for _, test := range []struct{ name, packet, want string }{
		{"unknown type", "raw 79 00000004", "08P01"},
		{"backend message", "raw 5a 00000005 49", "08P01"},
		{"length below four", "raw 51 00000003 00", "08P01"},
		{"negative length", "raw 51 ffffffff 00", "08P01"},
		{"garbage", "raw 474554202f20485454502f312e310d0a", "08P01"},
		{"Parse without end of name", "raw 50 00000006 6161 53 00000004", "08P01"},
		{"huge Sync", "raw 53 00100000 00", "08P01"},
		{"Sync with a body", "raw 53 00000006 7878 51 0000000d 53454c454354203100", "08P01"},
		// PostgreSQL's error stood for an answer to the query, which it skipped: client and server waited for each other for good.
		{"Flush with a body", "raw 48 00000006 7878 51 0000000d 53454c454354203100", "08P01"},
		{"Flush with a body in a pipeline", "raw 50 00000010 0053454c454354203100 0000 48 00000006 7878", "08P01"},
	} {
		c := l.dial(t, "tx")
		c.write(encode(t, "Q SELECT 'before'", test.packet))
		got := c.eof()
		want := "D(before) C(SELECT 1) Z(I) E(SFATAL; C" + test.want
		if strings.HasPrefix(test.name, "Parse") { // found when the packet is taken apart, before anything of it is sent
			want = "E(SFATAL; C" + test.want
		}
		if !strings.Contains(got, want) || !strings.HasSuffix(got, "EOF") {
			t.Errorf("%s: %s", test.name, got)
		}
		if got := other.say("Q SELECT 2"); !strings.Contains(got, "D(2)") {
			t.Errorf("another client after %s: %s", test.name, got)
		}
	}
	pgtest.Eventually(t, 5*time.Second, func() error {
		if n := servers(); n != 1 {
			return fmt.Errorf("%d servers, want 1", n)
		}
		return nil
	})
}

// TestStartupParametersAreSet covers what a StartupMessage may set, also by options, against PostgreSQL.
func TestStartupParametersAreSet(t *testing.T) {
	t.Parallel()
	l := newLab(t, "ignore_startup_parameters = \"ignored\"\n")
	extra := []string{
		"application_name", `it's "a" \ name`, "DateStyle", "German", "client_encoding", "LATIN1", "extra_float_digits", "0",
		"options", `-c search_path=a,\ b -c geqo=off --statement-timeout=7min`,
	}
	ask := "Q SELECT name || '=' || setting FROM pg_settings WHERE name IN ('application_name', 'DateStyle', 'client_encoding', " +
		"'extra_float_digits', 'search_path', 'geqo', 'statement_timeout') ORDER BY 1"
	want := startRaw(t, l.pg.Port, "plain", "postgres", extra...).say(ask)
	for _, v := range []string{"session", "tx", "robin"} {
		c := startRaw(t, l.b.Port, v, "postgres", append([]string{"ignored", "x"}, extra...)...)
		neighbour := l.dial(t, v)
		for range 3 {
			// The pooler learns how the server spells a value when it sets it.
			got := strings.TrimPrefix(c.say(ask), "S(DateStyle=German, DMY) ")
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-PostgreSQL +pgdrover):\n%s", v, diff)
			}
			if got := neighbour.say("Q SHOW geqo"); !strings.Contains(got, "D(on)") {
				t.Errorf("%s: a neighbour has %s", v, got)
			}
		}
	}
}
