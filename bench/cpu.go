package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// cpuOf returns the processor time that process pid has used so far, user and system, all threads, also
// those that have ended. It reads the process's CPU clock: nanoseconds, where /proc/PID/stat has ticks
// of 10 ms.
func cpuOf(pid int) (time.Duration, error) {
	// The kernel's encoding of another process's clock: the complement of the pid, then the kind of clock
	// (2 = scheduler time). See clock_getcpuclockid(3).
	const schedClock = 2
	clock := int32(^uint32(pid))<<3 | schedClock
	var ts unix.Timespec
	if err := unix.ClockGettime(clock, &ts); err != nil {
		return 0, fmt.Errorf("cpu clock of process %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}

// rssOf returns the resident memory of process pid in KiB. smaps_rollup is counted page by page; the
// figure in /proc/PID/status may lag behind by some pages per thread.
func rssOf(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err == nil {
		return kibField(text, "Rss:")
	}
	if !errors.Is(err, os.ErrNotExist) {
		return 0, fmt.Errorf("read memory of process %d: %w", pid, err)
	}
	if text, err = os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)); err != nil {
		return 0, fmt.Errorf("read memory of process %d: %w", pid, err)
	}
	return kibField(text, "VmRSS:")
}

// kibField finds "key   123 kB" in the text of a /proc file.
func kibField(text []byte, key string) (float64, error) {
	for line := range bytes.Lines(text) {
		rest, ok := bytes.CutPrefix(line, []byte(key))
		if !ok {
			continue
		}
		fields := bytes.Fields(rest)
		if len(fields) != 2 || string(fields[1]) != "kB" {
			return 0, fmt.Errorf("unexpected memory line %q", line)
		}
		n, err := strconv.ParseUint(string(fields[0]), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("memory line %q: %w", line, err)
		}
		return float64(n), nil
	}
	return 0, fmt.Errorf("no %s line", key)
}
