package hash

import (
	"fmt"
	"math"
	"time"
)

// Days and microseconds are counted from 2000-01-01, as PostgreSQL stores them.
const (
	usPerSecond = 1_000_000
	usPerDay    = 86_400 * usPerSecond

	epochUnixDays = 10957

	minDay       = -2451545   // 4714-11-24 BC, Julian day 0
	endDay       = 2145031949 // 5874898-01-01
	minTimestamp = -211813488000000000
	endTimestamp = 9223371331200000000 // 294277-01-01
)

// textDate reads 2024-02-29, 0044-03-15 BC, infinity and -infinity, which mean the same under every DateStyle.
func textDate(s string) (Value, error) {
	switch s {
	case "infinity":
		return number(kindDate, math.MaxInt32), nil
	case "-infinity":
		return number(kindDate, math.MinInt32), nil
	}
	d, rest, err := scanDate(s)
	if err != nil {
		return Value{}, err
	}
	if rest == " BC" {
		d.year, rest = 1-d.year, ""
	}
	if rest != "" {
		return Value{}, ErrDepends
	}
	days, err := d.days()
	if err != nil || days < minDay || days >= endDay {
		return Value{}, ErrInvalid
	}
	return number(kindDate, days), nil
}

func binaryDate(b string) (Value, error) {
	if len(b) != 4 {
		return Value{}, ErrInvalid
	}
	n := int64(int32(bigEndian(b)))
	if n != math.MinInt32 && n != math.MaxInt32 && (n < minDay || n >= endDay) {
		return Value{}, ErrInvalid
	}
	return number(kindDate, n), nil
}

// textTime reads 12:34, 12:34:56 and 12:34:56.789012.
func textTime(s string) (Value, error) {
	us, rest, err := scanTime(s)
	if err != nil {
		return Value{}, err
	}
	if rest != "" {
		return Value{}, ErrDepends
	}
	return number(kindTime, us), nil
}

func binaryTime(b string) (Value, error) {
	if len(b) != 8 {
		return Value{}, ErrInvalid
	}
	n := int64(bigEndian(b))
	if n < 0 || n > usPerDay {
		return Value{}, ErrInvalid
	}
	return number(kindTime, n), nil
}

// textTimestamp reads a date, or a date and a time with a blank or a T between, and infinities. A zone, which PostgreSQL
// would ignore, is left alone.
func textTimestamp(s string) (Value, error) { return scanTimestamp(s, kindTimestamp) }

// textTimestamptz reads the same with a zone, which must be Z or an offset: +02, -03:30, +01:23:45.
func textTimestamptz(s string) (Value, error) { return scanTimestamp(s, kindTimestamptz) }

func scanTimestamp(s string, k kind) (Value, error) {
	switch s {
	case "infinity":
		return number(k, math.MaxInt64), nil
	case "-infinity":
		return number(k, math.MinInt64), nil
	}
	d, rest, err := scanDate(s)
	if err != nil {
		return Value{}, err
	}
	var us, offset int64
	if len(rest) > 2 && (rest[0] == 'T' || rest[0] == ' ' && isDigit(rest[1])) {
		if us, rest, err = scanTime(rest[1:]); err != nil {
			return Value{}, err
		}
		if us == usPerDay {
			return Value{}, ErrDepends
		}
		if k == kindTimestamptz {
			if offset, rest, err = scanOffset(rest); err != nil {
				return Value{}, err
			}
		}
	} else if k == kindTimestamptz {
		return Value{}, ErrDepends // midnight, but where?
	}
	if rest == " BC" {
		d.year, rest = 1-d.year, ""
	}
	if rest != "" {
		return Value{}, ErrDepends
	}
	days, err := d.days()
	if err != nil || days <= minDay-2 || days > endTimestamp/usPerDay+1 {
		return Value{}, ErrInvalid
	}
	n := days*usPerDay + us - offset
	if n < minTimestamp || n >= endTimestamp {
		return Value{}, ErrInvalid
	}
	return number(k, n), nil
}

func binaryTimestamp(k kind) func(string) (Value, error) {
	return func(b string) (Value, error) {
		if len(b) != 8 {
			return Value{}, ErrInvalid
		}
		n := int64(bigEndian(b))
		if n != math.MinInt64 && n != math.MaxInt64 && (n < minTimestamp || n >= endTimestamp) {
			return Value{}, ErrInvalid
		}
		return number(k, n), nil
	}
}

// A civil is a day of the calendar; year 0 is 1 BC.
type civil struct{ year, month, day int }

// scanDate reads YYYY-MM-DD at the beginning of s. A year has four to seven digits: so the first number is the year
// whatever DateStyle says.
func scanDate(s string) (d civil, rest string, err error) {
	i := 0
	for i < len(s) && isDigit(s[i]) {
		i++
	}
	if i < 4 || i > 7 || len(s) < i+6 || s[i] != '-' || s[i+3] != '-' || len(s) > i+6 && isDigit(s[i+6]) {
		return d, "", ErrDepends
	}
	month, ok1 := twoDigits(s[i+1:])
	day, ok2 := twoDigits(s[i+4:])
	if !ok1 || !ok2 {
		return d, "", ErrDepends
	}
	for _, c := range []byte(s[:i]) {
		d.year = d.year*10 + int(c-'0')
	}
	d.month, d.day = month, day
	if d.year == 0 {
		return d, "", ErrInvalid // there is none; 1 BC is written as such
	}
	return d, s[i+6:], nil
}

