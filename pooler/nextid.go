package pooler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sync/singleflight"

	"pgdrover/internal/connect"
	"pgdrover/internal/sqlparse"
	"pgdrover/shard"
)

const (
	// idBlock is how many ids are drawn at once, at least; maxDraw at most, so that the answer does not take long.
	idBlock = 1000
	maxDraw = 10_000
	// idAge is how long ids are kept, in nanoseconds: they have the time in them, and should be about as old as their rows.
	idAge = int64(60e9)
)

// idStock are values of pgdrover.next_id() that were drawn and not used yet. They are unique wherever they are drawn, and those that nobody uses
// are not missed: nothing of the stock has to survive. No other lock is taken with its own held.
type idStock struct {
	mu     sync.Mutex
	blocks []idsOf // in the order in which they were drawn; guarded by mu
	from   int     // the shard that gave the last ones; guarded by mu
	draws  singleflight.Group
}

// idsOf are ids that were drawn at a time.
type idsOf struct {
	ids []int64
	at  int64
}

// take moves up to n ids from the stock to dst.
func (st *idStock) take(dst []int64, n int) []int64 {
	st.mu.Lock()
	defer st.mu.Unlock()
	t := now()
	for n > 0 && len(st.blocks) > 0 {
		b := &st.blocks[0]
		if k := min(n, len(b.ids)); t-b.at < idAge && k > 0 {
			dst = append(dst, b.ids[:k]...)
			b.ids, n = b.ids[k:], n-k
			continue
		}
		st.blocks = slices.Delete(st.blocks, 0, 1)
	}
	return dst
}

// put adds what a shard has given.
func (st *idStock) put(ids []int64, shard int) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.blocks = append(st.blocks, idsOf{ids, now()})
	st.from = shard
}

func (st *idStock) giver() int {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.from
}

// withIDs draws the keys that an INSERT lacks and says where its rows go.
func (c *client) withIDs(p *shard.Plan) (*shard.Plan, error) {
	ids, err := c.takeIDs(p.Drawn.N)
	if err != nil {
		return nil, err
	}
	plan, err := p.Drawn.Plan(ids)
	return &plan, err
}

// takeIDs returns n ids, which nobody else gets.
func (c *client) takeIDs(n int) ([]int64, error) {
	st := &c.router.of.ids
	ids := make([]int64, 0, n)
	for {
		if ids = st.take(ids, n-len(ids)); len(ids) == n {
			return ids, nil
		}
		if err := c.drawIDs(st, min(max(n-len(ids), idBlock), maxDraw)); err != nil {
			return nil, err
		}
	}
}

// errNoRoom says that no connection of our own can be opened where ids are drawn.
var errNoRoom = errors.New("there is no room for another connection")

// drawIDs adds n ids to the stock. It has a connection of our own for that, which has no part in the session's transaction and waits for nobody.
// Where there is no room for it, or while the database is paused, the session does it itself, on a server that it has or waits for.
func (c *client) drawIDs(st *idStock, n int) error {
	r := c.router
	held := c.srv != nil || len(r.tx.legs) > 0
	if held || !c.p.paused.Load() && !c.db.paused.Load() {
		_, err, _ := st.draws.Do(r.pools[0].key.user, func() (any, error) { return nil, drawOwn(st, r.pools, n) })
		if !errors.Is(err, errNoRoom) || c.srv != nil && c.unsynced && len(r.tx.legs) == 0 {
			return err
		}
	}
	at, writes := c.idShard(st.giver()), false
	if len(r.tx.legs) > 0 {
		at, writes = r.tx.current().shard, true // a sequence is written to
	}
	ids, err := readIDs(n, func(msg []byte, each func(byte, []byte) error) error { return c.askShard(at, writes, msg, each) })
	if err != nil {
		return errDraw(r.pools[at], err)
	}
	st.put(ids, at)
	return nil
}

