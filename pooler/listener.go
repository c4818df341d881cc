package pooler

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	osuser "os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"pgdrover/internal/config"
)

// Start opens the listeners and begins to serve. inherited are sockets that systemd has opened; with any, none of
// our own are.
func (p *Pooler) Start(inherited []net.Listener) error {
	set := p.settings()
	ls := inherited
	if len(ls) == 0 {
		var err error
		if ls, err = p.listen(set); err != nil {
			return err
		}
	}
	as := make([]*acceptor, len(ls))
	for i, l := range ls {
		var err error
		if tl, ok := l.(*net.TCPListener); ok && len(inherited) > 0 {
			err = control(tl, func(fd int) error { return setListenOptions(fd, set) })
		}
		if err == nil {
			as[i], err = newAcceptor(l, p.husks)
		}
		if err != nil {
			closeAll(ls)
			return fmt.Errorf("%s: %w", listenName(l), err)
		}
	}
	p.mu.Lock()
	p.listeners = as
	p.mu.Unlock()
	for _, l := range as {
		p.log.Info().Msg("listening on " + listenName(l))
		p.wg.Add(1)
		go func() {
			defer p.wg.Done()
			p.accept(l)
		}()
	}
	p.wg.Add(1)
	go func() {
		defer p.wg.Done()
		p.janitor()
	}()
	p.wg.Add(1)
	go func() {
		defer p.wg.Done()
		p.recoverLoop()
	}()
	return nil
}

func listenName(l net.Listener) string {
	if l.Addr().Network() == "unix" {
		return "unix:" + l.Addr().String()
	}
	return l.Addr().String()
}

// listen opens every address of listen_addr, and the Unix socket.
func (p *Pooler) listen(set *config.Settings) (ls []net.Listener, err error) {
	defer func() {
		if err != nil {
			closeAll(ls)
		}
	}()
	lc := net.ListenConfig{
		Control: func(_, _ string, c syscall.RawConn) error {
			var serr error
			err := c.Control(func(fd uintptr) { serr = setListenOptions(int(fd), set) })
			return errors.Join(err, serr)
		},
		KeepAlive: -1, // set on the listening socket, from which accepted ones inherit it
	}
	lc.SetMultipathTCP(false)
	addrs, err := listenAddrs(p.ctx, set.ListenAddr)
	if err != nil {
		return nil, fmt.Errorf("listen_addr: %w", err)
	}
	for _, addr := range addrs {
		l, err := lc.Listen(p.ctx, "tcp", net.JoinHostPort(addr.ip, strconv.Itoa(set.ListenPort)))
		if addr.oneOfSeveral && (errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.EAFNOSUPPORT)) {
			p.log.Warn().Err(err).Msg("not listening on " + addr.ip) // this machine has no IPv6, most likely
			continue
		}
		if err != nil {
			return ls, fmt.Errorf("listen_addr: %w", err)
		}
		ls = append(ls, l)
		if err := setBacklog(l, set.ListenBacklog); err != nil {
			return ls, fmt.Errorf("listen_backlog: %w", err)
		}
	}
	if dir := set.UnixSocketDir; dir != "" {
		l, err := listenUnix(set)
		if err != nil {
			return ls, err
		}
		ls = append(ls, l)
	}
	if len(ls) == 0 {
		return nil, errors.New("nothing to listen on: set listen_addr or unix_socket_dir")
	}
	return ls, nil
}

// listenAddr is an address to listen on.
type listenAddr struct {
	ip           string // "" stands for all
	oneOfSeveral bool   // of a host name's
}

// listenAddrs returns the addresses that listen_addr names, each once: a name may have several, and may have one that is listed as well.
func listenAddrs(ctx context.Context, list string) (addrs []listenAddr, err error) {
	for name := range strings.SplitSeq(list, ",") {
		name = strings.TrimSpace(name)
		if name == "" {
			continue
		}
		of := []string{name}
		if name == "*" {
			of[0] = ""
		} else if _, err := netip.ParseAddr(name); err != nil {
			if of, err = net.DefaultResolver.LookupHost(ctx, name); err != nil {
				return nil, err
			}
		}
		for _, a := range of {
			if !slices.ContainsFunc(addrs, func(b listenAddr) bool { return a == b.ip }) {
				addrs = append(addrs, listenAddr{a, len(of) > 1})
			}
		}
	}
	return addrs, nil
}

