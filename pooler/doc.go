// Package pooler is the data plane: all that a byte passes through between a client and PostgreSQL.
//
// It owns the listeners, the sessions of clients, the pools and their servers, prepared statements and parameters that
// follow a client from server to server, cancel keys, and the counters. It knows the admin database only as an
// [AdminServer], and is steered through [Control].
//
// # The way of a query
//
//	acceptor.accept    a connection                                               acceptor.go, listener.go
//	Pooler.login       startup packet, TLS, authentication, welcome               startup.go, login.go
//	client.process     frame what has come into units that want an answer         forward.go
//	client.checkout    take a server, or wait; give it the client's parameters    checkout.go, parameters.go
//	client.forward     rewrite statement names, note the replies to expect        forward.go, rename.go, reply.go
//	client.relay       write to the server, read it, write to the client          relay.go, duplex.go
//	pool.release       back to the pool, or to the client that waits longest      pool.go
//
// A unit is everything up to the last complete message that makes the server answer (Query, Sync, Flush, FunctionCall), or
// a full buffer. In the common case it is forwarded from the buffer that it was read into, and so is the answer.
// A message that is larger than the buffer streams through; only a Parse that has to be remembered is read whole.
//
// # Invariants
//
//   - A server has one holder: the session it is linked to, the pool while it is idle, or a goroutine of the pool that tests,
//     resets or opens it. Only the holder reads, writes or closes it; others may read its atomic fields and interrupt it.
//   - A server is released when its stream stands exactly behind a ReadyForQuery with status idle, no reply is outstanding, nothing
//     was forwarded without a Sync, and no message is half way. That is before the last bytes have gone to a slow client.
//   - A server of which any of this is in doubt is closed, not repaired. So is one whose client vanished in a transaction.
//   - Every message that makes the server say something has an entry in the queue of replies, in order; ReadyForQuery ends
//     what an error has made the server skip. A reply that does not fit the queue means that the server is out of step.
//   - A statement counts as prepared on a server from ParseComplete on. Before that, only messages of the same stretch
//     between two Syncs may rely on it: an error makes the server skip both, or neither.
//   - An error of ours never ends half a pipeline: while a server is linked, the server raises it (an unknown statement is
//     forwarded and fails there), or client and server are both closed.
//   - Texts of statements are counted by reference: one for each name of a client, each server and each pending reply. When all of
//     them take more than maxTexts, servers give up those that no client has any more; a client's own may take maxClientTexts.
//   - What a name means may depend on answers that have not come: behind DEALLOCATE or DISCARD, and in another region than a Parse
//     or Close of the same name that may still fail. Then the unit ends there, with a Flush, and goes on when they are here.
//
// # Goroutines
//
//   - one for each listener, which accepts
//   - one for each client, from its first byte to its last; it also reads the server while the traffic is a simple back and forth
//   - pump, in duplex mode: it reads the server and writes to the client while the client's goroutine writes to the server
//     (COPY, long pipelines, slow readers). Then client.mu guards what both touch; it ends with the last expected reply.
//   - hub.run and hub.write, for each connection that listens for clients of transaction mode
//   - pool.connect, for each server that is being opened, and short ones that reset, test or cancel
//   - recoverLoop, which finishes what crashes have left on shards, over connections of its own (own.go)
//   - lookout.run, for each shard that is late with its answer to a question of ours about a transaction
//   - the timer of a large answer (gather.go), which touches nothing but the socket
//   - the janitor, which compares timestamps with time limits, so that a query sets no timer
//   - the watcher, which waits for connections that were closed while nobody reads them
//
// All of them end with [Pooler.Close].
//
// # Locks
//
// hub.mu is taken with none of them held, and client.inboxMu inside it. The others, in the order in which they may be taken:
// client.mu, then pool.mu, then one of ledger.mu, Pooler.mu and stmtTable.mu, which
// are taken last and together with none of each other. No lock is held over I/O. client.interrupt takes client.mu, so
// it and kill must not be called with pool.mu held: collect the clients first.
//
// # Why
//
// One RawConn callback and direct system calls, not net.Conn: a session stays inside one callback of the runtime's poller and
// waits there for readability. A net.Conn tries to read first, finds nothing, and only then waits: one system call more for
// every message in each direction, which was the larger part of a pooler's CPU time in measurements (1.6 times that of a
// pooler in C, against 1.0 to 1.2). The calls go past the scheduler's bookkeeping (RawSyscall), which is safe because the
// descriptors never block. TLS takes the ordinary path behind the same interface.
//
// Own framing, not pgproto3: a pooler needs the type and the length of most messages and the contents of few. Decoding them
// costs an order of magnitude more, and a decoder has to hold the largest message whole.
//
// SO_RCVLOWAT while a large answer comes: PostgreSQL writes 8 kB at a time, and to be woken for each of them was two thirds of the CPU time
// of a large result (1.4 ms per MB before, 0.6 with it). See gather.go for how the end of the answer is not missed.
//
// Our own accept: net's tells the scheduler of system calls that never block, which keeps the runtime's monitor awake. At thousands of logins a
// second that cost 20 % of the CPU time; the monitor's part went from 19 to 6 % (perf), and that of a login from 118 to 98 µs.
//
// A watcher for EPOLLRDHUP only: after a short read there is no second one that would see the end of the stream, and nobody
// reads an idle server or a client in the queue. The kernel reports the end at once and wakes nobody while data flows.
//
// One byte for each expected reply: a client may pipeline a hundred thousand statements before it reads; the few replies that
// carry something to do have an entry in a second queue.
package pooler
