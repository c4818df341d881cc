package pooler

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"

	"pgdrover/internal/connect"
	"pgdrover/shard"
	"pgdrover/shard/copyrows"
)

// copyIn is a COPY FROM STDIN whose rows go to several shards. A shard is asked for its COPY when the first row for it comes. What fails
// is told to the client when it has ended its data, as it would be told by a server.
type copyIn struct {
	c      *client
	plan   *shard.Plan
	query  []byte
	own    bool             // the transaction is of our making
	reader *copyrows.Reader // nil for a reference table, of which every shard gets all
	watch  *copyrows.Reader // of a reference table whose rows may mean the time at which they are read
	legs   []*copyLeg       // in the order in which they began
	err    error            // nothing more is sent after the first one
}

// copyLeg is one shard's part of it.
type copyLeg struct {
	*leg
	out    []byte // rows for it that are not sent yet
	headed bool   // what comes before the first row is in out, or sent
}

// copyBatch is how many bytes of rows are sent to a shard at once.
const copyBatch = 32 << 10

// copyFrom begins a COPY FROM STDIN.
func (t *turn) copyFrom(p *shard.Plan) error {
	c := t.c
	if t.unit != nil {
		return &Error{
			Severity: "ERROR", Code: "0A000", Message: "COPY FROM STDIN to several shards is not supported in the extended protocol, nor in a text of several statements",
			Hint: "Send it as a simple query of its own, as psql and drivers' COPY functions do.",
		}
	}
	plan := *p
	ci := &copyIn{c: c, plan: &plan, query: append([]byte(nil), t.m.query...), own: !c.router.tx.open}
	c.begin()
	if ci.own {
		c.beginOwn()
	}
	response, err := ci.begin()
	if err != nil {
		if ci.own {
			err = c.commitRefused(err)
		}
		c.queryDone(now())
		return c.rejectRaw(t.stop, err)
	}
	c.in.r = t.stop
	c.router.copying = ci
	return c.conn.writeAll(appendMessage(nil, 'G', response))
}

// begin asks the shards that get rows in any case, and returns what the client is answered.
func (ci *copyIn) begin() (response []byte, err error) {
	if ci.plan.Copy.Table.Kind == shard.Reference {
		for i := range ci.plan.Parts {
			if _, response, err = ci.join(ci.plan.Parts[i].Shard, true); err != nil {
				return nil, err
			}
		}
		if copyOf := ci.plan.Copy; len(copyOf.Moments) > 0 {
			ci.watch, err = ci.newReader(ci.legs[0], copyOf.Moments)
		}
		return response, err
	}
	l, response, err := ci.join(ci.plan.Parts[0].Shard, false)
	if err != nil {
		return nil, err
	}
	ci.reader, err = ci.newReader(l, ci.plan.Copy.KeyColumns)
	return response, err
}

// newReader returns a reader of the rows that looks at some of their columns.
func (ci *copyIn) newReader(l *copyLeg, columns []int) (*copyrows.Reader, error) {
	encoding, ok := envGet(ci.c.session.all, "client_encoding")
	if !ok {
		encoding, _ = l.srv.sc.Param("client_encoding")
	}
	copyOf := ci.plan.Copy
	r, err := copyrows.New(copyOf.Options(encoding, l.srv.majorVersion()), copyOf.Columns, columns)
	if err != nil {
		return nil, &Error{
			Severity: "ERROR", Code: "0A000", Message: "COPY with these options cannot be routed row by row: " + err.Error(),
			Hint: "Name the shard in a comment, /* shard=… */, or use another format or encoding.",
		}
	}
	return r, nil
}

// look makes sure that a row of a reference table is the same wherever it is read.
func (ci *copyIn) look(_ []byte, fields []copyrows.Field) error { return ci.plan.Copy.Moment(fields) }

// majorVersion is PostgreSQL's, 0 if the server did not say.
func (s *server) majorVersion() int {
	v, _ := s.sc.Param("server_version")
	end := strings.IndexFunc(v, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(v)
	}
	n, _ := strconv.Atoi(v[:end]) // 0 is an answer, too
	return n
}