// setListenOptions sets what connections inherit from the socket that they are accepted on: that costs nothing per connection.
func setListenOptions(fd int, set *config.Settings) error {
	var errs []error
	opt := func(on bool, level, name, value int, setting string) {
		if on {
			if err := unix.SetsockoptInt(fd, level, name, value); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", setting, err))
			}
		}
	}
	opt(set.SoReuseport, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1, "so_reuseport")
	opt(true, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1, "TCP_NODELAY")
	opt(set.TCPKeepalive, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1, "tcp_keepalive")
	opt(set.TCPKeepalive && set.TCPKeepidle > 0, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, set.TCPKeepidle, "tcp_keepidle")
	opt(set.TCPKeepalive && set.TCPKeepintvl > 0, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, set.TCPKeepintvl, "tcp_keepintvl")
	opt(set.TCPKeepalive && set.TCPKeepcnt > 0, unix.IPPROTO_TCP, unix.TCP_KEEPCNT, set.TCPKeepcnt, "tcp_keepcnt")
	opt(set.TCPUserTimeout > 0, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, set.TCPUserTimeout, "tcp_user_timeout")
	opt(set.TCPDeferAccept > 0, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, set.TCPDeferAccept, "tcp_defer_accept")
	opt(set.TCPSocketBuffer > 0, unix.SOL_SOCKET, unix.SO_SNDBUF, set.TCPSocketBuffer, "tcp_socket_buffer")
	opt(set.TCPSocketBuffer > 0, unix.SOL_SOCKET, unix.SO_RCVBUF, set.TCPSocketBuffer, "tcp_socket_buffer")
	return errors.Join(errs...)
}

func closeAll(ls []net.Listener) {
	for _, l := range ls {
		_ = l.Close()
	}
}

// control does something with the descriptor of a socket.
func control(s syscall.Conn, do func(fd int) error) error {
	rc, err := s.SyscallConn()
	if err != nil {
		return err
	}
	var derr error
	err = rc.Control(func(fd uintptr) { derr = do(int(fd)) })
	return errors.Join(err, derr)
}

// setBacklog applies listen_backlog, which the net package has no way to say: listening again only changes that.
func setBacklog(l net.Listener, n int) error {
	sc, ok := l.(syscall.Conn)
	if !ok || n <= 0 {
		return nil
	}
	return control(sc, func(fd int) error { return unix.Listen(fd, n) })
}

func listenUnix(set *config.Settings) (net.Listener, error) {
	path := filepath.Join(set.UnixSocketDir, ".s.PGSQL."+strconv.Itoa(set.ListenPort))
	abstract := strings.HasPrefix(path, "@")
	if !abstract {
		if nc, err := net.Dial("unix", path); err == nil {
			_ = nc.Close()
			return nil, fmt.Errorf("unix_socket_dir: %s is in use by another process", path)
		}
		_ = os.Remove(path) // left behind by a process that was killed; Listen reports any other trouble
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("unix_socket_dir: %w", err)
	}
	if err := setBacklog(l, set.ListenBacklog); err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("listen_backlog: %w", err)
	}
	if abstract {
		return l, nil
	}
	err = os.Chmod(path, os.FileMode(set.UnixSocketMode).Perm())
	if err == nil && set.UnixSocketGroup != "" {
		err = chgrp(path, set.UnixSocketGroup)
	}
	if err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("unix socket: %w", err)
	}
	return l, nil
}

func chgrp(path, group string) error {
	g, err := osuser.LookupGroup(group)
	if err != nil {
		return fmt.Errorf("unix_socket_group: %w", err)
	}
	gid, err := strconv.Atoi(g.Gid)
	if err != nil {
		return fmt.Errorf("unix_socket_group: %w", err)
	}
	return os.Chown(path, -1, gid)
}

func (p *Pooler) accept(l *acceptor) {
	for {
		nc, err := l.accept()
		if err != nil {
			if errors.Is(err, os.ErrClosed) {
				return
			}
			// Out of descriptors, most likely: wait until some are free.
			p.log.Error().Err(err).Msg("accept failed")
			select {
			case <-p.ctx.Done():
				return
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		p.wg.Add(1)
		go func() {
			defer p.wg.Done()
			p.serveConn(nc)
		}()
	}
}

// stopListening closes the listeners; the Unix socket stays for the admin database unless all is set.
func (p *Pooler) stopListening(all bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var keep []*acceptor
	for _, l := range p.listeners {
		if !all && l.Addr().Network() == "unix" {
			keep = append(keep, l)
			continue
		}
		_ = l.Close()
	}
	p.listeners = keep
}

// Addrs returns the addresses that are listened on.
func (p *Pooler) Addrs() []net.Addr {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []net.Addr
	for _, l := range p.listeners {
		out = append(out, l.Addr())
	}
	return out
}
