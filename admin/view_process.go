package admin

import (
	"strconv"
	"time"

	"pgdrover/pooler"
)

type pair struct{ key, value string }

type item struct {
	name string
	n    int
}

func viewLists() *view {
	return viewOf("lists", "how many there are of each thing", func(e *env) []item {
		l := e.ctl.Lists()
		return []item{
			{"databases", l.Databases},
			{"users", l.Users},
			{"peers", l.Peers},
			{"pools", l.Pools},
			{"peer_pools", l.PeerPools},
			{"free_clients", l.FreeClients},
			{"used_clients", l.UsedClients},
			{"login_clients", l.LoginClients},
			{"free_servers", l.FreeServers},
			{"used_servers", l.UsedServers},
			{"dns_names", l.DNSNames},
			{"dns_zones", l.DNSZones},
			{"dns_queries", l.DNSQueries},
			{"dns_pending", l.DNSPending},
		}
	},
		fText("list", "name of the list", func(r item) string { return r.name }),
		fInt4("items", "how long it is", func(r item) int { return r.n }),
	)
}

func viewState() *view {
	return viewOf("state", "the state of the process; config_error while the configuration file is not in force", func(e *env) []pair {
		s := e.ctl.State()
		rows := []pair{
			{"active", yesNo(s.Active)},
			{"paused", yesNo(s.Paused)},
			{"suspended", yesNo(s.Suspended)},
			{"shutting_down", yesNo(s.ShuttingDown)},
			{"started", showTime(s.Started)},
			{"processors", strconv.Itoa(s.Processors)},
			{"max_processors", strconv.Itoa(s.MaxProcessors)},
			{"uptime_s", strconv.FormatInt(int64(age(e.now, s.Started)/time.Second), 10)},
		}
		st := e.cfg.Status()
		rows = append(rows, pair{"config_error", st.Err})
		if st.Err != "" {
			rows = append(rows, pair{"config_error_time", showTime(time.Unix(st.At, 0))})
		}
		return rows
	},
		fText("key", "what", func(r pair) string { return r.key }),
		fText("value", "yes or no for the first four", func(r pair) string { return r.value }),
	)
}

func viewMem() *view {
	type m = pooler.MemInfo
	return viewOf("mem", "objects and the memory they take", func(e *env) []m { return e.ctl.Mem() },
		fText("name", "kind of object", func(r m) string { return r.Name }),
		fInt4("size", "bytes of one", func(r m) int { return r.Size }),
		fInt4("used", "in use", func(r m) int { return r.Used }),
		fInt4("free", "kept for reuse", func(r m) int { return r.Free }),
		fInt4("memtotal", "bytes of all", func(r m) int { return r.Size * (r.Used + r.Free) }),
	)
}

// compatible is the PgBouncer release whose console this one is like. Exporters look for it in SHOW VERSION.
const compatible = "1.25.2"

func viewVersion() *view {
	return viewOf("version", "what is compatible with which release of PgBouncer", func(e *env) []string {
		return []string{"PgBouncer " + compatible + " compatible; pgdrover " + e.opts.Version}
	},
		fText("version", "one line", func(r string) string { return r }),
	)
}

// DNSHost is a row of SHOW DNS_HOSTS.
type DNSHost struct {
	Hostname string
	TTL      int64  // seconds for which the answer still holds
	Addrs    string // comma list of address:port, the port being 0
}

func viewDNSHosts() *view {
	return viewOf("dns_hosts", "host names in the DNS cache", func(e *env) []DNSHost {
		if e.opts.DNSHosts == nil {
			return nil
		}
		return e.opts.DNSHosts()
	},
		fText("hostname", "host name", func(r DNSHost) string { return r.Hostname }),
		fInt8("ttl", "seconds until it is looked up again", func(r DNSHost) int64 { return r.TTL }),
		fText("addrs", "its addresses", func(r DNSHost) string { return r.Addrs }),
	)
}

func viewDNSZones() *view {
	type none = struct{}
	return viewOf("dns_zones", "DNS zones that are polled for changes; empty", func(*env) []none { return nil },
		fText("zonename", "name of the zone", func(none) string { return "" }),
		fInt8("serial", "its serial number", func(none) int64 { return 0 }),
		fInt4("count", "host names in it", func(none) int { return 0 }),
	)
}