// join has a shard begin its COPY.
func (ci *copyIn) join(at int, writes bool) (l *copyLeg, response []byte, err error) {
	c := ci.c
	if err := c.enter(at, writes); err != nil {
		return nil, nil, err
	}
	l = &copyLeg{leg: c.router.tx.leg(at)}
	if len(ci.plan.Parts) > 1 {
		if err := c.twoPhaseReady(l.leg); err != nil {
			return nil, nil, err
		}
	}
	err = c.following(l.srv, func() (err error) { response, err = l.srv.beginCopy(ci.query); return err })
	if err != nil {
		return nil, nil, err
	}
	l.copying = true
	ci.legs = append(ci.legs, l)
	return l, response, nil
}

// beginCopy sends a COPY FROM STDIN and returns the body of the CopyInResponse.
func (s *server) beginCopy(query []byte) (response []byte, err error) {
	s.unOwner = 0
	s.tx = 0
	var failed error
	err = s.conn.within(commitTimeout, func(nc net.Conn) error {
		if _, err := nc.Write(appendQuery(nil, string(query))); err != nil {
			s.midway = true
			return err
		}
		var head [headerLen]byte
		for {
			if _, err := io.ReadFull(nc, head[:]); err != nil {
				return err
			}
			n := int(binary.BigEndian.Uint32(head[1:])) - 4
			if n < 0 || n > bufSize {
				return fmt.Errorf("%w: message %q with length %d", errOutOfStep, head[0], n)
			}
			body := make([]byte, n)
			if _, err := io.ReadFull(nc, body); err != nil {
				return err
			}
			switch head[0] {
			case 'G':
				response = body
				return nil
			case 'E':
				se, err := connect.ParseServerError(body)
				if err != nil {
					return err
				}
				failed = se
			case 'S':
				if name, value, ok := parseParameterStatus(body); ok {
					s.reported(name, value)
				}
			case 'Z':
				s.tx = body[0]
				if failed == nil {
					return errOutOfStep
				}
				return nil
			}
		}
	})
	if err == nil {
		err = failed
	}
	return response, err
}

// copyRouted deals with what a client sends while it copies rows in.
func (c *client) copyRouted(end int) error {
	ci := c.router.copying
	for c.in.r < end && c.router.copying != nil {
		b := c.in.b[c.in.r:end]
		n := int(binary.BigEndian.Uint32(b[1:])) + 1
		have := min(n, len(b))
		body := b[min(headerLen, have):have]
		c.in.r += have
		switch b[0] {
		case 'd':
			ci.feed(body)
			if have < n {
				c.body = n - have
				return nil
			}
		case 'c':
			return ci.finish("")
		case 'f':
			return ci.finish("COPY from stdin failed: " + strings.TrimRight(string(body), "\x00"))
		case 'S', 'H': // PostgreSQL ignores them here
		case 'X':
			return errTerminate
		default:
			return fatalError{errProtocol(fmt.Sprintf("unexpected message type %d during COPY from stdin", b[0]))}
		}
	}
	return nil
}

// feed takes a piece of the data.
func (ci *copyIn) feed(p []byte) {
	if ci.err != nil {
		return
	}
	if ci.reader != nil {
		ci.err = ci.reader.Feed(p, ci.row)
		return
	}
	if ci.watch != nil {
		ci.err = ci.watch.Feed(p, ci.look)
	}
	for _, l := range ci.legs {
		if ci.err == nil {
			ci.err = l.add(p)
		}
	}
}

// row sends a row to its shard.
func (ci *copyIn) row(raw []byte, key []copyrows.Field) error {
	at, err := ci.plan.Copy.Locate(key)
	if err != nil {
		return err
	}
	l, err := ci.legFor(at)
	if err != nil {
		return err
	}
	return l.add(raw)
}

func (ci *copyIn) legFor(at int) (*copyLeg, error) {
	for _, l := range ci.legs {
		if l.shard != at {
			continue
		}
		if !l.headed { // it was asked before there was a row for it
			if err := ci.c.enter(at, true); err != nil {
				return nil, err
			}
			l.head(ci.reader)
		}
		return l, nil
	}
	l, _, err := ci.join(at, true)
	if err != nil {
		return nil, err
	}
	l.head(ci.reader)
	return l, nil
}

