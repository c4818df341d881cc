package admin

import (
	"fmt"
	"time"

	"pgdrover/pooler"
)

// socket is a row of SHOW CLIENTS, SERVERS and SOCKETS: one of client and server is set.
type socket struct {
	*pooler.SocketInfo
	client *pooler.ClientInfo
	server *pooler.ServerInfo
	state  string
	now    time.Time
}

// idMask keeps ids inside the integer that PgBouncer shows them as; kill_client finds them by it.
const idMask = 1<<31 - 1

func shownID(id uint64) int { return int(id & idMask) }

// ptr is the opaque name by which link points at the other side. Clients and servers never share one.
func ptr(server bool, id uint64) string {
	if id == 0 {
		return ""
	}
	side := uint64(0xc)
	if server {
		side = 0x5
	}
	return fmt.Sprintf("0x%x", side<<44|id&(1<<44-1))
}

func (s socket) wait() time.Duration {
	if s.client == nil {
		return 0
	}
	return s.client.Wait
}

func age(now, since time.Time) time.Duration {
	if since.IsZero() {
		return 0
	}
	return max(now.Sub(since), time.Microsecond)
}

// socketFields are the columns that PgBouncer shows of clients and servers alike.
func socketFields(more ...field[socket]) []field[socket] {
	return append([]field[socket]{
		fText("type", "C for a client, S for a server", func(s socket) string {
			if s.server != nil {
				return "S"
			}
			return "C"
		}),
		fText("user", "user name of the connection", func(s socket) string { return s.User }),
		fText("database", "database name as clients know it", func(s socket) string { return s.Database }),
		fText("replication", "none, logical or physical", func(s socket) string { return s.Replication }),
		fText("state", "what the connection is doing", func(s socket) string { return s.state }),
		fText("addr", "address of the other end; unix for a Unix socket", func(s socket) string { return s.Addr }),
		fInt4("port", "port of the other end", func(s socket) int { return s.Port }),
		fText("local_addr", "address of this end", func(s socket) string { return s.LocalAddr }),
		fInt4("local_port", "port of this end", func(s socket) int { return s.LocalPort }),
		fText("connect_time", "when the connection was made", func(s socket) string { return showTime(s.ConnectTime) }),
		fText("request_time", "when the last request came, or the server was last handed out", func(s socket) string { return showTime(s.RequestTime) }),
		fInt4("wait", "whole seconds that the client has been waiting for a server", func(s socket) int { return int(s.wait() / time.Second) }),
		fInt4("wait_us", "the microseconds beyond them", func(s socket) int { return int(s.wait() % time.Second / time.Microsecond) }),
		fInt4("close_needed", "1 if it will be closed when it is next idle", func(s socket) int { return oneZero(s.CloseNeeded) }),
		fText("ptr", "opaque name of this connection", func(s socket) string { return ptr(s.server != nil, s.ID) }),
		fText("link", "ptr of the connection it is linked to", func(s socket) string { return ptr(s.server == nil, s.LinkID) }),
		fInt4("remote_pid", "process id of the other end, if known", func(s socket) int { return s.RemotePID }),
		fText("tls", "protocol and cipher, empty without TLS", func(s socket) string { return s.TLS }),
		fText("application_name", "application_name in force", func(s socket) string { return s.ApplicationName }),
		fInt4("prepared_statements", "statements prepared on this connection", func(s socket) int { return s.PreparedStatements }),
		fInt4("id", "number of this connection, for KILL_CLIENT", func(s socket) int { return shownID(s.ID) }),
	}, more...)
}

func clientSockets(e *env, state func(*pooler.ClientInfo) string) []socket {
	infos := e.ctl.Clients()
	out := make([]socket, 0, len(infos))
	for i := range infos {
		c := &infos[i]
		if st := state(c); st != "" {
			out = append(out, socket{SocketInfo: &c.SocketInfo, client: c, state: st, now: e.now})
		}
	}
	return out
}

func serverSockets(e *env, state func(*pooler.ServerInfo) string) []socket {
	infos := e.ctl.Servers()
	out := make([]socket, 0, len(infos))
	for i := range infos {
		s := &infos[i]
		if st := state(s); st != "" {
			out = append(out, socket{SocketInfo: &s.SocketInfo, server: s, state: st, now: e.now})
		}
	}
	return out
}

func viewClients() *view {
	return viewOf("clients", "client connections", func(e *env) []socket {
		return clientSockets(e, func(c *pooler.ClientInfo) string {
			if c.State == pooler.ClientLogin {
				return "" // as PgBouncer: not before they have logged in; SHOW SOCKETS has them
			}
			return string(c.State)
		})
	}, socketFields(
		fText("pool_mode", "pool mode in force", func(s socket) string { return s.client.PoolMode }),
		fInt4("in_transaction", "1 inside a transaction block", func(s socket) int { return oneZero(s.client.InTx) }),
		fSeconds("xact_age_s", "seconds since its transaction began, NULL outside one", func(s socket) time.Duration { return age(s.now, s.client.XactStart) }),
		fSeconds("query_age_s", "seconds since its query began, NULL while none runs", func(s socket) time.Duration { return age(s.now, s.client.QueryStart) }),
		fText("query", "what it last ran: the command word, or the text with log_queries", func(s socket) string { return s.client.Query }),
		fText("pinned", "what keeps its server between transactions: temporary objects, advisory locks, cursors WITH HOLD, PREPARE", func(s socket) string { return s.client.Pinned }),
	)...)
}

