package integration

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pgdrover/internal/pgtest"
)

// TestMessagesOfEverySizePassBothWays sends parameters of many sizes around the sizes of buffers, with both protocols.
func TestMessagesOfEverySizePassBothWays(t *testing.T) {
	t.Parallel()
	l := newLab(t, "")
	for _, v := range []string{"tx", "session", "robin"} {
		t.Run(v, func(t *testing.T) {
			t.Parallel()
			c := l.dial(t, v)
			sizes := []int{0, 1, 2, 100_000}
			for around := 8 << 10; around <= 64<<10; around <<= 1 {
				for d := -70; d <= 10; d += 3 {
					sizes = append(sizes, around+d)
				}
			}
			for _, n := range sizes {
				text := "=" + strings.Repeat("x", n)
				want := fmt.Sprintf("1 2 D(%s) C(SELECT 1) Z(I)", short([]byte(text)))
				if got := c.say("P - SELECT $1::text", "B - - "+text, "E -", "S"); got != want {
					t.Fatalf("parameter of %d bytes:\n got %s\nwant %s", n, got, want)
				}
				want = fmt.Sprintf("T(?column?:25) D(%s) C(SELECT 1) Z(I)", short([]byte(text)))
				if got := c.say("Q SELECT '" + text + "'"); got != want {
					t.Fatalf("query of %d bytes:\n got %s\nwant %s", n, got, want)
				}
			}
		})
	}
}

// TestPacketsMayEndAnywhere cuts one packet in two at every byte.
func TestPacketsMayEndAnywhere(t *testing.T) {
	t.Parallel()
	l := newLab(t, "")
	c := l.dial(t, "robin")
	p := encode(t, "P s SELECT $1::int", "DS s", "B p s 7", "E p", "CS s", "S", "Q SELECT 1/0", "B - s", "S", "Q SELECT 'end'")
	var want string
	for cut := range p {
		c.write(p[:cut])
		runtime.Gosched()
		c.write(p[cut:])
		got := c.until("ZZZZ")
		if cut == 0 {
			want = got
		}
		if got != want {
			t.Fatalf("cut at %d:\n got %s\nwant %s", cut, got, want)
		}
	}
}

// heapBound runs f and fails if the heap in use has grown by more than most bytes meanwhile. Everything in the process
// counts, the other tests too, hence these tests do not run in parallel.
func heapBound(t *testing.T, most uint64, f func()) {
	t.Helper()
	use := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse
	}
	runtime.GC()
	before, peak := use(), uint64(0)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				peak = max(peak, use())
			case <-stop:
				return
			}
		}
	}()
	f()
	close(stop)
	<-done
	if peak > before+most {
		t.Errorf("the heap grew by %d MB, want at most %d", (peak-before)>>20, most>>20)
	}
}

