package pooler

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"pgdrover/internal/connect"
	"pgdrover/shard/copyrows"
)

// fan is a statement that several shards carry out at once. Each shard's answer is read by a goroutine of its own; whole messages go to
// the client as they come, one goroutine at a time, so that memory does not grow with the result and the client's pace is
// everybody's. The session's own goroutine waits for them, and passes on why it is interrupted.
type fan struct {
	c     *client
	legs  []*leg
	rows  bool     // rows are forwarded; otherwise left aside
	limit int64    // how many are still to be sent; -1 = all
	skip  int64    // how many are left out first
	hide  bool     // no RowDescription: the client has it already, or has not asked for it
	asks  bool     // queryXID is sent along behind the statement: its transaction ends with it
	heard [][]byte // notices that the client has had from a shard that did the same before; one server gives them once

	mu        sync.Mutex
	described []byte           // the RowDescription that the client has, or would have
	sent      int64            // rows
	told      int              // bytes that the client was sent
	params    []byte           // the types of a statement's parameters, as ParameterDescription says them
	keep      [][][]byte       // the rows of each leg, instead of sending them
	kept      int              // their bytes
	merger    *copyrows.Merger // of COPY TO STDOUT
	copying   bool             // its CopyOutResponse was forwarded
	affected  int64            // what the command tags say together
	tag       string           // of the first shard, without its count
	notices   [][]byte         // that were forwarded, up to maxHeard
	failed    *failure
	clientErr error
	cancelled bool
	over      []bool         // the legs that are through
	cancels   sync.WaitGroup // cancel requests on their way
	halted    atomic.Bool    // nobody waits for the answers any more
	counted   bool           // the tags have counts
}

// maxHeard bounds the notices that are remembered.
const maxHeard = 100

// failure is the first error of a fan.
type failure struct {
	leg *leg
	msg []byte // the server's ErrorResponse; nil if the connection was lost
	err error
}

// run has every leg send what msg says and read up to ReadyForQuery. It returns when all are through. For a statement that has been cancelled between
// two rounds it does nothing.
func (f *fan) run(msg func(i int) []byte) error {
	c := f.c
	var wg sync.WaitGroup
	done := make(chan struct{})
	f.over = make([]bool, len(f.legs))
	c.setFan(f.legs, false)
	if at := c.queryAt.Load(); at != 0 && c.cancelAt.Load() == at {
		c.setFan(nil, false)
		e := c.deadlock.Swap(nil)
		if e == nil {
			e = errCanceled()
		}
		f.failed = &failure{leg: f.legs[0], msg: e.message()}
		return nil
	}
	for i, l := range f.legs {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := f.drive(l, msg(i)); err != nil {
				f.lost(l, err)
			}
		}()
	}
	go func() { wg.Wait(); close(done) }()
	err := f.await(done)
	f.cancels.Wait() // one that comes late must not meet what the server does next
	c.setFan(nil, false)
	return err
}

// await waits for the legs, and deals with interrupts meanwhile.
func (f *fan) await(done <-chan struct{}) error {
	c := f.c
	var err error
	for {
		select {
		case <-done:
			if err == nil {
				err = f.clientErr
			}
			return err
		case <-c.bell:
		}
		r := c.takeReasons()
		switch {
		case err != nil:
			continue
		case r&reasonKill != 0:
			err = c.killed()
		case r&reasonHungUp != 0 && c.leftForGood(f.moved()):
			err = errClientGone
		default:
			continue
		}
		f.halted.Store(true)
		f.mu.Lock()
		f.stop()
		f.mu.Unlock()
		for _, l := range f.legs {
			l.srv.conn.interrupt(true)
		}
	}
}

// moved changes with what the shards answer.
func (f *fan) moved() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.told + f.kept
}

// stop asks the shards that still work to give up. The caller holds mu.
func (f *fan) stop() {
	if f.cancelled {
		return
	}
	f.cancelled = true
	for i, l := range f.legs {
		if !f.over[i] {
			f.cancels.Go(l.srv.cancelQuiet)
		}
	}
}

