package connect

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
)

// nameservers reads the nameserver lines of a resolv.conf.
func nameservers(file string) ([]string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("resolv_conf: %w", err)
	}
	var servers []string
	for i, line := range strings.Split(string(data), "\n") {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] != "nameserver" {
			continue
		}
		if len(f) < 2 {
			return nil, fmt.Errorf("resolv_conf: %s:%d: nameserver without an address", file, i+1)
		}
		ip, err := netip.ParseAddr(f[1])
		if err != nil {
			return nil, fmt.Errorf("resolv_conf: %s:%d: %w", file, i+1, err)
		}
		servers = append(servers, net.JoinHostPort(ip.String(), "53"))
	}
	if len(servers) == 0 {
		return nil, fmt.Errorf("resolv_conf: %s: no nameserver", file)
	}
	return servers, nil
}

// customResolver asks the given servers instead of the system's, in turn: Go's resolver tries again by itself.
func customResolver(servers []string) *net.Resolver {
	var next atomic.Uint32
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		i := next.Add(1) - 1
		return (&net.Dialer{}).DialContext(ctx, network, servers[int(i)%len(servers)])
	}}
}
