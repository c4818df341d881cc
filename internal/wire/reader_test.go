package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

func message(typ byte, body string) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{typ}, uint32(4+len(body))), body...)
}

func TestNextReturnsOneMessageAfterTheOther(t *testing.T) {
	t.Parallel()
	in := append(append(message('Q', "select 1\x00"), message('S', "")...), message('d', "xyz")...)
	for name, r := range map[string]*Reader{
		"whole":        NewReader(bytes.NewReader(in), 100),
		"byte by byte": NewReader(iotest.OneByteReader(bytes.NewReader(in)), 100),
		"buffered":     NewBufferedReader(iotest.DataErrReader(bytes.NewReader(in)), 100),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, want := range []struct {
				typ  byte
				body string
			}{{'Q', "select 1\x00"}, {'S', ""}, {'d', "xyz"}} {
				typ, body, err := r.Next()
				if err != nil || typ != want.typ || string(body) != want.body {
					t.Fatalf("got %q %q, %v; want %q %q", typ, body, err, want.typ, want.body)
				}
			}
			if _, _, err := r.Next(); err != io.EOF {
				t.Errorf("at the end: %v", err)
			}
		})
	}
}

func TestNextLeavesWhatIsBehindTheMessage(t *testing.T) {
	t.Parallel()
	src := bytes.NewReader(append(message('p', "secret"), "rest"...))
	if _, _, err := NewReader(src, 100).Next(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(src); err != nil || string(rest) != "rest" {
		t.Errorf("left %q, %v", rest, err)
	}
}

func TestAStreamThatEndsInsideAMessageIsUnexpected(t *testing.T) {
	t.Parallel()
	whole := message('Q', "select 1\x00")
	for n := 1; n < len(whole); n++ {
		if _, _, err := NewReader(bytes.NewReader(whole[:n]), 100).Next(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
}

func TestLengthsOutsideTheLimitAreRefusedBeforeTheyCostMemory(t *testing.T) {
	t.Parallel()
	for _, n := range []uint32{0, 3, 101, 1 << 30, 1<<32 - 1} {
		r := NewReader(bytes.NewReader(binary.BigEndian.AppendUint32([]byte{'Q'}, n)), 100)
		_, _, err := r.Next()
		var long *ErrTooLong
		if !errors.As(err, &long) || long.Len != n || long.Type != 'Q' || long.Max != 100 {
			t.Errorf("length %d: %v", n, err)
		}
		if cap(r.buf) != 0 {
			t.Errorf("length %d made room for %d bytes", n, cap(r.buf))
		}
	}
	if _, body, err := NewReader(bytes.NewReader(message('Q', string(make([]byte, 96)))), 100).Next(); err != nil || len(body) != 96 {
		t.Errorf("at the limit: %d bytes, %v", len(body), err)
	}
}

func FuzzReader(f *testing.F) {
	f.Add(message('Q', "select 1\x00"))
	f.Add([]byte{'Q', 0, 0, 0, 3})
	f.Add([]byte{'Q', 0xff, 0xff, 0xff, 0xff, 1})
	f.Add(append(message('S', ""), 'x'))
	f.Fuzz(func(t *testing.T, in []byte) {
		const limit = 1 << 10
		r := NewReader(bytes.NewReader(in), limit)
		var back []byte
		for {
			typ, body, err := r.Next()
			if err != nil {
				break
			}
			if len(body) > limit-4 {
				t.Fatalf("a body of %d bytes", len(body))
			}
			back = append(back, message(typ, string(body))...)
		}
		if !bytes.HasPrefix(in, back) {
			t.Fatalf("read %q from %q", back, in)
		}
	})
}
