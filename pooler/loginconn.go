package pooler

// loginConn is a plain connection before its session begins. It reads ahead, so that a startup packet costs one system
// call; what it has read too much the session takes over.
type loginConn struct {
	*quietConn
	fd   int
	b    []byte
	r, w int
}

// loginBuf holds all that clients usually send before they are answered.
const loginBuf = 1024

func newLoginConn(nc *accepted) (*loginConn, error) {
	rc, err := nc.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &loginConn{quietConn: newQuietConn(nc, rc), fd: nc.fd, b: make([]byte, loginBuf)}, nil
}

// excess returns what was read and not asked for yet.
func (c *loginConn) excess() []byte { return c.b[c.r:c.w] }

// Read returns what was read ahead, or reads.
func (c *loginConn) Read(p []byte) (n int, err error) {
	if c.r == c.w {
		if len(p) >= len(c.b) {
			return c.quietConn.Read(p)
		}
		c.r = 0
		if c.w, err = c.quietConn.Read(c.b); err != nil {
			return 0, err
		}
	}
	n = copy(p, c.b[c.r:c.w])
	c.r += n
	return n, nil
}
