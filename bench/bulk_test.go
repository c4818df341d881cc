package main

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
)

// The end of a result may be split over reads at any byte.
func TestDrainFindsTheEndWhereverItIsSplit(t *testing.T) {
	t.Parallel()
	reply := append([]byte("T....xxxxxxxxxxxxxxxxC...."), readyIdle...)
	for cut := 1; cut < len(reply); cut++ {
		err := drainPieces(t, int64(len(reply)), reply[:cut], reply[cut:])
		if err != nil {
			t.Errorf("cut at %d: %v", cut, err)
		}
	}
	var single [][]byte
	for i := range reply {
		single = append(single, reply[i:i+1])
	}
	if err := drainPieces(t, int64(len(reply)), single...); err != nil {
		t.Errorf("byte by byte: %v", err)
	}
}

func TestDrainNoticesWhatIsWrong(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, reply, want string
		atLeast           int64
	}{
		{"an error in place of the result", "E...some text", "some text", 0},
		{"a result that is too short", "T" + string(readyIdle), "after 7 of 100 bytes", 100},
		{"a connection that ends early", "T....", "after 5 bytes", 0},
	} {
		err := drainPieces(t, tt.atLeast, []byte(tt.reply))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
}

// drainPieces plays a server that writes the pieces one by one, and then hangs up.
func drainPieces(t *testing.T, atLeast int64, pieces ...[]byte) error {
	t.Helper()
	client, server := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer server.Close()
		for _, p := range pieces {
			if _, err := server.Write(p); err != nil {
				return // the client has seen enough
			}
		}
	}()
	err := drain(&bulkSide{session: &session{conn: client}}, atLeast)
	client.Close()
	<-done
	return err
}

func TestUntilReady(t *testing.T) {
	t.Parallel()
	ready := string(readyIdle)
	for _, tt := range []struct{ name, in, err string }{
		{"trusted", "R\x00\x00\x00\x08\x00\x00\x00\x00" + ready, ""},
		{"asked for a password", "R\x00\x00\x00\x08\x00\x00\x00\x03" + ready, "authentication 3"},
		{"an error, then ready", "E\x00\x00\x00\x08abcd" + ready, "abcd"},
		{"an error, then the end", "E\x00\x00\x00\x08abcd", "abcd"},
		{"the end", "", "EOF"},
		{"a length that cannot be", "D\x00\x00\x00\x03", "length"},
		{"a short authentication message", "R\x00\x00\x00\x06\x00\x00", "2 bytes"},
	} {
		s := &session{in: bufio.NewReader(strings.NewReader(tt.in))}
		err := s.untilReady()
		if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.err)
		}
	}
}

func FuzzUntilReady(f *testing.F) {
	f.Add([]byte("R\x00\x00\x00\x08\x00\x00\x00\x00Z\x00\x00\x00\x05I"))
	f.Add([]byte("E\xff\xff\xff\xffx"))
	f.Fuzz(func(t *testing.T, in []byte) {
		s := &session{in: bufio.NewReader(bytes.NewReader(in))}
		if err := s.untilReady(); err == nil && !bytes.Contains(in, []byte{'Z'}) {
			t.Errorf("ready without ReadyForQuery: %q", in)
		}
	})
}

func TestCopyBlockIsWholeMessages(t *testing.T) {
	t.Parallel()
	for _, d := range []copyData{copyText, copyBinary} {
		s := &session{in: bufio.NewReader(bytes.NewReader(d.block()))}
		rows := 0
		for {
			kind, n, err := s.header()
			if err == io.EOF {
				break
			}
			if err != nil || kind != 'd' {
				t.Fatalf("message %q: %v", kind, err)
			}
			body := make([]byte, n)
			if _, err := io.ReadFull(s.in, body); err != nil {
				t.Fatal(err)
			}
			if n%rowBytes != 0 || body[n-1] != d.row[rowBytes-1] {
				t.Errorf("a message of %d bytes does not end with a row", n)
			}
			rows += n / rowBytes
		}
		if rows != 64 {
			t.Errorf("got %d rows, want 64", rows)
		}
	}
	if !strings.HasSuffix(copyText.row, "\n") {
		t.Error("a row of text does not end the line")
	}
}