func (s *server) cancelQuiet() {
	ctx, stop := context.WithTimeout(s.pool.p.ctx, unlimited(s.pool.p.settings().CancelWaitTimeout))
	defer stop()
	if err := s.sc.Cancel(ctx); err != nil {
		s.pool.log.Debug().Err(err).Msg("cancel request failed")
	}
}

// lost notes that a connection is no more.
func (f *fan) lost(l *leg, err error) {
	l.srv.dead.Store(true)
	f.mu.Lock()
	if f.failed == nil {
		f.failed = &failure{leg: l, err: err}
	}
	f.over[slices.Index(f.legs, l)] = true
	f.stop()
	f.mu.Unlock()
}

// drive sends msg to one shard and reads its answer.
func (f *fan) drive(l *leg, msg []byte) error {
	s := l.srv
	s.tx = 0 // not known before it answers
	l.asked, l.synced = false, msg[0] != 'Q'
	if f.asks {
		msg = appendQuery(msg, queryXID)
	}
	if err := s.conn.writeAll(msg); err != nil {
		s.midway = true
		return err
	}
	in := inbuf{pool: f.c.p.bufs}
	defer in.free()
	for b := s.kept.in; len(b) > 0; s.kept.in = b {
		n := copy(in.room(), b)
		in.took(n, true)
		b = b[n:]
	}
	var fail error
	step := func(uintptr) bool {
		for {
			n, more, err := s.conn.read(in.room())
			if err == errWouldBlock {
				in.rest()
				return false
			}
			if err != nil {
				fail = err
				return true
			}
			in.took(n, more)
			f.c.p.giveWay(&in)
			over, err := f.take(l, &in)
			if err != nil || over {
				fail = err
				return true
			}
			if !more && !s.dead.Load() && s.conn.direct() {
				return false
			}
		}
	}
	for {
		err := s.conn.loop(step)
		switch {
		case err == nil:
			return fail
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return err
		}
		s.conn.resume() // before it is looked why, so that no later interrupt is undone
		if f.halted.Load() || f.c.dying.Load() {
			return errStopped
		}
	}
}

// take goes through what a shard has sent. over says that its ReadyForQuery has come.
func (f *fan) take(l *leg, in *inbuf) (over bool, err error) {
	for in.len() >= headerLen {
		b := in.bytes()
		n := int(binary.BigEndian.Uint32(b[1:])) + 1
		if n < headerLen {
			return false, fmt.Errorf("%w: message %q with length %d", errOutOfStep, b[0], n-1)
		}
		if n > len(b) {
			if n > len(in.b) {
				if n > maxRouted {
					return false, fmt.Errorf("%w: message %q with length %d", errOutOfStep, b[0], n-1)
				}
				in.grow(n)
			}
			return false, nil
		}
		if b[0] == 'D' && !l.asked {
			in.r += f.takeRows(l, b)
			continue
		}
		msg := b[:n]
		in.r += n
		if msg[0] == 'Z' {
			first := f.asks && !l.asked
			if n != headerLen+1 || !first && !in.empty() {
				return false, fmt.Errorf("%w: bytes behind ReadyForQuery", errOutOfStep)
			}
			l.srv.tx = msg[headerLen]
			if first {
				l.asked = true
				continue
			}
			f.mu.Lock()
			f.over[slices.Index(f.legs, l)] = true
			f.mu.Unlock()
			return true, nil
		}
		switch {
		case !l.asked, msg[0] == 'S', msg[0] == 'E' && l.srv.tx == 'T': // in 'E' the statement itself has failed
			err = f.message(l, msg)
		case msg[0] == 'D':
			l.xid, err = onlyValue(msg[headerLen:])
		}
		if err != nil {
			return false, err
		}
	}
	return false, nil
}

