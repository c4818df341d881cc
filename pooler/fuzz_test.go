package pooler

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"pgdrover/internal/config"
)

// cutter cuts streams at places that depend on seed.
func cutter(seed uint32) func(int) int {
	if seed == 0 {
		return nil
	}
	return func(n int) int {
		seed = seed*1664525 + 1013904223
		return 1 + int(seed>>8)%n
	}
}

// frames splits a stream into complete messages and what is behind them.
func frames(b []byte) (all [][]byte, rest []byte) {
	for len(b) >= headerLen {
		n := int(binary.BigEndian.Uint32(b[1:])) + 1
		if n < headerLen || n > len(b) {
			break
		}
		all, b = append(all, b[:n]), b[n:]
	}
	return all, b
}

// stretch makes the first message of a stream longer by n bytes. Inputs that are long themselves are no good for fuzzing: for
// minutes nothing is tried but ways to shorten them.
func stretch(stream []byte, n uint16) []byte {
	if n == 0 || len(stream) < headerLen {
		return stream
	}
	size := int(binary.BigEndian.Uint32(stream[1:])) + 1
	if size < headerLen || size > len(stream) {
		return stream
	}
	out := append([]byte(nil), stream[:size]...)
	out = append(append(out, bytes.Repeat([]byte{'x'}, int(n))...), stream[size:]...)
	binary.BigEndian.PutUint32(out[1:], uint32(size-1+int(n)))
	return out
}

// maxInput is how long inputs may be before they are stretched.
const maxInput = 1 << 10

// Whatever a client sends, the session neither panics nor hangs, servers get well-formed messages, and without followed
// statements those are the client's own, in order.
func FuzzClientStream(f *testing.F) {
	for _, s := range [][]byte{
		msg('Q', "select 1\x00"),
		bytes.Join([][]byte{msg('P', "s\x00select 1\x00\x00\x00"), msg('B', "\x00s\x00\x00\x00\x00\x00\x00\x00"), msg('E', "\x00\x00\x00\x00\x00"), msg('S')}, nil),
		bytes.Join([][]byte{msg('P', "s\x00fail\x00\x00\x00"), msg('P', "s\x00x\x00\x00\x00"), msg('D', "Ss\x00"), msg('C', "Ss\x00"), msg('H'), msg('S'), msg('X')}, nil),
		bytes.Join([][]byte{msg('Q', "copy in\x00"), msg('d', "1\n"), msg('c'), msg('Q', "select 2\x00")}, nil),
		bytes.Join([][]byte{msg('Q', "copy in\x00"), msg('d', "1\n"), msg('f', "no\x00"), msg('d', "late"), msg('S')}, nil),
		msg('B', "\x00s\x00"), msg('P', "s"), msg('D', "S"), msg('C', ""),
		append(msg('d', "z"), msg('S')...),
		{'Q', 0xff, 0xff, 0xff, 0xff},
		{'Q', 0, 0, 0, 3},
		msg('Z'),
		{0},
		append(msg('Q', "begin\x00"), msg('S')...), msg('F', "\x00\x00\x00\x01"),
	} {
		f.Add(s, uint16(0), uint32(0))
		f.Add(s, uint16(20000), uint32(7))
	}
	r := newRig(f, "max_packet_size = 100000\nserver_reset_query = \"\"")
	f.Fuzz(func(t *testing.T, stream []byte, more uint16, seed uint32) {
		if len(stream) > maxInput {
			t.Skip("too long to be of interest")
		}
		stream = stretch(stream, more)
		for _, mode := range []config.PoolMode{config.PoolSession, config.PoolTransaction} {
			fp := r.pool(mode)
			s := fp.server(cutter(seed))
			fp.server(nil)
			fp.server(nil)
			c := fp.client(4, cutter(seed))
			within(t, func() {
				_ = c.drive(stream)
				c.leave()
			})
			if n := cap(c.in.b); n > bufSize {
				t.Errorf("%d bytes of buffer are kept", n)
			}
			if b := s.backend; b.broken != "" && mode == config.PoolTransaction {
				// What the client breaks inside a message is for PostgreSQL to refuse.
				t.Logf("the server got %s", b.broken)
			}
			if mode == config.PoolSession {
				got, rest := frames(s.mem.got())
				sent, tail := frames(stream)
				for _, m := range got {
					if m[0] == 'X' {
						break
					}
					i := 0
					for ; i < len(sent) && !bytes.Equal(sent[i], m); i++ {
						if !strings.ContainsRune("SHXdcf", rune(sent[i][0])) {
							t.Fatalf("message %q was left out", sent[i])
						}
					}
					if i == len(sent) {
						t.Fatalf("the server got %q, which the client did not send", m)
					}
					sent = sent[i+1:]
				}
				rest = bytes.TrimSuffix(rest, msg('X'))
				if len(rest) > 0 && !bytes.HasPrefix(tail, rest) {
					t.Fatalf("the server got %q at the end, which the client did not send", rest)
				}
			}
			r.p.dropPool(fp.pl, "test is over")
		}
		if n, _ := r.p.stmts.size(); n > 200 {
			t.Errorf("%d statement texts are left", n)
		}
	})
}