// head puts in line what comes before the first row.
func (l *copyLeg) head(r *copyrows.Reader) {
	l.out = append(l.out, r.Header()...)
	l.headed = true
}

// add puts rows in line for the shard.
func (l *copyLeg) add(p []byte) error {
	if len(l.out)+len(p) > copyBatch {
		if err := l.flush(); err != nil {
			return err
		}
	}
	if len(p) > copyBatch {
		l.out = p
		err := l.flush()
		l.out = nil
		return err
	}
	l.out = append(l.out, p...)
	return nil
}

func (l *copyLeg) flush() error {
	if len(l.out) == 0 {
		return nil
	}
	head := binary.BigEndian.AppendUint32([]byte{'d'}, uint32(4+len(l.out)))
	for _, p := range [...][]byte{head, l.out} {
		if err := l.srv.conn.writeAll(p); err != nil {
			l.srv.midway = true
			l.srv.dead.Store(true)
			return errShardGone(l.pool.key.shard, err)
		}
	}
	l.out = l.out[:0]
	return nil
}

// finish ends the COPY on every shard; why says that the client has given up.
func (ci *copyIn) finish(why string) error {
	c := ci.c
	c.router.copying = nil
	if why == "" && ci.err == nil && ci.reader != nil {
		ci.err = ci.reader.End(ci.row)
	}
	if why == "" && ci.err == nil && ci.watch != nil {
		ci.err = ci.watch.End(ci.look)
	}
	if ci.err != nil && why == "" {
		why = "pgdrover: " + ci.err.Error()
	}
	var count int64
	var first error
	for i, l := range ci.legs {
		n, err := ci.end(l, why)
		if ci.reader != nil || i == 0 { // each shard takes all rows of a reference table
			count += n
		}
		if err != nil && (first == nil || isCanceled(first) && !isCanceled(err)) {
			first = err
		}
	}
	switch {
	case ci.err != nil && (first == nil || isCanceled(first)):
		first = ci.told()
	case first == nil && ci.own:
		first = c.commitLegs()
	}
	if first != nil {
		if ci.own {
			if c.router.tx.open {
				first = c.commitRefused(first)
			}
		} else {
			c.router.tx.failed = true
		}
		msg, err := errorBytes(first)
		if err != nil {
			return err
		}
		return c.conn.writeAll(appendReady(msg, c.status()))
	}
	c.queryDone(now())
	return c.conn.writeAll(appendReady(appendTag(nil, "COPY "+strconv.FormatInt(count, 10)), c.status()))
}

// end ends the COPY of one shard and returns how many rows it has taken.
func (ci *copyIn) end(l *copyLeg, why string) (count int64, err error) {
	if l.srv.dead.Load() {
		return 0, nil
	}
	msg := appendMessage(nil, 'f', append([]byte(why), 0))
	if why == "" {
		if ci.reader != nil {
			if !l.headed { // it got no row, but looks at the header
				l.head(ci.reader)
			}
			l.out = append(l.out, ci.reader.Trailer()...)
		}
		if err := l.flush(); err != nil {
			return 0, err
		}
		msg = appendMessage(nil, 'c', nil)
	}
	l.copying = false
	err = ci.c.following(l.srv, func() error {
		err := l.srv.exchangeIn('T', msg, commitTimeout, func(typ byte, body []byte) error {
			if typ == 'C' {
				_, count, _ = splitTag(string(body[:len(body)-1]))
			}
			return nil
		})
		var se *connect.ServerError
		if err != nil && !errors.As(err, &se) {
			l.srv.dead.Store(true)
			return errShardGone(l.pool.key.shard, err)
		}
		return err
	})
	return count, err
}

// told is what the client is told of an error of ours.
func (ci *copyIn) told() error {
	var re *copyrows.Error
	if errors.As(ci.err, &re) {
		return &Error{Severity: "ERROR", Code: re.Code, Message: re.Message, Hint: re.Hint, Where: re.Context(ci.plan.Copy.Table.Name)}
	}
	return ci.err
}

// isCanceled reports whether a shard only says that the COPY was given up.
func isCanceled(err error) bool {
	var se *connect.ServerError
	return errors.As(err, &se) && se.Code() == "57014"
}
