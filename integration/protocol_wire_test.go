package integration

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgdrover/internal/pgtest"
)

// rawClient speaks the protocol by hand, so that a test decides about every message and every packet.
type rawClient struct {
	tb      testing.TB
	nc      net.Conn
	br      *bufio.Reader
	split   *rand.Rand // if set, packets go out in pieces
	params  map[string]string
	key     []byte // BackendKeyData: process ID and secret
	version string // of a NegotiateProtocolVersion, if one came
}

// rawTimeout bounds one read or write of a rawClient. Nothing waits for it to pass: it only ends a test that hangs.
const rawTimeout = 30 * time.Second

// dialRaw opens a TCP connection and says nothing yet.
func dialRaw(tb testing.TB, port int) *rawClient {
	tb.Helper()
	nc, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		tb.Fatal(err)
	}
	return newRawClient(tb, nc)
}

func newRawClient(tb testing.TB, nc net.Conn) *rawClient {
	tb.Cleanup(func() { _ = nc.Close() })
	return &rawClient{tb: tb, nc: nc, br: bufio.NewReaderSize(nc, 64<<10), params: map[string]string{}}
}

// startRaw logs in as a user that needs no password. extra are further startup parameters, names and values in turn.
func startRaw(tb testing.TB, port int, db, user string, extra ...string) *rawClient {
	tb.Helper()
	c := dialRaw(tb, port)
	if got := c.login(3<<16, db, user, extra...); !strings.HasSuffix(got, "Z(I)") {
		tb.Fatalf("login to %s: %s", db, got)
	}
	return c
}