func viewServers() *view {
	return viewOf("servers", "server connections", func(e *env) []socket {
		return serverSockets(e, func(s *pooler.ServerInfo) string { return string(s.State) })
	}, socketFields(
		fText("server_version", "server_version of the PostgreSQL behind it", func(s socket) string { return s.server.ServerVersion }),
		fText("pinned", "what keeps it with its client between transactions; LISTEN and recovery: a connection of pgdrover's own", func(s socket) string { return s.server.Pinned }),
		fNull("shard", "shard of a sharded database", func(s socket) string { return s.server.Shard }),
	)...)
}

// socketOnly are PgBouncer's buffer positions. Our buffers are taken only while bytes are on their way, so
// there is nothing to show between two requests.
func socketOnly() []field[socket] {
	zero := func(socket) int { return 0 }
	return []field[socket]{
		fInt4("recv_pos", "always 0; for PgBouncer's layout", zero),
		fInt4("pkt_pos", "always 0; for PgBouncer's layout", zero),
		fInt4("pkt_remain", "always 0; for PgBouncer's layout", zero),
		fInt4("send_pos", "always 0; for PgBouncer's layout", zero),
		fInt4("send_remain", "always 0; for PgBouncer's layout", zero),
		fInt4("pkt_avail", "always 0; for PgBouncer's layout", zero),
		fInt4("send_avail", "always 0; for PgBouncer's layout", zero),
	}
}

func clientSocketState(c *pooler.ClientInfo) string {
	switch c.State {
	case pooler.ClientLogin:
		return "cl_login"
	case pooler.ClientWaiting:
		return "cl_waiting"
	default:
		return "cl_active"
	}
}

func serverSocketState(s *pooler.ServerInfo) string {
	switch s.State {
	case pooler.ServerIdle:
		return "sv_idle"
	case pooler.ServerUsed:
		return "sv_used"
	case pooler.ServerTested:
		return "sv_tested"
	case pooler.ServerNew:
		return "sv_login"
	default:
		return "sv_active"
	}
}

func viewSockets() *view {
	return viewOf("sockets", "client and server connections together", func(e *env) []socket {
		return append(clientSockets(e, clientSocketState), serverSockets(e, serverSocketState)...)
	}, socketFields(socketOnly()...)...)
}

func viewActiveSockets() *view {
	return viewOf("active_sockets", "the connections among them that are linked to another now", func(e *env) []socket {
		linked := func(state string, link uint64) string {
			if link == 0 {
				return ""
			}
			return state
		}
		return append(
			clientSockets(e, func(c *pooler.ClientInfo) string { return linked(clientSocketState(c), c.LinkID) }),
			serverSockets(e, func(s *pooler.ServerInfo) string { return linked(serverSocketState(s), s.LinkID) })...)
	}, socketFields(socketOnly()...)...)
}

func viewWaiters() *view {
	type w = pooler.WaiterInfo
	return viewOf("waiters", "clients that wait for a server, why, and who has held one for longest", func(e *env) []w { return e.ctl.Waiters() },
		fInt4("client_id", "id in SHOW CLIENTS", func(r w) int { return shownID(r.ClientID) }),
		fText("database", "database it waits for", func(r w) string { return r.Database }),
		fText("user", "user of the pool", func(r w) string { return r.User }),
		fText("addr", "address of the client", func(r w) string { return r.Addr }),
		fText("application_name", "application_name of the client", func(r w) string { return r.ApplicationName }),
		field[w]{column{"waited_s", tFloat8, "seconds waited so far"}, func(r w) any { return seconds(r.Wait) }},
		fInt4("position", "place in the queue of its pool, from 1", func(r w) int { return r.Position }),
		fInt4("in_use", "servers of the pool in use", func(r w) int { return r.InUse }),
		fInt4("max", "servers that the pool may have", func(r w) int { return r.Max }),
		fText("reason", "which limit or state it waits for", func(r w) string { return r.Reason }),
		field[w]{column{"holder_id", tInt4, "id of the client that has held a server of the pool for longest"}, func(r w) any {
			if r.HolderID == 0 {
				return nil
			}
			return int64(shownID(r.HolderID))
		}},
		fNull("holder_application_name", "its application_name", func(r w) string { return r.HolderApplicationName }),
		fNull("holder_state", "active, idle in transaction, idle (in session mode), or pinned (SHOW CLIENTS says by what)", func(r w) string { return r.HolderState }),
		fSeconds("holder_for_s", "seconds since it was given the server", func(r w) time.Duration { return r.HolderFor }),
		fSeconds("holder_query_age_s", "seconds since its last query began", func(r w) time.Duration { return r.HolderQueryAge }),
		fNull("holder_query", "what it last ran: the command word, or the text with log_queries", func(r w) string { return r.HolderQuery }),
		field[w]{column{"holder_server_pid", tInt4, "process id of its backend"}, func(r w) any {
			if r.HolderServerPID == 0 {
				return nil
			}
			return int4(int64(r.HolderServerPID))
		}},
	)
}
