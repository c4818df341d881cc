package auth

import (
	"errors"
	"fmt"
	"os/user"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// PeerCred is who is at the other end of a Unix socket, as of when it connected.
type PeerCred struct {
	PID      int // 0 if it is outside our process namespace
	UID, GID uint32
}

// PeerCredentials asks the kernel who connected to a Unix socket (a *net.UnixConn, for example).
func PeerCredentials(c syscall.Conn) (PeerCred, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return PeerCred{}, fmt.Errorf("peer credentials: %w", err)
	}
	var cred *unix.Ucred
	var optErr error
	if err := raw.Control(func(fd uintptr) {
		cred, optErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return PeerCred{}, fmt.Errorf("peer credentials: %w", err)
	}
	if optErr != nil {
		return PeerCred{}, fmt.Errorf("peer credentials: %w", optErr)
	}
	if cred.Pid == 0 && cred.Uid == ^uint32(0) {
		return PeerCred{}, errors.New("peer credentials: the kernel does not know the peer")
	}
	return PeerCred{PID: int(cred.Pid), UID: cred.Uid, GID: cred.Gid}, nil
}

// UserName returns the operating system's name of the peer's user, for Request.PeerUser.
func (p PeerCred) UserName() (string, error) {
	u, err := user.LookupId(strconv.FormatUint(uint64(p.UID), 10))
	if err != nil {
		return "", fmt.Errorf("name of uid %d: %w", p.UID, err)
	}
	return u.Username, nil
}