// TestHugeMessagesPassInConstantMemory sends and receives 50 MB in one message, while others work.
func TestHugeMessagesPassInConstantMemory(t *testing.T) {
	l := newLab(t, "")
	const size = 50 << 20
	c, other := l.dial(t, "robin"), l.dial(t, "robin")
	chunk := bytes.Repeat([]byte("x"), 32<<10)
	heapBound(t, 16<<20, func() {
		var b []byte
		b = append(b, encode(t, "P big SELECT length($1::text)")...)
		bind := []byte("\x00big\x00\x00\x00\x00\x01")
		bind = binary.BigEndian.AppendUint32(bind, size)
		b = append(b, 'B')
		b = binary.BigEndian.AppendUint32(b, uint32(4+len(bind)+size+2))
		c.write(append(b, bind...))
		for n := 0; n < size; n += len(chunk) {
			c.write(chunk)
		}
		c.write(append([]byte{0, 0}, encode(t, "E -", "S")...))
		if got, want := c.until("Z"), fmt.Sprintf("1 2 D(%d) C(SELECT 1) Z(I)", size); got != want {
			t.Errorf("parameter:\n got %s\nwant %s", got, want)
		}
		c.write(encode(t, fmt.Sprintf("Q SELECT repeat('y', %d)", size)))
		if got := c.until("T"); got != "T(repeat:25)" {
			t.Fatal(got)
		}
		// Half of it unread, somebody else is served.
		const row = 5 + 2 + 4 + size
		_ = c.nc.SetReadDeadline(time.Now().Add(rawTimeout))
		if _, err := io.CopyN(io.Discard, c.br, size/2); err != nil {
			t.Fatal(err)
		}
		for range 20 {
			if got := other.say("Q SELECT 1"); got != "T(?column?:23) D(1) C(SELECT 1) Z(I)" {
				t.Fatalf("beside a slow reader: %s", got)
			}
		}
		_ = c.nc.SetReadDeadline(time.Now().Add(rawTimeout))
		if n, err := io.CopyN(io.Discard, c.br, row-size/2); err != nil {
			t.Fatalf("after %d bytes: %v", n, err)
		}
		if got := c.until("Z"); got != "C(SELECT 1) Z(I)" {
			t.Errorf("the end of it: %s", got)
		}
	})
}

