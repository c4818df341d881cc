package admin

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"pgdrover/internal/config"
	"pgdrover/internal/stats"
	"pgdrover/pooler"
)

// quantileFields are three columns in µs of a latency that every pool keeps.
func quantileFields(name, of string, get func(pooler.PoolInfo) stats.Quantiles) []field[pooler.PoolInfo] {
	us := func(d time.Duration) int64 { return d.Microseconds() }
	return []field[pooler.PoolInfo]{
		fInt8(name+"_p50", "median "+of+" since start, µs", func(p pooler.PoolInfo) int64 { return us(get(p).P50) }),
		fInt8(name+"_p95", "95 % of them took at most this, µs", func(p pooler.PoolInfo) int64 { return us(get(p).P95) }),
		fInt8(name+"_p99", "99 % of them took at most this, µs", func(p pooler.PoolInfo) int64 { return us(get(p).P99) }),
	}
}

func viewPools() *view {
	type p = pooler.PoolInfo
	fields := []field[p]{
		fText("database", "database name as clients know it", func(r p) string { return r.Database }),
		fText("user", "user name towards the server", func(r p) string { return r.User }),
		fInt4("cl_active", "clients that are linked to a server or have nothing to do", func(r p) int { return r.ClActive }),
		fInt4("cl_waiting", "clients that wait for a server", func(r p) int { return r.ClWaiting }),
		fInt4("cl_active_cancel_req", "cancel requests that are being sent to a server", func(r p) int { return r.ClActiveCancelReq }),
		fInt4("cl_waiting_cancel_req", "cancel requests that have not been sent yet", func(r p) int { return r.ClWaitingCancelReq }),
		fInt4("sv_active", "servers that are linked to a client", func(r p) int { return r.SvActive }),
		fInt4("sv_active_cancel", "servers that carry a cancel request", func(r p) int { return r.SvActiveCancel }),
		fInt4("sv_being_canceled", "servers kept back until a cancel request for them is over", func(r p) int { return r.SvBeingCanceled }),
		fInt4("sv_idle", "servers ready for a client", func(r p) int { return r.SvIdle }),
		fInt4("sv_used", "servers idle for longer than server_check_delay", func(r p) int { return r.SvUsed }),
		fInt4("sv_tested", "servers in server_reset_query or server_check_query", func(r p) int { return r.SvTested }),
		fInt4("sv_login", "servers that are logging in", func(r p) int { return r.SvLogin }),
		fInt4("maxwait", "whole seconds that the oldest waiter has waited", func(r p) int { return int(r.MaxWait / time.Second) }),
		fInt4("maxwait_us", "the microseconds beyond them", func(r p) int { return int(r.MaxWait % time.Second / time.Microsecond) }),
		fText("pool_mode", "session, transaction or statement", func(r p) string { return r.PoolMode }),
		fNull("load_balance_hosts", "how hosts are chosen, if there are several", func(r p) string { return r.LoadBalanceHosts }),
		fInt4("pool_size", "servers that the pool may have", func(r p) int { return r.PoolSize }),
		fInt4("reserve_pool_size", "servers it may have beyond that when clients wait for long", func(r p) int { return r.ReservePoolSize }),
		fInt4("paused", "1 while its database is paused", func(r p) int { return oneZero(r.Paused) }),
	}
	fields = append(fields, quantileFields("query", "time of a query", func(r p) stats.Quantiles { return r.Query })...)
	fields = append(fields, quantileFields("xact", "time of a transaction", func(r p) stats.Quantiles { return r.Xact })...)
	fields = append(fields, quantileFields("wait", "wait for a server", func(r p) stats.Quantiles { return r.WaitTimes })...)
	fields = append(fields, quantileFields("connect", "time to connect and log in to a server", func(r p) stats.Quantiles { return r.Connect })...)
	fields = append(fields,
		fNull("last_error", "why the last login to a server failed; NULL after a success", func(r p) string { return r.LastError }),
		fNull("last_error_time", "when that was", func(r p) string { return showTime(r.LastErrorAt) }),
		fNull("shard", "shard of a sharded database", func(r p) string { return r.Shard }))
	return viewOf("pools", "pools: one for each database, shard and server user", func(e *env) []p { return e.ctl.Pools() }, fields...)
}

