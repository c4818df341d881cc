package admin

import (
	"math"
	"strings"
	"time"
	"unicode"
)

// showTime prints a time as PgBouncer does; a zero time is empty.
func showTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05 MST")
}

// oneLine replaces each run of control characters by one space, so that no value breaks a table apart.
func oneLine(s string) string {
	if strings.IndexFunc(s, unicode.IsControl) < 0 {
		return s
	}
	return strings.Join(strings.FieldsFunc(s, unicode.IsControl), " ")
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func oneZero(b bool) int {
	if b {
		return 1
	}
	return 0
}

// int4 keeps a number inside PostgreSQL's integer.
func int4(n int64) int64 { return min(max(n, math.MinInt32), math.MaxInt32) }

// seconds is a duration for people: three decimals.
func seconds(d time.Duration) float64 { return math.Round(d.Seconds()*1000) / 1000 }
