package pooler

import "time"

// started is the origin of now.
var started = time.Now()

// now returns nanoseconds on a monotonic clock. It is never 0.
func now() int64 { return int64(time.Since(started)) + 1 }

// wallTime turns a reading of now into a time; 0 gives the zero time.
func wallTime(t int64) time.Time {
	if t == 0 {
		return time.Time{}
	}
	return started.Add(time.Duration(t - 1))
}

// since returns how long ago t was, 0 for "not".
func since(t int64) time.Duration {
	if t == 0 {
		return 0
	}
	return time.Duration(max(now()-t, 0))
}
