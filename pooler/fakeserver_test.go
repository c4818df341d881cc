package pooler

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
)

// backend is the protocol side of PostgreSQL for one session: it answers messages with the right kinds of messages, follows
// transactions, statements and portals, skips to Sync after an error, and keeps its output back until Sync, Flush,
// Query or 8 kB, as PostgreSQL does. What a statement does is read off its first word.
type backend struct {
	tx      byte
	stmts   map[string]string
	portals map[string]string
	skip    bool
	copyIn  bool
	inQuery bool // the COPY was started by a Query
	buf     []byte
	out     []byte
	flushed int      // how much of out is to be sent whatever its size
	names   []string // of the statements that were prepared, in order
	broken  string   // what was wrong with the stream, if anything
	left    bool     // Terminate came
	syncs   int
}

func newBackend() *backend {
	return &backend{tx: 'I', stmts: map[string]string{}, portals: map[string]string{}}
}

func msg(typ byte, parts ...string) []byte {
	body := strings.Join(parts, "")
	b := binary.BigEndian.AppendUint32([]byte{typ}, uint32(4+len(body)))
	return append(b, body...)
}

// feed takes bytes of the frontend's and returns what is sent to it now.
func (s *backend) feed(p []byte) []byte {
	s.buf = append(s.buf, p...)
	for len(s.buf) >= headerLen && s.broken == "" && !s.left {
		n := int(binary.BigEndian.Uint32(s.buf[1:])) + 1
		if n < headerLen {
			s.broken = fmt.Sprintf("message %q has length %d", s.buf[0], n-1)
			break
		}
		if len(s.buf) < n {
			break
		}
		s.message(s.buf[0], s.buf[headerLen:n])
		s.buf = s.buf[n:]
	}
	n := max(s.flushed, len(s.out)-len(s.out)%8192)
	out := s.out[:n:n]
	s.out, s.flushed = s.out[n:], 0
	return out
}

func (s *backend) flush() { s.flushed = len(s.out) }

func (s *backend) send(typ byte, parts ...string) { s.out = append(s.out, msg(typ, parts...)...) }

func (s *backend) fail(code string) {
	s.send('E', "SERROR\x00VERROR\x00C", code, "\x00Mfailed\x00\x00")
	if s.tx == 'T' {
		s.tx = 'E'
	}
	s.copyIn = false
}

// failExtended is an error in the extended protocol.
func (s *backend) failExtended(code string) { s.fail(code); s.skip = true }

func (s *backend) ready() {
	if s.tx == 'I' {
		clear(s.portals)
	}
	s.send('Z', string(s.tx))
	s.flush()
}