// Whatever a server sends, consume gives the client whole bytes of it or says that the server is out of step; and how the
// stream is cut makes no difference.
func FuzzServerStream(f *testing.F) {
	all := bytes.Join([][]byte{
		msg('1'), msg('2'), msg('T', "\x00\x00"), msg('D', "\x00\x00"), msg('C', "SELECT 1\x00"), msg('Z', "I"), msg('3'), msg('Z', "T"), msg('E', "SERROR\x00C22012\x00\x00"),
		msg('Z', "E"), msg('S', "a\x00b\x00"), msg('N', "\x00"), msg('A', "\x00\x00\x00\x01c\x00\x00"), msg('I'), msg('Z', "I"),
	}, nil)
	for _, s := range [][]byte{
		all, msg('Z', "I"), msg('Z'), msg('1'), msg('G', "\x00\x00\x00"), msg('W', "\x00\x00\x00"),
		{'D', 0xff, 0xff, 0xff, 0xff, 1},
		{'C', 0, 0, 0, 0},
		msg('D', "x"), msg('N', "x"), msg('E', "x"), msg('S', "x"),
		msg('C', "SET\x00"), msg('C', "RESE"), msg('C', "DISCARD ALL\x00"), msg('C', "DEALLOCATE ALL\x00"), msg('E', "VFATAL\x00C57P01"), msg('E'),
		{'q', 0, 0, 0, 4},
		[]byte("Z00000"), // of 800 MB, with its one byte there
	} {
		f.Add(s, uint16(0), uint32(0), []byte{1, 2, 6, 4, 2, 12, 3})
		f.Add(s, uint16(40000), uint32(3), []byte{3, 4, 5, 6, 2, 7, 2, 10, 2, 9, 11})
	}
	r := newRig(f, "")
	fp := r.pool(config.PoolTransaction)
	f.Fuzz(func(t *testing.T, stream []byte, more uint16, seed uint32, expected []byte) {
		if len(expected) > 1000 || len(stream) > maxInput {
			t.Skip("too long to be of interest")
		}
		stream = stretch(stream, more)
		run := func(seed uint32) (out []byte, err error) {
			s := fp.server(cutter(seed))
			fp.pl.takeIdle(func(x *server) bool { return x == s.server })
			defer func() { s.close("test is over") }()
			c := fp.client(4, nil)
			defer c.leave()
			c.linkTo(s.server, now())
			defer c.unlink()
			for _, k := range expected {
				switch k := replyKind(k%12 + 1); {
				case k == replyParseNamed:
					st := r.p.stmts.intern([]byte("x\x00\x00\x00"), 0)
					c.setStmt("n", st)
					c.replies.pushData(k, replyData{name: "n", after: st})
				case k >= replyParseOwn:
					if k == replySayParsed {
						c.replies.pushData(k, replyData{})
					} else {
						c.replies.pushData(replyCloseOwn, replyData{})
					}
				default:
					c.replies.push(k)
				}
			}
			s.mem.feed(stream)
			for s.mem.unread() > 0 {
				room := c.sin.room()
				if len(room) == 0 {
					t.Fatal("the buffer is full and nothing is dealt with")
				}
				n, _, err := s.mem.read(room)
				if err != nil {
					t.Fatal(err)
				}
				c.sin.w += n
				part, err := c.consume()
				out = append(out, part...)
				if err != nil {
					if !errors.Is(err, errOutOfStep) {
						t.Fatalf("unexpected kind of error: %v", err)
					}
					return out, err
				}
			}
			if len(c.sin.b) > bufSize || cap(c.out) > 4*bufSize {
				t.Fatalf("memory grew to %d and %d bytes", len(c.sin.b), cap(c.out))
			}
			return out, nil
		}
		whole, err := run(0)
		cut, err2 := run(seed)
		if (err == nil) != (err2 == nil) {
			t.Fatalf("whole: %v; cut: %v", err, err2)
		}
		if err == nil && !bytes.HasPrefix(whole, cut) && !bytes.HasPrefix(cut, whole) {
			t.Fatalf("whole: %q\n  cut: %q", whole, cut)
		}
	})
}

