package connect

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// sockoptWant are the values that TestSocketOptions sets; Linux doubles buffer sizes.
var sockoptWant = map[string]int{
	"tcp_keepalive": 1, "tcp_keepcnt": 3, "tcp_keepidle": 11, "tcp_keepintvl": 7, "tcp_user_timeout": 9000, "tcp_socket_buffer": 2 * 65536,
}

func sockopt(t testing.TB, c *net.TCPConn, name string) (value int) {
	t.Helper()
	opt := map[string][2]int{
		"tcp_keepalive":     {unix.SOL_SOCKET, unix.SO_KEEPALIVE},
		"tcp_keepcnt":       {unix.IPPROTO_TCP, unix.TCP_KEEPCNT},
		"tcp_keepidle":      {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE},
		"tcp_keepintvl":     {unix.IPPROTO_TCP, unix.TCP_KEEPINTVL},
		"tcp_user_timeout":  {unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT},
		"tcp_socket_buffer": {unix.SOL_SOCKET, unix.SO_RCVBUF},
	}[name]
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) { value, err = unix.GetsockoptInt(int(fd), opt[0], opt[1]) }); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return value
}