// takeRows deals with the whole DataRows at the beginning of b and returns their length.
func (f *fan) takeRows(l *leg, b []byte) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	from, pos := 0, 0
	for len(b)-pos >= headerLen && b[pos] == 'D' {
		n := int(binary.BigEndian.Uint32(b[pos+1:])) + 1
		if n > len(b)-pos {
			break
		}
		switch {
		case !f.rows || f.failed != nil || f.clientErr != nil || f.limit == 0:
			f.send(b[from:pos])
			from = pos + n
		case f.skip > 0:
			f.skip--
			f.send(b[from:pos])
			from = pos + n
		case f.keep != nil:
			f.send(b[from:pos])
			from = pos + n
			f.keepRow(l, b[pos:from])
		default:
			f.sent++
			if f.limit > 0 {
				f.limit--
			}
		}
		pos += n
	}
	f.send(b[from:pos])
	return pos
}

// send writes whole messages to the client. The caller holds mu.
func (f *fan) send(p []byte) {
	if len(p) == 0 || f.clientErr != nil {
		return
	}
	f.told += len(p)
	f.c.home.counters.BytesSent.Add(int64(len(p)))
	if err := f.c.conn.writeAll(p); err != nil {
		f.clientErr = err
		f.c.mute = true
		f.stop()
	}
}

// message deals with one message that is not a row.
func (f *fan) message(l *leg, msg []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch msg[0] {
	case 'T':
		switch {
		case f.described == nil:
			f.described = append([]byte(nil), msg...)
			if f.rows && !f.hide {
				f.send(msg)
			}
		case !sameColumns(f.described, msg):
			if f.failed == nil {
				e := &Error{
					Severity: "ERROR", Code: "0A000", Message: "shards answer with different columns",
					Detail: fmt.Sprintf("Shard %q returns other columns or types than the shard that answered first.", l.pool.key.shard),
					Hint:   "Make the tables alike on every shard; user-defined types have to have the same OID.",
				}
				f.failed = &failure{leg: l, msg: e.message(), err: e}
				f.stop()
			}
		}
	case 'C':
		tag := string(msg[headerLen : len(msg)-1])
		word, count, counted := splitTag(tag)
		f.counted = counted
		if f.tag == "" {
			f.tag = word
		}
		f.affected += count
		l.noteTag(tag)
	case 'E':
		if fatalSeverity(msg) {
			l.srv.dead.Store(true)
		}
		if f.failed == nil {
			f.failed = &failure{leg: l, msg: append([]byte(nil), msg...)}
			if errorCode(msg) == "57014" {
				if e := f.c.deadlock.Swap(nil); e != nil {
					f.failed.msg = e.message()
				}
			}
			f.stop()
		}
	case 'S':
		name, value, ok := parseParameterStatus(msg[headerLen:])
		if ok {
			l.srv.reported(name, value)
			if isFollowing(name, f.c.p.extra) && l == f.legs[0] {
				f.c.session.set(name, value)
				f.c.noteParameter(name, value)
				f.send(msg)
			}
		}
	case 'N':
		if l == f.legs[0] && !slices.ContainsFunc(f.heard, func(b []byte) bool { return bytes.Equal(b, msg) }) {
			f.send(msg)
			if len(f.notices) < maxHeard {
				f.notices = append(f.notices, slices.Clone(msg))
			}
		}
	case 'G':
		return f.giveUpCopy(l)
	case 'H':
		if !f.copying {
			f.copying = true
			f.send(msg)
		}
	case 'd':
		switch {
		case f.failed != nil:
			return nil
		case f.merger == nil: // of one shard alone
			f.send(msg)
			return nil
		}
		return f.merger.Feed(slices.Index(f.legs, l), msg[headerLen:], f.copyData)
	case 't':
		f.params = append([]byte(nil), msg[headerLen:]...)
	case 'c':
		if f.merger == nil {
			f.send(msg)
		}
	case 'A', 'I', 'n', 's', '1', '2', '3':
	default:
		return fmt.Errorf("%w: message %q", errOutOfStep, msg[0])
	}
	return nil
}