// startRawTLS is startRaw over TLS.
func startRawTLS(tb testing.TB, port int, ca *pgtest.CA, db, user string) *rawClient {
	tb.Helper()
	c := dialRaw(tb, port)
	c.write([]byte{0, 0, 0, 8, 4, 210, 22, 47})
	if b, err := c.br.ReadByte(); err != nil || b != 'S' {
		tb.Fatalf("answer to SSLRequest: %q, %v", b, err)
	}
	c = newRawClient(tb, tls.Client(c.nc, &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost"}))
	if got := c.login(3<<16, db, user); !strings.HasSuffix(got, "Z(I)") {
		tb.Fatal(got)
	}
	return c
}

// startupMessage builds a StartupMessage.
func startupMessage(version uint32, pairs ...string) []byte {
	b := binary.BigEndian.AppendUint32([]byte{0, 0, 0, 0}, version)
	for _, s := range pairs {
		b = append(append(b, s...), 0)
	}
	b = append(b, 0)
	binary.BigEndian.PutUint32(b, uint32(len(b)))
	return b
}

// login sends a StartupMessage and returns what the server says until it is ready or has closed the connection, without
// parameters and key.
func (c *rawClient) login(version uint32, db, user string, extra ...string) string {
	c.tb.Helper()
	c.write(startupMessage(version, append([]string{"user", user, "database", db}, extra...)...))
	var out []string
	for {
		typ, body, err := c.next()
		if err != nil {
			return strings.Join(append(out, "EOF"), " ")
		}
		switch typ {
		case 'S':
			f := strings.Split(string(body), "\x00")
			c.params[f[0]] = f[1]
			continue
		case 'K':
			c.key = bytes.Clone(body)
			continue
		case 'v':
			c.version = describe(typ, body)
			continue
		}
		out = append(out, describe(typ, body))
		if typ == 'Z' {
			return strings.Join(out, " ")
		}
	}
}

// write sends bytes, in pieces if the client was told so.
func (c *rawClient) write(p []byte) {
	c.tb.Helper()
	if err := c.tryWrite(p); err != nil {
		c.tb.Fatalf("writing: %v", err)
	}
}

func (c *rawClient) tryWrite(p []byte) error {
	_ = c.nc.SetWriteDeadline(time.Now().Add(rawTimeout))
	for c.split != nil && len(p) > 1 {
		n := 1 + c.split.IntN(min(len(p), 7))
		if _, err := c.nc.Write(p[:n]); err != nil {
			return err
		}
		p = p[n:]
	}
	_, err := c.nc.Write(p)
	return err
}

// next reads one message.
func (c *rawClient) next() (typ byte, body []byte, err error) {
	_ = c.nc.SetReadDeadline(time.Now().Add(rawTimeout))
	var h [5]byte
	if _, err := io.ReadFull(c.br, h[:]); err != nil {
		return 0, nil, err
	}
	n := int(binary.BigEndian.Uint32(h[1:])) - 4
	if n < 0 {
		return 0, nil, fmt.Errorf("message %q with length %d", h[0], n+4)
	}
	body = make([]byte, n)
	_, err = io.ReadFull(c.br, body)
	return h[0], body, err
}

// until reads up to and with messages of these types, one after the other, and returns everything that came.
func (c *rawClient) until(types string) string {
	var out []string
	for i := 0; i < len(types); {
		typ, body, err := c.next()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return strings.Join(append(out, "TIMEOUT"), " ")
		case err != nil:
			return strings.Join(append(out, "EOF"), " ")
		}
		if typ == 'S' {
			f := strings.Split(string(body), "\x00")
			c.params[f[0]] = f[1]
		}
		out = append(out, describe(typ, body))
		if typ == types[i] {
			i++
		}
	}
	return strings.Join(out, " ")
}

// say sends messages in the notation of message, as one packet, and returns the answer up to ReadyForQuery.
func (c *rawClient) say(messages ...string) string {
	c.tb.Helper()
	c.write(encode(c.tb, messages...))
	return c.until("Z")
}

// eof reports what comes before the server closes the connection.
func (c *rawClient) eof() string { return c.until("\x00") }

// encode builds a packet.
func encode(tb testing.TB, messages ...string) []byte {
	tb.Helper()
	var b []byte
	for _, m := range messages {
		p, err := message(m)
		if err != nil {
			tb.Fatal(err)
		}
		b = append(b, p...)
	}
	return b
}

// frame puts a header before a body.
func frame(typ byte, body string) []byte {
	b := binary.BigEndian.AppendUint32([]byte{typ}, uint32(4+len(body)))
	return append(b, body...)
}

// message reads one frontend message in a short notation; "-" is the empty name:
//
//	Q text                 Query
//	P name [oid,oid] text  Parse; the list of types may be missing
//	B portal name a|b|\N   Bind with parameters and results in text
//	DS name, DP portal     Describe
//	E portal rows          Execute; rows may be missing
//	CS name, CP portal     Close
//	S, H, X, c             Sync, Flush, Terminate, CopyDone
//	d text, f text         CopyData (\n for a line break), CopyFail
//	F oid a|b              FunctionCall
//	raw hex                bytes as they are
func message(m string) ([]byte, error) {
	word, rest, _ := strings.Cut(m, " ")
	cut := func() string {
		w, r, _ := strings.Cut(rest, " ")
		rest = r
		if w == "-" {
			return "\x00"
		}
		return w + "\x00"
	}
	values := func() string {
		var b []byte
		args := strings.Split(rest, "|")
		if rest == "" {
			args = nil
		}
		b = binary.BigEndian.AppendUint16(b, uint16(len(args)))
		for _, a := range args {
			if a == `\N` {
				b = append(b, 0xff, 0xff, 0xff, 0xff)
				continue
			}
			b = binary.BigEndian.AppendUint32(b, uint32(len(a)))
			b = append(b, a...)
		}
		return string(b)
	}
	switch word {
	case "Q":
		return frame('Q', rest+"\x00"), nil
	case "P":
		name := cut()
		types := "\x00\x00"
		if strings.HasPrefix(rest, "[") {
			list, text, _ := strings.Cut(rest[1:], "] ")
			rest = text
			var b []byte
			oids := strings.Split(list, ",")
			b = binary.BigEndian.AppendUint16(b, uint16(len(oids)))
			for _, o := range oids {
				n, err := strconv.ParseUint(o, 10, 32)
				if err != nil {
					return nil, fmt.Errorf("message %q: %w", m, err)
				}
				b = binary.BigEndian.AppendUint32(b, uint32(n))
			}
			types = string(b)
		}
		return frame('P', name+rest+"\x00"+types), nil
	case "B":
		portal, name := cut(), cut()
		return frame('B', portal+name+"\x00\x00"+values()+"\x00\x00"), nil
	case "DS", "DP", "CS", "CP":
		return frame(word[0], word[1:]+cut()), nil
	case "E":
		portal, rows := cut(), cut()
		n := uint64(0)
		if rows != "\x00" {
			var err error
			if n, err = strconv.ParseUint(strings.TrimSuffix(rows, "\x00"), 10, 32); err != nil {
				return nil, fmt.Errorf("message %q: %w", m, err)
			}
		}
		return frame('E', portal+string(binary.BigEndian.AppendUint32(nil, uint32(n)))), nil
	case "S", "H", "X", "c":
		return frame(word[0], ""), nil
	case "d":
		return frame('d', strings.ReplaceAll(rest, `\n`, "\n")), nil
	case "f":
		return frame('f', rest+"\x00"), nil
	case "F":
		oid, err := strconv.ParseUint(strings.TrimSuffix(cut(), "\x00"), 10, 32)
		if err != nil {
			return nil, fmt.Errorf("message %q: %w", m, err)
		}
		return frame('F', string(binary.BigEndian.AppendUint32(nil, uint32(oid)))+"\x00\x00"+values()+"\x00\x00"), nil
	case "raw":
		return hex.DecodeString(strings.ReplaceAll(rest, " ", ""))
	}
	return nil, fmt.Errorf("message %q: unknown type", m)
}

// short shows a value, long ones by length and checksum.
func short(b []byte) string {
	if len(b) > 200 {
		return fmt.Sprintf("%d bytes %08x", len(b), crc32.ChecksumIEEE(b))
	}
	return strings.ReplaceAll(string(b), "\n", `\n`)
}

// describe shows one backend message, without what differs from session to session (process numbers).
func describe(typ byte, body []byte) string {
	args := ""
	u16 := func(i int) int { return int(binary.BigEndian.Uint16(body[i:])) }
	u32 := func(i int) int { return int(int32(binary.BigEndian.Uint32(body[i:]))) }
	switch typ {
	case 'T':
		var cols []string
		for i, n := 2, u16(0); n > 0; n-- {
			end := i + bytes.IndexByte(body[i:], 0)
			cols = append(cols, fmt.Sprintf("%s:%d", body[i:end], u32(end+7)))
			i = end + 19
		}
		args = strings.Join(cols, ",")
	case 'D':
		var vals []string
		for i, n := 2, u16(0); n > 0; n-- {
			l := u32(i)
			i += 4
			if l < 0 {
				vals = append(vals, "NULL")
				continue
			}
			vals = append(vals, short(body[i:i+l]))
			i += l
		}
		args = strings.Join(vals, "|")
	case 't':
		for i := range u16(0) {
			args += fmt.Sprintf("%d ", u32(2+4*i))
		}
		args = strings.TrimSpace(args)
	case 'E', 'N':
		var fields []string
		for _, f := range strings.Split(strings.TrimRight(string(body), "\x00"), "\x00") {
			if strings.Contains("SCMDHPW", f[:1]) {
				fields = append(fields, f)
			}
		}
		args = strings.ReplaceAll(strings.Join(fields, "; "), "\n", `\n`)
	case 'Z', 'C', 'd':
		args = short(bytes.TrimSuffix(body, []byte{0}))
	case 'S':
		args = strings.Join(strings.Split(strings.TrimSuffix(string(body), "\x00"), "\x00"), "=")
	case 'A':
		f := strings.Split(string(body[4:]), "\x00")
		args = f[0] + "," + f[1]
	case 'G', 'H', 'W':
		args = fmt.Sprintf("%d,%d", body[0], u16(1))
	case 'V':
		if args = "NULL"; u32(0) >= 0 {
			args = short(body[4:])
		}
	case 'R':
		args = strconv.Itoa(u32(0))
	case 'v':
		args = fmt.Sprintf("%d.%d %s", u32(0)>>16, u32(0)&0xffff, strings.ReplaceAll(strings.TrimSuffix(string(body[8:]), "\x00"), "\x00", ","))
	}
	if args == "" {
		return string(typ)
	}
	return string(typ) + "(" + args + ")"
}
