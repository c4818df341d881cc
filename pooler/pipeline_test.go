package pooler

import (
	"bytes"
	"strings"
	"testing"

	"pgdrover/internal/config"
)

// A client that sends more than a buffer of messages before its Sync used to wait for answers for ever: PostgreSQL keeps
// them back until the Sync, which nobody read.
func TestAPipelineLargerThanTheBufferReachesItsSync(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	one := bytes.Join([][]byte{
		msg('P', "\x00select "+strings.Repeat("y", 100)+"\x00\x00\x00"), msg('B', "\x00\x00\x00\x00\x00\x00\x00\x00"), msg('E', "\x00\x00\x00\x00\x00"),
	}, nil)
	for name, stream := range map[string][]byte{
		"many messages": append(bytes.Repeat(one, 1000), msg('S')...),
		"a large Bind": bytes.Join([][]byte{
			msg('P', "\x00select 1\x00\x00\x00"), msg('B', "\x00\x00\x00\x00\x00\x01\x00\x00\x9c\x40", strings.Repeat("v", 40000), "\x00\x00"),
			msg('E', "\x00\x00\x00\x00\x00"), msg('S'),
		}, nil),
		"a large Parse": bytes.Join([][]byte{
			msg('P', "\x00select ", strings.Repeat("v", 40000), "\x00\x00\x00"), msg('B', "\x00\x00\x00\x00\x00\x00\x00\x00"),
			msg('E', "\x00\x00\x00\x00\x00"), msg('S'),
		}, nil),
	} {
		for _, max := range []int{0, 10} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				f := r.pool(config.PoolTransaction)
				s := f.server(nil)
				c := f.client(max, nil)
				direct := newBackend().feed(stream)
				within(t, func() {
					if err := c.drive(stream); err != errIdle {
						t.Error(err)
					}
					c.leave()
				})
				if got := c.mem.got(); !bytes.Equal(got, direct) {
					t.Errorf("the client got %d bytes, of PostgreSQL it would have got %d", len(got), len(direct))
				}
				if s.closed.Load() || f.idle() != 1 {
					t.Error("the server did not come back")
				}
			})
		}
	}
}