// days returns the day's number, or an error for a day that there is not.
func (d civil) days() (int64, error) {
	t := time.Date(d.year, time.Month(d.month), d.day, 0, 0, 0, 0, time.UTC)
	if y, m, day := t.Date(); y != d.year || int(m) != d.month || day != d.day {
		return 0, ErrInvalid
	}
	return t.Unix()/86_400 - epochUnixDays, nil
}

// scanTime reads HH:MM, HH:MM:SS or HH:MM:SS.ffffff at the beginning of s. A 60th second, which PostgreSQL takes for the
// next minute, and further digits, which it rounds, are left alone.
func scanTime(s string) (us int64, rest string, err error) {
	hour, ok := twoDigits(s)
	if !ok || len(s) < 5 || s[2] != ':' {
		return 0, "", ErrDepends
	}
	minute, ok := twoDigits(s[3:])
	if !ok {
		return 0, "", ErrDepends
	}
	second := 0
	s = s[5:]
	if s != "" && s[0] == ':' {
		if second, ok = twoDigits(s[1:]); !ok || second == 60 {
			return 0, "", ErrDepends
		}
		s = s[3:]
		if s != "" && s[0] == '.' {
			i, unit := 1, int64(usPerSecond)
			for ; i < len(s) && isDigit(s[i]); i++ {
				unit /= 10
				us += unit * int64(s[i]-'0')
			}
			if i == 1 || i > 7 {
				return 0, "", ErrDepends
			}
			s = s[i:]
		}
	}
	if s != "" && (isDigit(s[0]) || s[0] == '.' || s[0] == ':') {
		return 0, "", ErrDepends
	}
	us += int64(hour*3600+minute*60+second) * usPerSecond
	if minute > 59 || second > 59 || us > usPerDay {
		return 0, "", ErrDepends
	}
	return us, s, nil
}

// scanOffset reads Z or an offset from UTC at the beginning of s, in microseconds, positive east.
func scanOffset(s string) (us int64, rest string, err error) {
	if s == "" {
		return 0, "", ErrDepends
	}
	if s[0] == 'Z' {
		return 0, s[1:], nil
	}
	if s[0] != '+' && s[0] != '-' {
		return 0, "", ErrDepends
	}
	west := s[0] == '-'
	hour, ok := twoDigits(s[1:])
	if !ok || hour > 15 {
		return 0, "", ErrDepends
	}
	s = s[3:]
	total := hour * 3600
	for unit := 60; unit >= 1 && len(s) > 0 && s[0] == ':'; unit /= 60 {
		n, ok := twoDigits(s[1:])
		if !ok || n > 59 {
			return 0, "", ErrDepends
		}
		total += n * unit
		s = s[3:]
	}
	if s != "" && s != " BC" {
		return 0, "", ErrDepends
	}
	if west {
		total = -total
	}
	return int64(total) * usPerSecond, s, nil
}

// twoDigits reads a number of two digits at the beginning of s.
func twoDigits(s string) (n int, ok bool) {
	if len(s) < 2 || !isDigit(s[0]) || !isDigit(s[1]) {
		return 0, false
	}
	return int(s[0]-'0')*10 + int(s[1]-'0'), true
}

// textOfDate writes a day as DateStyle ISO does.
func textOfDate(days int64) string {
	switch days {
	case math.MaxInt32:
		return "infinity"
	case math.MinInt32:
		return "-infinity"
	}
	date, era := isoDate(days)
	return date + era
}

// isoDate returns a day and the era that follows it, "" or " BC".
func isoDate(days int64) (date, era string) {
	y, m, d := time.Unix((days+epochUnixDays)*86_400, 0).UTC().Date()
	if y <= 0 {
		y, era = 1-y, " BC"
	}
	return fmt.Sprintf("%04d-%02d-%02d", y, int(m), d), era
}

// textOfTime writes a time of day.
func textOfTime(us int64) string {
	seconds := us / usPerSecond
	s := fmt.Sprintf("%02d:%02d:%02d", seconds/3600, seconds/60%60, seconds%60)
	if us %= usPerSecond; us != 0 {
		s += trimZeros(fmt.Sprintf(".%06d", us))
	}
	return s
}

func trimZeros(s string) string {
	for s[len(s)-1] == '0' {
		s = s[:len(s)-1]
	}
	return s
}

// textOfTimestamp writes a timestamp as DateStyle ISO does; zone is "" or that of UTC.
func textOfTimestamp(us int64, zone string) string {
	switch us {
	case math.MaxInt64:
		return "infinity"
	case math.MinInt64:
		return "-infinity"
	}
	days, rest := us/usPerDay, us%usPerDay
	if rest < 0 {
		days, rest = days-1, rest+usPerDay
	}
	date, era := isoDate(days)
	return date + " " + textOfTime(rest) + zone + era
}
