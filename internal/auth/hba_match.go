package auth

import (
	"net"
	"net/netip"
)

// Match returns the first rule that is for the connection. ok is false if there is none: the client must be
// refused (ErrNoMethod).
func (h *HBA) Match(c HBAConn) (r Rule, ok bool) {
	c.Addr = c.Addr.Unmap().WithZone("")
	for i := range h.rules {
		if h.rules[i].matches(&c) {
			return h.rules[i].Rule, true
		}
	}
	return Rule{}, false
}

func (r *hbaRule) matches(c *HBAConn) bool {
	return r.matchesConn(c) && r.matchesDatabase(c) && r.matchesUser(c.User) && r.matchesAddr(c)
}

func (r *hbaRule) matchesConn(c *HBAConn) bool {
	switch r.conn {
	case connLocal:
		return c.Local
	case connHostSSL:
		return !c.Local && c.TLS
	case connHostNoSSL:
		return !c.Local && !c.TLS
	case connHostGSS:
		return false // we never encrypt with GSSAPI
	default:
		return !c.Local
	}
}

func (r *hbaRule) matchesDatabase(c *HBAConn) bool {
	for i := range r.databases {
		n := &r.databases[i]
		if c.Replication || n.word == nameReplication {
			if c.Replication && n.word == nameReplication {
				return true
			}
			continue
		}
		if n.word == nameSameUser && c.Database == c.User || n.matches(c.Database) {
			return true
		}
	}
	return false
}

func (r *hbaRule) matchesUser(user string) bool {
	for i := range r.users {
		if r.users[i].matches(user) {
			return true
		}
	}
	return false
}

func (n *hbaName) matches(s string) bool {
	switch n.word {
	case nameAll:
		return true
	case nameRegexp:
		return n.re.MatchString(s)
	case nameExact:
		return n.text == s
	default:
		return false
	}
}

func (r *hbaRule) matchesAddr(c *HBAConn) bool {
	if r.conn == connLocal || r.addr == addrAll {
		return true
	}
	if !c.Addr.IsValid() {
		return false
	}
	ip := c.Addr.AsSlice()
	if r.addr == addrMask {
		return sameNet(ip, r.ip, r.mask)
	}
	// Addresses of interfaces come and go, so they are asked for each time, as PostgreSQL does.
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		own, ok := netip.AddrFromSlice(n.IP)
		if !ok {
			continue
		}
		own = own.Unmap()
		mask := []byte(n.Mask)
		if r.addr == addrSameHost {
			mask = net.CIDRMask(own.BitLen(), own.BitLen())
		}
		if sameNet(ip, own.AsSlice(), mask) {
			return true
		}
	}
	return false
}

func sameNet(a, b, mask []byte) bool {
	if len(a) != len(b) || len(a) != len(mask) {
		return false
	}
	for i := range a {
		if (a[i]^b[i])&mask[i] != 0 {
			return false
		}
	}
	return true
}