func viewPeerPools() *view {
	zero := func(struct{}) int { return 0 }
	return viewOf("peer_pools", "pools towards peers; empty", func(*env) []struct{} { return nil },
		fInt4("peer_id", "number of the peer", zero),
		fInt4("cl_active_cancel_req", "cancel requests that are being forwarded", zero),
		fInt4("cl_waiting_cancel_req", "cancel requests that have not been forwarded yet", zero),
		fInt4("sv_active_cancel", "connections that carry a cancel request", zero),
		fInt4("sv_login", "connections that are logging in", zero),
	)
}

func viewPeers() *view {
	type p = *config.Peer
	return viewOf("peers", "peers of the configuration", func(e *env) []p {
		var out []p
		for _, peer := range e.cfg.Current().Peers {
			out = append(out, peer)
		}
		slices.SortFunc(out, func(a, b p) int { return cmp.Compare(a.ID, b.ID) })
		return out
	},
		fInt4("peer_id", "number of the peer", func(r p) int { return r.ID }),
		fText("host", "host name or socket directory", func(r p) string { return r.Host }),
		fInt4("port", "port", func(r p) int { return r.Port }),
		fInt4("pool_size", "connections to it", func(r p) int { return r.PoolSize }),
	)
}

func viewDatabases() *view {
	type d = pooler.DatabaseInfo
	return viewOf("databases", "databases that clients can connect to", func(e *env) []d { return e.ctl.Databases() },
		fText("name", "name as clients know it", func(r d) string { return r.Name }),
		fNull("host", "host, or several; a folder of Unix sockets, or NULL for the default one", func(r d) string { return r.Host }),
		fInt4("port", "port of the servers", func(r d) int { return r.Port }),
		fText("database", "name on the server", func(r d) string { return r.Database }),
		fNull("force_user", "user for all servers, if one is set", func(r d) string { return r.ForceUser }),
		fInt4("pool_size", "servers for each pool", func(r d) int { return r.PoolSize }),
		fInt4("min_pool_size", "servers that are kept open for each pool", func(r d) int { return r.MinPoolSize }),
		fInt4("reserve_pool_size", "servers beyond pool_size when clients wait for long", func(r d) int { return r.ReservePoolSize }),
		fInt4("server_lifetime", "seconds after which a server is replaced", func(r d) int { return int(r.ServerLifetime / time.Second) }),
		fNull("pool_mode", "pool mode, if one is set for the database", func(r d) string { return r.PoolMode }),
		fNull("load_balance_hosts", "how hosts are chosen, if there are several", func(r d) string { return r.LoadBalanceHosts }),
		fInt4("max_connections", "most servers for the database, 0 for no limit", func(r d) int { return r.MaxConnections }),
		fInt4("current_connections", "servers it has", func(r d) int { return r.CurrentConnections }),
		fInt4("max_client_connections", "most clients of the database, 0 for no limit", func(r d) int { return r.MaxClientConnections }),
		fInt4("current_client_connections", "clients it has", func(r d) int { return r.CurrentClientConnections }),
		fInt4("paused", "1 while it is paused", func(r d) int { return oneZero(r.Paused) }),
		fInt4("disabled", "1 while it takes no new clients", func(r d) int { return oneZero(r.Disabled) }),
		fInt4("auto", `1 if it came into being through the "*" entry`, func(r d) int { return oneZero(r.Auto) }),
	)
}

func viewUsers() *view {
	type u = pooler.UserInfo
	size := func(n *int) string {
		if n == nil {
			return ""
		}
		return fmt.Sprintf("%9d", *n)
	}
	return viewOf("users", "users that are configured or have been seen", func(e *env) []u { return e.ctl.Users() },
		fText("name", "user name", func(r u) string { return r.Name }),
		fText("pool_size", "servers for each of its pools, if set for the user", func(r u) string { return size(r.PoolSize) }),
		fText("reserve_pool_size", "servers beyond pool_size, if set for the user", func(r u) string { return size(r.ReservePoolSize) }),
		fNull("pool_mode", "pool mode, if set for the user", func(r u) string { return r.PoolMode }),
		fInt4("max_user_connections", "most servers for the user, 0 for no limit", func(r u) int { return r.MaxUserConnections }),
		fInt4("current_connections", "servers it has", func(r u) int { return r.CurrentConnections }),
		fInt4("max_user_client_connections", "most clients of the user, 0 for no limit", func(r u) int { return r.MaxClientConnections }),
		fInt4("current_client_connections", "clients it has", func(r u) int { return r.CurrentClientConnections }),
	)
}
