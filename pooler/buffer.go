package pooler

import (
	"sync"
	"sync/atomic"
)

// bufSize is the size of the buffers between two sockets. A message that is larger streams through.
const bufSize = 16 << 10

// bufPool hands out bufSize buffers; connections give theirs back when they are idle.
type bufPool struct {
	p   sync.Pool
	out atomic.Int64 // buffers in use
}

func (b *bufPool) inUse() int { return int(b.out.Load()) }

func (b *bufPool) get() *[bufSize]byte {
	b.out.Add(1)
	if x, ok := b.p.Get().(*[bufSize]byte); ok {
		return x
	}
	return new([bufSize]byte)
}

func (b *bufPool) put(x *[bufSize]byte) {
	b.out.Add(-1)
	b.p.Put(x)
}

// inbuf holds bytes that were read and not yet dealt with: b[r:w].
// Its memory comes from a bufPool, except while one message must be seen whole and is larger.
type inbuf struct {
	pool  *bufPool
	fixed *[bufSize]byte
	b     []byte
	r, w  int
}

func (in *inbuf) bytes() []byte { return in.b[in.r:in.w] }
func (in *inbuf) len() int      { return in.w - in.r }
func (in *inbuf) empty() bool   { return in.r == in.w }

// full reports that no byte can be read before some are dealt with.
func (in *inbuf) full() bool { return in.r == 0 && in.w == len(in.b) }

// room returns where to read to; never empty unless full.
func (in *inbuf) room() []byte {
	if in.b == nil {
		in.fixed = in.pool.get()
		in.b = in.fixed[:]
	}
	if in.r == in.w {
		in.r, in.w = 0, 0
	} else if in.w == len(in.b) {
		in.w = copy(in.b, in.b[in.r:in.w])
		in.r = 0
	}
	return in.b[in.w:]
}

// grow makes room for n bytes in all, so that a message of that size can be seen whole.
func (in *inbuf) grow(n int) {
	if n <= len(in.b) {
		if in.r > 0 && in.r+n > len(in.b) {
			in.w = copy(in.b, in.b[in.r:in.w])
			in.r = 0
		}
		return
	}
	b := make([]byte, n)
	in.w = copy(b, in.b[in.r:in.w])
	in.r = 0
	in.free()
	in.b = b
}

func (in *inbuf) free() {
	if in.fixed != nil {
		in.pool.put(in.fixed)
		in.fixed = nil
	}
	in.b = nil
}

// rest gives the memory back if nothing is held.
func (in *inbuf) rest() {
	if in.r == in.w && in.b != nil {
		in.r, in.w = 0, 0
		in.free()
	}
}