// idShard is the shard on which a session draws ids that has no transaction open: the one that it is held on, or one that is well.
func (c *client) idShard(giver int) int {
	r := c.router
	if c.srv != nil {
		if at := slices.Index(r.pools, c.pool); at >= 0 {
			return at
		}
	}
	for i := range r.pools {
		at := (giver + i) % len(r.pools)
		pl := r.pools[at]
		pl.mu.Lock()
		well := pl.lastErr == nil
		pl.mu.Unlock()
		if well {
			return at
		}
	}
	return giver % len(r.pools)
}

// drawOwn adds ids of one of the shards to the stock: the last one that gave some, or those behind it while it is down or has no function.
func drawOwn(st *idStock, pools []*pool, n int) error {
	first := st.giver()
	var failed, full error
	for i := range pools {
		at := (first + i) % len(pools)
		ids, err := pools[at].ownIDs(n)
		if err == nil {
			st.put(ids, at)
			return nil
		}
		var se *connect.ServerError
		if errors.Is(err, errLimitReached) || errors.As(err, &se) && strings.HasPrefix(se.Code(), "53") {
			full = fmt.Errorf("%w: %w", errNoRoom, errDraw(pools[at], err))
			continue
		}
		if e := errDraw(pools[at], err); failed == nil || e.Code == codeNoFunction {
			failed = e
		}
	}
	if full != nil {
		return full
	}
	return failed
}

// ownIDs draws ids over a connection of our own.
func (pl *pool) ownIDs(n int) ([]int64, error) {
	s, err := pl.openOwnAt(pl.config(), true)
	if err != nil {
		return nil, err
	}
	defer s.close("drawing ids is done")
	defer context.AfterFunc(pl.p.ctx, func() { s.conn.interrupt(true) })()
	return readIDs(n, func(msg []byte, each func(byte, []byte) error) error { return s.exchange(msg, syncTimeout, each) })
}

// readIDs has a server make n ids.
func readIDs(n int, ask func(msg []byte, each func(typ byte, body []byte) error) error) ([]int64, error) {
	ids := make([]int64, 0, n)
	msg := appendQuery(nil, "SELECT pgdrover.next_id()::pg_catalog.int8 FROM pg_catalog.generate_series(1, "+strconv.Itoa(n)+")")
	err := ask(msg, func(typ byte, body []byte) error {
		if typ != 'D' {
			return nil
		}
		row, err := dataRow(body)
		if err != nil {
			return err
		}
		if len(row) != 1 || row[0] == nil {
			return fmt.Errorf("%w: an id is NULL", errOutOfStep)
		}
		id, err := strconv.ParseInt(*row[0], 10, 64)
		if err != nil {
			return fmt.Errorf("%w: an id that is no number: %w", errOutOfStep, err)
		}
		ids = append(ids, id)
		return nil
	})
	if err == nil && len(ids) != n {
		err = fmt.Errorf("%w: %d ids, want %d", errOutOfStep, len(ids), n)
	}
	return ids, err
}

const codeNoFunction = "42883"

// errDraw says why a shard gives no ids.
func errDraw(pl *pool, err error) *Error {
	name := pl.key.shard
	if e := ours(err); e != nil {
		return e
	}
	if errors.Is(err, errLimitReached) {
		return &Error{
			Severity: "ERROR", Code: "53300", Message: "no ids can be drawn: " + err.Error(),
			Detail: "The sharding key of a row is drawn from pgdrover.next_id(), over a connection for that alone.", Hint: "Raise the limit, or try again.",
		}
	}
	var se *connect.ServerError
	if !errors.As(err, &se) {
		return errShardGone(name, err)
	}
	e := fromServer(se)
	if se.Code() == codeNoFunction || se.Code() == "3F000" {
		return &Error{
			Severity: "ERROR", Code: codeNoFunction, Message: fmt.Sprintf("shard %q has no function pgdrover.next_id()", name),
			Detail: "The sharding key of a row is drawn from it.",
			Hint:   fmt.Sprintf("ALTER DATABASE %s INSTALL NEXT ID on the admin database installs it on every shard.", sqlparse.QuoteIdent(pl.db.name)),
		}
	}
	e.Message = fmt.Sprintf("shard %q gives no ids: %s", name, se.Message())
	return e
}