// giveUpCopy ends a COPY FROM STDIN that has begun among other statements, where nobody sends its data. In the extended protocol it has swallowed
// the Sync. The caller holds mu.
func (f *fan) giveUpCopy(l *leg) error {
	if f.failed == nil {
		e := &Error{
			Severity: "ERROR", Code: "0A000", Message: "COPY FROM STDIN on a sharded database has to be a query of its own",
			Detail: "It was sent among others, in one text or up to one Sync.", Hint: "Send it as a simple query of its own, as psql and drivers' COPY functions do.",
		}
		f.failed = &failure{leg: l, msg: e.message(), err: e}
	}
	end := appendMessage(nil, 'f', []byte("nobody sends its data\x00"))
	if l.synced {
		end = append(end, 'S', 0, 0, 0, 4)
	}
	return l.srv.conn.writeAll(end)
}

// splitTag takes the count off a command tag: "UPDATE 3" is "UPDATE" and 3, "INSERT 0 3" is "INSERT 0" and 3.
func splitTag(tag string) (word string, count int64, counted bool) {
	i := strings.LastIndexByte(tag, ' ')
	if i < 0 {
		return tag, 0, false
	}
	n, err := strconv.ParseInt(tag[i+1:], 10, 64)
	if err != nil {
		return tag, 0, false
	}
	return tag[:i], n, true
}

// sameColumns compares two RowDescriptions: names, types and formats, but not the OIDs of tables, which differ from shard to shard.
func sameColumns(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	a, b = a[headerLen+2:], b[headerLen+2:]
	for len(a) > 0 {
		na, ra, err := cstring(a)
		if err != nil {
			return false
		}
		nb, rb, err := cstring(b)
		if err != nil || string(na) != string(nb) || len(ra) < 18 || len(rb) < 18 {
			return false
		}
		if string(ra[6:18]) != string(rb[6:18]) {
			return false
		}
		a, b = ra[18:], rb[18:]
	}
	return true
}

// error returns what the client gets of a fan that has failed.
func (f *fan) error() error {
	if f.failed == nil {
		return nil
	}
	if f.failed.msg == nil {
		return errShardGone(f.failed.leg.pool.key.shard, f.failed.err)
	}
	se, err := connect.ParseServerError(f.failed.msg[headerLen:])
	if err != nil {
		return err
	}
	return se
}

// maxKept bounds the rows that are held to be put in order, in bytes.
const maxKept = 64 << 20

// keepRow holds a row back. The caller holds mu.
func (f *fan) keepRow(l *leg, row []byte) {
	if f.kept += len(row); f.kept > maxKept {
		e := &Error{
			Severity: "ERROR", Code: "53200", Message: "a write over several shards has to hold too many rows",
			Detail: fmt.Sprintf("They are put in order, or moved to their shard, for which at most %d MB are held.", maxKept>>20), Hint: "Write fewer rows at once, or leave out RETURNING.",
		}
		if f.failed == nil {
			f.failed = &failure{leg: l, msg: e.message(), err: e}
			f.stop()
		}
		return
	}
	i := slices.Index(f.legs, l)
	f.keep[i] = append(f.keep[i], slices.Clone(row))
}

// copyData forwards a piece of a merged COPY. The caller holds mu.
func (f *fan) copyData(piece []byte) error {
	f.send(appendMessage(nil, 'd', piece))
	return nil
}

// endCopy ends a merged COPY.
func (f *fan) endCopy() ([]byte, error) {
	for i := range f.legs {
		if err := f.merger.End(i, f.copyData); err != nil {
			return nil, &Error{Severity: "ERROR", Code: "XX000", Message: "shards answer COPY in different ways: " + err.Error()}
		}
	}
	out := append([]byte(nil), 'c', 0, 0, 0, 4)
	return appendTag(out, f.tag+" "+strconv.FormatInt(f.affected, 10)), nil
}
