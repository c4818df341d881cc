package pooler

// replyKind is what a session still expects from its server for one message that it has forwarded,
// or what it has to say itself when that place in the stream is reached.
type replyKind uint8

const (
	replyQuery    replyKind = iota + 1 // Query and FunctionCall: everything up to ReadyForQuery
	replySync                          // Sync: ReadyForQuery
	replyParse                         // ParseComplete
	replyBind                          // BindComplete
	replyDescribe                      // RowDescription or NoData
	replyExecute                       // CommandComplete, EmptyQueryResponse, PortalSuspended
	replyClose                         // CloseComplete
	replyCopyEnd                       // nothing: the client has ended its side of a COPY here
	replyBindOwn                       // BindComplete for a Bind of ours: swallowed
	replyRefuse                        // an error: the Bind of a statement with other columns than its client was told

	// The kinds below carry a replyData.
	replyParseNamed   // ParseComplete for a statement that we renamed
	replyBindDrop     // BindComplete for a portal that drops a statement; name is the portal's
	replyParseOwn     // ParseComplete for a Parse of ours: swallowed; name is what the client drops next
	replyCloseOwn     // CloseComplete for a Close of ours: swallowed
	replySayParsed    // say ParseComplete: the server has the statement already
	replySayClosed    // say CloseComplete: closing a renamed statement is our affair
	replyParseUnname  // ParseComplete for the unnamed statement
	replyCloseUnname  // CloseComplete for it
	replyDescribeTell // RowDescription or NoData, of prep's columns: they are what the client is told of described
	replyDescribeOwn  // the same for a Describe of ours: swallowed
)

// replyData is what must be done when the reply comes, and undone when it does not because an error
// made the server skip the message.
type replyData struct {
	name   string    // the client's name for the statement
	before *stmt     // what that name meant before the message; nil for nothing
	after  *stmt     // and after it
	prep   *prepared // what a ParseComplete makes true on the server
	gen    uint64    // of an unnamed statement
	region uint64    // the pipeline region (from Sync to Sync) that the message belongs to

	described string  // the client's name for the statement that it asks for
	columns   columns // that the client was told of before
}

// replies is the queue of a session's expected replies. One byte a message, so that a client
// that pipelines a hundred thousand statements costs little; the few that need more have an entry in data.
type replies struct {
	kinds ring[replyKind]
	data  ring[replyData]
	asked int           // how many of kinds are answered with ReadyForQuery
	few   [16]replyKind // what kinds begins with, so that it has no memory of its own to be fetched
	// skipping: an error was reported and no Sync has been forwarded since, so the server ignores everything.
	skipping bool
}

func (q *replies) init() { q.kinds.b = q.few[:] }

func (q *replies) push(k replyKind) {
	if q.skipping {
		if k != replySync {
			return
		}
		q.skipping = false
	}
	if k <= replySync {
		q.asked++
	}
	q.kinds.push(k)
}

func (q *replies) pushData(k replyKind, d replyData) {
	q.kinds.push(k)
	q.data.push(d)
}

// unsettled reports whether an answer from before the last Sync may still change what name means. A message of the same
// region has no need to wait for it: an error makes the server skip both. With many answers outstanding the first ones stand
// for all, so that a long pipeline costs no more than a short one.
func (q *replies) unsettled(name []byte, region uint64) bool {
	const most = 64
	for i := range min(q.data.n, most) {
		d := q.data.at(i)
		if d.region >= region {
			return false
		}
		if d.name == string(name) {
			return true
		}
	}
	return q.data.n > most
}

func (q *replies) empty() bool { return q.kinds.n == 0 }

// head returns what is expected next, 0 for nothing.
func (q *replies) head() replyKind {
	if q.kinds.n == 0 {
		return 0
	}
	return *q.kinds.at(0)
}

func (q *replies) pop() {
	if q.kinds.pop() <= replySync {
		q.asked--
	}
}

// fail drops what an error of the server makes it skip: everything up to the next Sync. undo is called for the
// entries that carry data, newest first. unsynced says that messages of the extended protocol were forwarded and no Sync behind them:
// then an error that answers none of them, such as that their time is over, makes the server skip too.
func (q *replies) fail(undo func(k replyKind, d *replyData), unsynced bool) {
	switch q.head() {
	case replyQuery, replySync:
		return // ReadyForQuery follows by itself
	case 0:
		q.skipping = q.skipping || unsynced
		return
	}
	n, nd := 0, 0
	for ; n < q.kinds.n && *q.kinds.at(n) != replySync; n++ {
		if *q.kinds.at(n) >= replyParseNamed {
			nd++
		}
	}
	j := nd
	for i := n - 1; i >= 0; i-- {
		if k := *q.kinds.at(i); k >= replyParseNamed {
			j--
			undo(k, q.data.at(j))
		}
	}
	for range n {
		q.pop()
	}
	for range nd {
		q.data.pop()
	}
	q.skipping = q.kinds.n == 0
}

// copyStarted is called when the server has begun a COPY from the client for the Execute or Query at the head:
// if it reads, it ignores the Syncs that were sent behind it. It returns how many those are, and reports whether the client
// has already ended the COPY.
func (q *replies) copyStarted() (syncs int, ended bool) {
	for q.kinds.n > 1 && *q.kinds.at(1) == replySync {
		q.kinds.remove(1)
		q.asked--
		syncs++
	}
	if ended = q.kinds.n > 1 && *q.kinds.at(1) == replyCopyEnd; ended {
		q.kinds.remove(1) // a Query may have another COPY behind this one
	}
	return syncs, ended
}

// queryAndSyncs reports whether the last messages are a Query and Syncs: if the Query is a COPY, it may swallow them.
func (q *replies) queryAndSyncs() bool {
	i := q.kinds.n
	for ; i > 0 && *q.kinds.at(i - 1) == replySync; i-- {
	}
	return i > 0 && i < q.kinds.n && *q.kinds.at(i - 1) == replyQuery
}

// reset forgets everything, undoing as fail does.
func (q *replies) reset(undo func(k replyKind, d *replyData)) {
	j := q.data.n
	for i := q.kinds.n - 1; i >= 0; i-- {
		if k := *q.kinds.at(i); k >= replyParseNamed {
			j--
			undo(k, q.data.at(j))
		}
	}
	q.kinds.clear()
	q.init()
	q.data.clear()
	q.asked, q.skipping = 0, false
}

// ring is a first-in first-out queue that grows as needed and gives large memory back when it is empty.
type ring[T any] struct {
	b       []T // length is a power of two
	head, n int
}

// ringKeep is how many entries an empty ring keeps memory for.
const ringKeep = 256

func (r *ring[T]) at(i int) *T { return &r.b[(r.head+i)&(len(r.b)-1)] }

func (r *ring[T]) push(v T) {
	if r.n == len(r.b) {
		b := make([]T, max(16, 2*len(r.b)))
		for i := range r.n {
			b[i] = *r.at(i)
		}
		r.b, r.head = b, 0
	}
	r.n++
	*r.at(r.n - 1) = v
}

func (r *ring[T]) pop() T {
	var zero T
	p := r.at(0)
	v := *p
	*p = zero
	r.head = (r.head + 1) & (len(r.b) - 1)
	if r.n--; r.n == 0 && len(r.b) > ringKeep {
		r.clear()
	}
	return v
}

// remove takes out entry i.
func (r *ring[T]) remove(i int) {
	for ; i < r.n-1; i++ {
		*r.at(i) = *r.at(i + 1)
	}
	var zero T
	*r.at(r.n - 1) = zero
	r.n--
}

func (r *ring[T]) clear() { *r = ring[T]{} }