func FuzzParseStartup(f *testing.F) {
	for _, s := range []string{
		"user\x00a\x00\x00", "user\x00a\x00database\x00b\x00options\x00-c a=b --c-d=e\\ f\x00\x00", "user\x00a\x00_pq_.x\x001\x00\x00", "\x00", "",
		"user\x00a", "user\x00a\x00replication\x00database\x00\x00", "user\x00a\x00replication\x00x\x00\x00", "user\x00a\x00options\x00-c\x00\x00", "\x00\x00\x00", "user\x00a\x00\x00x",
	} {
		f.Add(uint32(3<<16), []byte(s))
		f.Add(uint32(3<<16|9999), []byte(s))
	}
	f.Add(uint32(2<<16), []byte("\x00"))
	f.Fuzz(func(t *testing.T, version uint32, body []byte) {
		st, err := parseStartup(version, string(body))
		var fe fatalError
		if err != nil {
			if !errors.As(err, &fe) || fe.e.Severity != "FATAL" || len(fe.e.Code) != 5 {
				t.Fatalf("not an error for a client: %v", err)
			}
			return
		}
		if st.user == "" || st.database == "" || len(st.user) > 127 || st.minor < 0 || st.minor > maxMinor || st.minor == 1 {
			t.Fatalf("%+v", st)
		}
		for _, p := range st.params {
			if p.name == "" || strings.ContainsRune(p.name+p.value, 0) {
				t.Fatalf("parameter %q", p)
			}
		}
		if m, rest := frames(st.negotiateMessage()); len(m) != 1 || len(rest) != 0 {
			t.Fatal("NegotiateProtocolVersion is broken")
		}
	})
}

func FuzzReadStartup(f *testing.F) {
	packet := func(code uint32, body string) []byte {
		b := binary.BigEndian.AppendUint32(nil, uint32(8+len(body)))
		return append(binary.BigEndian.AppendUint32(b, code), body...)
	}
	for _, s := range [][]byte{
		packet(3<<16, "user\x00a\x00\x00"), packet(codeSSL, ""), append(packet(codeSSL, ""), packet(3<<16, "user\x00a\x00\x00")...),
		append(packet(codeGSSENC, ""), packet(codeGSSENC, "")...), packet(codeCancel, "12345678"), packet(codeCancel, "1"), packet(codeSSL, "x"),
		{0, 0, 0, 0},
		{0xff, 0xff, 0xff, 0xff},
		{tlsHandshake, 3, 1, 0, 5, 1, 0, 0, 1, 0},
		{0, 0},
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		mem := newMemConn()
		mem.feed(stream)
		mem.hangUp()
		_, st, err := readStartup(memNet{mem}, sideTLS{})
		if (st == nil) == (err == nil) {
			t.Fatalf("%v, %v", st, err)
		}
		if st != nil && st.cancel != nil && (len(st.cancel) < keyLen || len(st.cancel) > 4+256) {
			t.Fatalf("a cancel key of %d bytes", len(st.cancel))
		}
		if out := mem.got(); strings.Trim(string(out), "N") != "" || len(out) > 2 {
			t.Fatalf("answered %q", out)
		}
	})
}

func FuzzOptions(f *testing.F) {
	for _, s := range []string{"", "-c a=b", "-ca=b", "--a-b=c", "-c", "-d 1", "--x", `-c a=b\ c\\`, `\`, "-c =x", "  -c\ta=b\n--c=d  "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var st startup
		err := st.options(s)
		for _, p := range st.params {
			if p.name == "" {
				t.Fatal("a parameter without a name")
			}
		}
		var fe fatalError
		if err != nil && !errors.As(err, &fe) {
			t.Fatalf("not an error for a client: %v", err)
		}
	})
}

// The parts of messages that are read for their contents.
func FuzzMessageContents(f *testing.F) {
	for _, s := range []string{"", "\x00", "a\x00b\x00", "\x00\x01\x00\x00\x00\x01x", "SERROR\x00VFATAL\x00C57P01\x00\x00", "V", "VFATAL", "select set_config('a','b',false)", "_config", "set_confi", "  seLECT"} {
		f.Add([]byte(s))
	}
	r := newRig(f, "log_queries = 1")
	fp := r.pool(config.PoolTransaction)
	f.Fuzz(func(t *testing.T, b []byte) {
		if fields, err := dataRow(b); err == nil {
			n := 2
			for _, v := range fields {
				n += 4
				if v != nil {
					n += len(*v)
				}
			}
			if n > len(b) {
				t.Fatalf("%d bytes of fields in %d", n, len(b))
			}
		}
		if name, value, ok := parseParameterStatus(b); ok && len(name)+len(value)+2 > len(b) {
			t.Fatal("longer than the message")
		}
		m := msg('E', string(b))
		_, _ = errorCode(m), fatalSeverity(m)
		c := fp.client(0, nil)
		c.remember(b)
		if w := c.running(); len(w) > maxRemembered {
			t.Fatalf("%d bytes are remembered", len(w))
		}
	})
}

// A client that stops in the middle of its startup packet is closed when its time is over, without a word.
func TestAnUnfinishedStartupPacketEndsQuietly(t *testing.T) {
	t.Parallel()
	a, b := socketPair(t)
	if _, err := a.Write([]byte{0, 0, 0, 20, 0, 3}); err != nil {
		t.Fatal(err)
	}
	if err := a.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if err := b.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	_, _, err := readStartup(b, sideTLS{})
	if !errors.Is(err, errQuiet) {
		t.Errorf("got %v", err)
	}
	_ = b.Close()
	if rest, err := io.ReadAll(a); len(rest) != 0 || err != nil && !errors.Is(err, net.ErrClosed) {
		t.Errorf("the client got %q, %v", rest, err)
	}
}
