package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestCPUClockFollowsTheProcess(t *testing.T) {
	t.Parallel()
	before, err := cpuOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(30 * time.Second)
	for now := before; now < before+10*time.Millisecond; {
		if time.Now().After(deadline) {
			t.Fatalf("after half a minute of work the clock shows %v more", now-before)
		}
		if now, err = cpuOf(os.Getpid()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReadingsOfAnotherProcess(t *testing.T) {
	t.Parallel()
	p, err := startProcess(filepath.Join(t.TempDir(), "log"), nil, os.Environ(), []string{"/bin/sh", "-c", "echo hello; read never </dev/fd/9"})
	if err != nil {
		t.Fatal(err)
	}
	<-p.done
	if got := p.logTail(); !strings.Contains(got, "hello") {
		t.Errorf("log: got %q", got)
	}
	if p.exit() == nil {
		t.Error("exit: got nil after the end")
	}
	p.stop() // of what is gone already

	p, err = startProcess(filepath.Join(t.TempDir(), "log"), nil, os.Environ(), []string{"sleep", "1000"})
	if err != nil {
		t.Fatal(err)
	}
	pid := p.pid()
	if _, err := cpuOf(pid); err != nil {
		t.Error(err)
	}
	if kib, err := rssOf(pid); err != nil || kib <= 0 {
		t.Errorf("resident memory: %v KiB, %v", kib, err)
	}
	p.stop()
	if err := syscall.Kill(pid, 0); err == nil {
		t.Errorf("process %d is still there", pid)
	}
	if _, err := cpuOf(pid); err == nil {
		t.Error("the cpu clock of a process that is gone gave no error")
	}
	if _, err := rssOf(pid); err == nil {
		t.Error("the memory of a process that is gone gave no error")
	}
}

func TestStartOfWhatIsNotThere(t *testing.T) {
	t.Parallel()
	if _, err := startProcess(filepath.Join(t.TempDir(), "log"), nil, nil, []string{"/no/such/program"}); err == nil {
		t.Error("got no error")
	}
}

func TestKibField(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text string
		want float64
		bad  bool
	}{
		{text: "Name: x\nRss:      2044 kB\nPss: 1 kB\n", want: 2044},
		{text: "Rss: 12 MB\n", bad: true},
		{text: "Rss: x kB\n", bad: true},
		{text: "Pss: 1 kB\n", bad: true},
	} {
		got, err := kibField([]byte(tt.text), "Rss:")
		if (err != nil) != tt.bad || got != tt.want {
			t.Errorf("%q: got %g, %v", tt.text, got, err)
		}
	}
}
