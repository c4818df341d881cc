package pooler

import (
	"sync"
	"sync/atomic"
)

const (
	// bufSize is the size of the buffers between two sockets, in bytes. A message that is larger streams through.
	bufSize = 16 << 10
	// bigBufSize is what a buffer grows to while a stream fills it: large results and COPY cost fewer system calls.
	bigBufSize = 64 << 10
)

// bufPool hands out bufSize buffers; connections give theirs back when they are idle.
type bufPool struct {
	p   sync.Pool
	big sync.Pool
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

func (b *bufPool) getBig() *[bigBufSize]byte {
	if x, ok := b.big.Get().(*[bigBufSize]byte); ok {
		return x
	}
	return new([bigBufSize]byte)
}

// inbuf holds bytes that were read and not yet dealt with: b[r:w].
// Its memory comes from a bufPool, except while one message must be seen whole and is larger.
type inbuf struct {
	pool  *bufPool
	fixed *[bufSize]byte
	big   *[bigBufSize]byte
	hot   bool // the last read filled it
	flow  int  // bytes since it was last at rest
	turn  int  // bytes since others had their turn
	b     []byte
	r, w  int
}

func (in *inbuf) bytes() []byte { return in.b[in.r:in.w] }
func (in *inbuf) len() int      { return in.w - in.r }
func (in *inbuf) empty() bool   { return in.r == in.w }

// full reports that no byte can be read before some are dealt with.
func (in *inbuf) full() bool { return in.r == 0 && in.w == len(in.b) }

// took notes that n bytes were read into room; more says that they filled it.
func (in *inbuf) took(n int, more bool) {
	in.w += n
	in.flow += n
	in.turn += n
	in.hot = more || in.streams()
}

// turnOver reports whether so much was read that it is the turn of others.
func (in *inbuf) turnOver() bool {
	if in.turn < turnBytes {
		return false
	}
	in.turn = 0
	return true
}

// streams reports that so much has come in one go that more may be waited for.
func (in *inbuf) streams() bool { return in.flow >= gatherFrom }

// gather is called before more is waited for.
func (in *inbuf) gather(from conn) {
	if in.streams() && !from.gather() {
		in.flow = 0
	}
}

// room returns where to read to; never empty unless full.
func (in *inbuf) room() []byte {
	switch {
	case in.b == nil:
		in.fixed = in.pool.get()
		in.b = in.fixed[:]
	case in.hot && in.fixed != nil:
		in.enlarge()
	}
	if in.r == in.w {
		in.r, in.w = 0, 0
	} else if in.w == len(in.b) {
		in.w = copy(in.b, in.b[in.r:in.w])
		in.r = 0
	}
	return in.b[in.w:]
}

func (in *inbuf) enlarge() {
	big := in.pool.getBig()
	n := copy(big[:], in.b[in.r:in.w])
	in.free()
	in.big, in.b, in.r, in.w = big, big[:], 0, n
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
	if n <= bigBufSize {
		in.enlarge()
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
	if in.big != nil {
		in.pool.big.Put(in.big)
		in.big = nil
	}
	in.b = nil
}

// rest gives the memory back if nothing is held.
func (in *inbuf) rest() {
	in.flow, in.turn = 0, 0
	if in.r == in.w && in.b != nil {
		in.r, in.w = 0, 0
		in.free()
	}
}