// TestPipelineOfAClientThatReadsOnlyAtTheEnd sends statements with large results, and reads nothing until all are sent, or the sockets hold no more:
// their buffers hold the statements, as they would before PostgreSQL, and memory does not grow with the answers.
func TestPipelineOfAClientThatReadsOnlyAtTheEnd(t *testing.T) {
	ca := pgtest.StartCA(t, "ca")
	pair, err := ca.IssueServer()
	if err != nil {
		t.Fatal(err)
	}
	l := newLab(t, fmt.Sprintf("client_tls_sslmode = \"allow\"\nclient_tls_cert_file = %q\nclient_tls_key_file = %q\n", pair.CertFile, pair.KeyFile))
	statements := 100_000
	if testing.Short() || pgtest.RaceDetector {
		statements = 20_000
	}
	for _, test := range []struct {
		name, variant string
		tls           bool
		one           []string
		perWrite      int
	}{
		{"large results, simple", "tx", false, []string{"Q SELECT %d, repeat('r', 500)"}, 7},
		{"large results, extended with Syncs", "tx", false, []string{"P - SELECT %d, repeat('r', 500)", "B - -", "E -", "S"}, 7},
		{"small results, session", "session", false, []string{"Q SELECT %d"}, 100},
		{"large results over TLS in small records", "tx", true, []string{"Q SELECT %d, repeat('r', 3000)"}, 1},
		{"large results over TLS in large records", "robin", true, []string{"P - SELECT %d, repeat('r', 500)", "B - -", "E -", "S"}, 500},
	} {
		t.Run(test.name, func(t *testing.T) {
			var c *rawClient
			if test.tls {
				c = startRawTLS(t, l.b.Port, ca, test.variant, "postgres")
			} else {
				c = l.dial(t, test.variant)
			}
			n := statements
			if test.perWrite == 1 {
				n /= 5
			}
			var writes [][]byte
			var b []byte
			for i := range n {
				b = append(b, numbered(t, test.one, i)...)
				if i%test.perWrite == 0 || i == n-1 {
					writes, b = append(writes, b), nil
				}
			}
			heapBound(t, 48<<20, func() {
				sent := make(chan error, 1)
				var done atomic.Int64
				go func() {
					for i, b := range writes {
						if err := c.tryWrite(b); err != nil {
							sent <- fmt.Errorf("write %d of %d: %w", i, len(writes), err)
							return
						}
						done.Add(1)
					}
					sent <- nil
				}()
				awaitEndOrStall(sent, &done)
				for i := range n {
					for {
						typ, body, err := c.next()
						if err != nil {
							t.Fatalf("answer %d: %v", i, err)
						}
						if typ == 'D' && !strings.HasPrefix(describe(typ, body), fmt.Sprintf("D(%d", i)) || typ == 'E' {
							t.Fatalf("answer %d: %s", i, describe(typ, body))
						}
						if typ == 'Z' {
							break
						}
					}
				}
				if err := <-sent; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// numbered encodes messages that may have a number in them.
func numbered(tb testing.TB, messages []string, n int) []byte {
	tb.Helper()
	var b []byte
	for _, m := range messages {
		if strings.Contains(m, "%d") {
			m = fmt.Sprintf(m, n)
		}
		b = append(b, encode(tb, m)...)
	}
	return b
}

// awaitEndOrStall waits until all is sent, or until nothing has been for a second: how much the sockets' buffers hold is the kernel's decision. What was
// received from sent is there again afterwards.
func awaitEndOrStall(sent chan error, done *atomic.Int64) {
	for before := int64(-1); done.Load() > before; {
		before = done.Load()
		select {
		case err := <-sent:
			sent <- err
			return
		case <-time.After(time.Second):
		}
	}
}

// TestAnswersThatFillTheSocketsBeforeSync has a server say more than the sockets hold before the client asks for it: its Sync must not
// wait for a server that waits to be read. Over a Unix socket nothing but a read lets such a server go on.
func TestAnswersThatFillTheSocketsBeforeSync(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, pgtest.WithAuth("trust"))
	unix := fmt.Sprintf("[databases.unix]\nhost = %q\nport = %d\ndbname = \"postgres\"\n", pg.SocketDir, pg.Port)
	b := newPool(t, pg, "", "", unix)
	for _, db := range []string{"db", "unix"} {
		c := startRaw(t, b.Port, db, "postgres")
		const rows = 60_000
		c.write(encode(t, "P big SELECT repeat('x', 1000) FROM generate_series(1, "+strconv.Itoa(rows)+")", "B - big", "E -"))
		pad := encode(t, "P - SELECT 1 /* "+strings.Repeat("p", 500)+" */")
		c.write(bytes.Repeat(pad, 100)) // more than a buffer of the pooler's, which sends it on
		awaitCount(t, pg, 1, "pg_stat_activity WHERE wait_event = 'ClientWrite'")
		c.write(encode(t, "S"))
		got := 0
		for {
			typ, body, err := c.next()
			if err != nil {
				t.Fatalf("%s: after %d rows: %v", db, got, err)
			}
			if typ == 'D' {
				got++
			}
			if typ == 'E' || typ == 'Z' {
				if typ == 'E' || got != rows {
					t.Errorf("%s: %d rows, then %s", db, got, describe(typ, body))
				}
				break
			}
		}
		_ = c.nc.Close()
	}
}

// TestTheLastWordReachesAClientThatSendsFirst has a client send all of a message that is refused before it reads: to close a connection with
// bytes unread resets it, and the client lost the error.
func TestTheLastWordReachesAClientThatSendsFirst(t *testing.T) {
	t.Parallel()
	ca := pgtest.StartCA(t, "ca")
	pair := mustKeyPair(t)(ca.IssueServer("localhost"))
	l := newLab(t, fmt.Sprintf("client_tls_sslmode = \"allow\"\nclient_tls_cert_file = %q\nclient_tls_key_file = %q\n", pair.CertFile, pair.KeyFile))
	long := encode(t, "P s SELECT '"+strings.Repeat("x", 9<<20)+"'", "S")
	for _, m := range []struct {
		name string
		dial func() *rawClient
	}{
		{"plain", func() *rawClient { return l.dial(t, "tx") }},
		{"over TLS", func() *rawClient { return startRawTLS(t, l.b.Port, ca, "tx", "postgres") }},
	} {
		c := m.dial()
		if err := c.tryWrite(long); err != nil {
			t.Errorf("%s: sending: %v", m.name, err)
		}
		if got := c.eof(); !strings.Contains(got, "C54000; Mprepared statement is too long") {
			t.Errorf("%s: %s", m.name, got)
		}
	}
}