func (s *backend) message(typ byte, body []byte) {
	if s.copyIn {
		switch typ {
		case 'd', 'H', 'S':
			return
		case 'c':
			s.copyIn = false
			s.send('C', "COPY 1\x00")
		case 'f':
			s.copyIn = false
			s.skip = !s.inQuery
			s.fail("57014")
		default:
			s.skip = !s.inQuery
			s.fail("08P01")
		}
		if s.inQuery {
			s.ready()
		}
		return
	}
	if s.skip && typ != 'S' && typ != 'X' {
		if typ == 'H' {
			s.flush()
		}
		return
	}
	str := func() string {
		i := bytes.IndexByte(body, 0)
		if i < 0 {
			s.broken = fmt.Sprintf("message %q has an unterminated string", typ)
			i = len(body)
		}
		v := string(body[:i])
		body = body[min(i+1, len(body)):]
		return v
	}
	switch typ {
	case 'Q':
		delete(s.stmts, "")
		s.inQuery = true
		s.run(str())
		if !s.copyIn {
			s.ready()
		}
	case 'P':
		name, text := str(), str()
		if name == "" {
			delete(s.stmts, "")
		}
		_, dup := s.stmts[name]
		switch {
		case s.tx == 'E' && !ends(text):
			s.failExtended("25P02")
		case strings.HasPrefix(text, "noparse"):
			s.failExtended("42601")
		case dup:
			s.failExtended("42P05")
		default:
			s.stmts[name] = text + string(body)
			s.names = append(s.names, name)
			s.send('1')
		}
	case 'B':
		portal, name := str(), str()
		text, ok := s.stmts[name]
		switch {
		case !ok:
			s.failExtended("26000")
		case s.tx == 'E' && !ends(text):
			s.failExtended("25P02")
		case strings.HasPrefix(text, "nobind"):
			s.failExtended("22P02")
		default:
			s.portals[portal] = text
			s.send('2')
		}
	case 'D', 'C':
		if len(body) == 0 {
			s.broken = "empty " + string(typ)
			return
		}
		what := body[0]
		body = body[1:]
		name := str()
		from, code := s.stmts, "26000"
		if what == 'P' {
			from, code = s.portals, "34000"
		}
		if typ == 'C' {
			delete(from, name)
			s.send('3')
			return
		}
		text, ok := from[name]
		if !ok {
			s.failExtended(code)
			return
		}
		if s.tx == 'E' {
			s.failExtended("25P02")
			return
		}
		if what == 'S' {
			s.send('t', "\x00\x00")
		}
		if strings.HasPrefix(text, "select") {
			s.send('T', "\x00\x01c\x00", strings.Repeat("\x00", 18))
		} else {
			s.send('n')
		}
	case 'E':
		s.inQuery = false
		text, ok := s.portals[str()]
		if !ok {
			s.failExtended("34000")
			return
		}
		if code := s.run(text); code != "" {
			s.skip = true
		}
	case 'S':
		s.syncs++
		s.skip = false
		s.ready()
	case 'F':
		s.send('V', "\xff\xff\xff\xff")
		s.ready()
	case 'X':
		s.left = true
	case 'H':
		s.flush()
	case 'd', 'c', 'f':
	default:
		s.broken = fmt.Sprintf("message of unknown type %q", typ)
	}
}

// ends reports whether a statement may run in a failed transaction.
func ends(text string) bool {
	return strings.HasPrefix(text, "commit") || strings.HasPrefix(text, "rollback")
}

// run carries out a statement and returns the SQLSTATE of its error.
func (s *backend) run(text string) (code string) {
	word, rest, _ := strings.Cut(strings.TrimRight(strings.TrimRight(text, "\x00"), " "), " ")
	word = strings.ToLower(word)
	target, _, _ := strings.Cut(rest, " ")
	target = strings.Trim(target, `";`)
	switch {
	case s.tx == 'E' && !ends(text):
		code = "25P02"
	case word == "fail":
		code = "22012"
	case word == "deallocate" && !strings.HasPrefix(target, "all"):
		if _, ok := s.stmts[target]; ok {
			delete(s.stmts, target)
			s.send('C', "DEALLOCATE\x00")
			return ""
		}
		code = "26000"
	}
	if code != "" {
		s.fail(code)
		return code
	}
	switch word {
	case "begin":
		s.tx = 'T'
		s.send('C', "BEGIN\x00")
	case "commit", "rollback":
		s.tx = 'I'
		clear(s.portals)
		s.send('C', strings.ToUpper(word), "\x00")
	case "copy":
		s.copyIn = true
		s.send('G', "\x00\x00\x00")
		s.flush()
	case "":
		s.send('I')
	case "discard":
		clear(s.stmts)
		s.send('C', "DISCARD ALL\x00")
	case "deallocate":
		unnamed, ok := s.stmts[""]
		clear(s.stmts)
		if ok {
			s.stmts[""] = unnamed
		}
		s.send('C', "DEALLOCATE ALL\x00")
	case "notice":
		s.send('N', "SNOTICE\x00C00000\x00Mhello\x00\x00")
		s.send('C', "DO\x00")
	case "select":
		// The row names the statement, so that a mix-up shows.
		row := binary.BigEndian.AppendUint32([]byte{0, 1}, uint32(len(text)))
		s.send('D', string(row), text)
		s.send('C', "SELECT 1\x00")
	case "big": // more than any buffer
		row := binary.BigEndian.AppendUint32([]byte{0, 1}, 40000)
		s.send('D', string(row), strings.Repeat("x", 40000))
		s.send('C', "SELECT 1\x00")
	default:
		s.send('C', "OK ", strings.TrimRight(text, "\x00"), "\x00")
	}
	return ""
}
