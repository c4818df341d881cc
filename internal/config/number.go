package config

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

// maxSeconds bounds durations, so that sums of a few of them cannot overflow: about 31 years.
const maxSeconds = 1_000_000_000

var (
	errNotInteger  = errors.New("not an integer")
	errNotDuration = errors.New(`not a duration: a number of seconds, or a number with a unit such as "500ms", "30s", "5min", "2h" or "1d"`)
	errNotSeconds  = errors.New("not a number of seconds")
	errNotSize     = errors.New(`not a size: a number of bytes, or a number with a unit such as "64kB" or "1MB"`)
	errNegative    = errors.New("must not be negative")
	errTooLong     = errors.New("longer than 1000000000 seconds")
)

// parseInt reads an integer as strtol with base 0 does: 0x is hexadecimal, a leading 0 octal. The whole
// string must be used up.
func parseInt(s string) (int64, error) {
	s = strings.TrimSpace(s)
	digits, negative := s, false
	if digits != "" && (digits[0] == '-' || digits[0] == '+') {
		negative = digits[0] == '-'
		digits = digits[1:]
	}
	base := 10
	switch {
	case len(digits) > 2 && (digits[:2] == "0x" || digits[:2] == "0X"):
		base, digits = 16, digits[2:]
	case len(digits) > 1 && digits[0] == '0':
		base, digits = 8, digits[1:]
	}
	u, err := strconv.ParseUint(digits, base, 63)
	if err != nil {
		return 0, errNotInteger
	}
	if negative {
		return -int64(u), nil
	}
	return int64(u), nil
}

// parseSeconds reads a number of seconds, with a fraction if need be, as pgbouncer.ini writes it.
func parseSeconds(s string) (time.Duration, error) {
	s = strings.TrimSpace(s)
	if s == "" || strings.Trim(s, "0123456789.eE+-") != "" { // ParseFloat also knows inf, nan, hex and underscores
		return 0, errNotSeconds
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, errNotSeconds
	}
	return seconds(f)
}

func seconds(f float64) (time.Duration, error) {
	switch {
	case math.IsNaN(f):
		return 0, errNotSeconds
	case f < 0:
		return 0, errNegative
	case f > maxSeconds:
		return 0, errTooLong
	}
	d := time.Duration(math.Round(f * float64(time.Second)))
	if d == 0 && f > 0 {
		d = 1 // 0 would mean "off"
	}
	return d, nil
}

// PostgreSQL's names of units. Its "us" is left out: no setting is that fine.
var durationUnits = map[string]float64{
	"ms": 0.001, "s": 1, "min": 60, "h": 3600, "d": 86400,
}

// parseDuration reads a number of seconds or a number with one of PostgreSQL's units.
func parseDuration(s string) (time.Duration, error) {
	number, unit := splitUnit(s)
	if number == "" {
		return 0, errNotDuration
	}
	factor := 1.0
	if unit != "" {
		var ok bool
		if factor, ok = durationUnits[unit]; !ok {
			return 0, errNotDuration
		}
	}
	f, err := strconv.ParseFloat(number, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, errNotDuration
	}
	return seconds(f * factor)
}

var sizeUnits = map[string]int64{"B": 1, "kB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}

// parseSize reads a number of bytes or a number with one of PostgreSQL's units.
func parseSize(s string) (int64, error) {
	if n, err := parseInt(s); err == nil {
		return n, nil
	}
	number, unit := splitUnit(s)
	factor, ok := sizeUnits[unit]
	n, err := strconv.ParseInt(number, 10, 64)
	if !ok || err != nil || n > math.MaxInt64/factor || n < math.MinInt64/factor {
		return 0, errNotSize
	}
	return n * factor, nil
}

// splitUnit splits "5 min" into "5" and "min"; number is "" if s does not begin with one.
func splitUnit(s string) (number, unit string) {
	s = strings.TrimSpace(s)
	i := 0
	for i < len(s) && (s[i] >= '0' && s[i] <= '9' || s[i] == '.' || i == 0 && (s[i] == '-' || s[i] == '+')) {
		i++
	}
	return s[:i], strings.TrimSpace(s[i:])
}

// formatSeconds writes a duration as a plain number of seconds.
func formatSeconds(d time.Duration) string {
	return strconv.FormatFloat(d.Seconds(), 'f', -1, 64)
}
