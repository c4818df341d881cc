package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestNumbersAreReadAsStrtolReadsThem(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{
		"0": 0, "17": 17, "-3": -3, "+4": 4, "0x10": 16, "0XfF": 255, "0777": 511, " 12 ": 12, "-010": -8, "2147483648": 2147483648,
	} {
		if got, err := parseInt(text); err != nil || got != want {
			t.Errorf("%q: got %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "x", "1x", "0x", "08", "1_000", "0b1", "0o7", "1.5", "- 1", "--1", "99999999999999999999", "9223372036854775808"} {
		if got, err := parseInt(text); err == nil {
			t.Errorf("%q: got %d, want an error", text, got)
		}
	}
}

func TestDurations(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"0": 0, "5": 5 * time.Second, "0.5": 500 * time.Millisecond, "500ms": 500 * time.Millisecond, "5min": 5 * time.Minute,
		"2h": 2 * time.Hour, "1d": 24 * time.Hour, "1.5 h": 90 * time.Minute, " 3 s ": 3 * time.Second, "0.0000000001": 1,
	} {
		if got, err := parseDuration(text); err != nil || got != want {
			t.Errorf("%q: got %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "s", "5 m", "5us", "-1", "5min 3s", "1e3", "inf", "nan", "0x5", "1_0", "99999999999", "1..5", "5MIN"} {
		if got, err := parseDuration(text); err == nil {
			t.Errorf("%q: got %v, want an error", text, got)
		}
	}
	if got, err := parseSeconds("1e3"); err != nil || got != 1000*time.Second {
		t.Errorf("got %v, %v", got, err)
	}
	for _, text := range []string{"", "5min", "inf", "nan", "0x5", "1_0", "-1", "1e99999"} {
		if got, err := parseSeconds(text); err == nil {
			t.Errorf("%q: got %v, want an error", text, got)
		}
	}
}

func TestSizes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{"4096": 4096, "0x1000": 4096, "4kB": 4096, "1 MB": 1 << 20, "2GB": 2 << 30, "7B": 7} {
		if got, err := parseSize(text); err != nil || got != want {
			t.Errorf("%q: got %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "kB", "1KB", "1.5MB", "9999999999999GB", "1 T"} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("%q: got %d, want an error", text, got)
		}
	}
}

func TestPairs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text      string
		backslash bool
		want      []pair
	}{
		{"", false, nil},
		{"a=b", false, []pair{{"a", "b"}}},
		{" a = b\tc='d e' ", false, []pair{{"a", "b"}, {"c", "d e"}}},
		{"a='it''s'", false, []pair{{"a", "it's"}}},
		{"a='' b=c", false, []pair{{"a", ""}, {"b", "c"}}},
		{`a=b\c`, false, []pair{{"a", `b\c`}}},
		{"a='b\"c=d'", false, []pair{{"a", `b"c=d`}}},
		{"a=x'y", false, []pair{{"a", "x'y"}}},
		{`a='it\'s' b=c\ d`, true, []pair{{"a", "it's"}, {"b", "c d"}}},
		{"a=", true, []pair{{"a", ""}}},
	} {
		got, err := parsePairs(c.text, c.backslash)
		if err != nil {
			t.Errorf("%q: %v", c.text, err)
		}
		if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(pair{})); diff != "" {
			t.Errorf("%q: %s", c.text, diff)
		}
	}
	for _, text := range []string{"a", "=b", "a=b c", "a='b", "a='b'c", "a=b =c"} {
		if got, err := parsePairs(text, false); err == nil {
			t.Errorf("%q: got %v, want an error", text, got)
		}
	}
}

func TestURLs(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]pair{
		"postgres://":                                 nil,
		"postgresql://h":                              {{"host", "h"}},
		"postgres://h:1/d":                            {{"host", "h"}, {"port", "1"}, {"dbname", "d"}},
		"postgres://u@/d":                             {{"user", "u"}, {"dbname", "d"}},
		"postgres://u:p:q%25@h":                       {{"user", "u"}, {"password", "p:q%"}, {"host", "h"}},
		"postgres://a:1,[::1]:1/d":                    {{"host", "a,::1"}, {"port", "1"}, {"dbname", "d"}},
		"postgres:///d?host=/tmp&port=2&sslcert=c":    {{"dbname", "d"}, {"host", "/tmp"}, {"port", "2"}, {"server_tls_cert_file", "c"}},
		"postgres://%2Fvar%2Frun/d?sslmode=verify-ca": {{"host", "/var/run"}, {"dbname", "d"}, {"server_tls_sslmode", "verify-ca"}},
	} {
		got, err := parseURL(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(pair{})); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	}
	for _, text := range []string{
		"", "h/d", "http://h", "postgres://[::1", "postgres://[::1]x", "postgres://h?a", "postgres://h?hots=x", "postgres://h/d?sslrootcert=system",
	} {
		if got, err := parseURL(text); err == nil {
			t.Errorf("%q: got %v, want an error", text, got)
		}
	}
}

func TestUserlist(t *testing.T) {
	t.Parallel()
	got, err := parseUserlist("f", []byte("; comment\n\n\"a\" \"b\"\r\n\t\"c\"\"d\"\"e\\\" anything\n\"é\" \"\""))
	if want := `f:4: the user name is not followed by a password in double quotes`; fmt.Sprint(err) != want {
		t.Errorf("\n got: %v, %v\nwant: %s", got, err, want)
	}
	got, err = parseUserlist("f", []byte("; comment\n\n\"a\" \"b\"\r\n\t\"c\"\"d\" \"e;f\" \"rest\n\"é\"\"\"\n"))
	if err == nil {
		t.Errorf("a doubled quote does not end a name, got %v", got)
	}
	got, err = parseUserlist("f", []byte("\"a\" \"b\"\r\n\t\"c\"\"d\" \"e;f\" \"rest\n\"é\"  \"\"\n"))
	want := []login{{"a", "b", 1}, {`c"d`, "e;f", 2}, {"é", "", 3}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(login{})); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	for text, want := range map[string]string{
		"bob hunter2":   `a line must begin with a user name in double quotes: "user" "password"`,
		`"bob`:          "the user name has no closing quote",
		`"bob" hunter2`: "the user name is not followed by a password in double quotes",
		`"" "hunter2"`:  "the user name is empty",
		`"` + strings.Repeat("u", 128) + `" "hunter2"`:    "the user name is longer than 127 bytes",
		`"bob" "` + strings.Repeat("hunter2", 9362) + `"`: "the password is longer than 65530 bytes",
		"\"bob\" \"hunter2\x00\"":                         "the line contains a zero byte",
	} {
		_, err := parseUserlist("f", []byte(text))
		if got := fmt.Sprint(err); got != "f:1: "+want {
			t.Errorf("\n got: %s\nwant: %s", got, want)
		}
	}
}

func TestNearest(t *testing.T) {
	t.Parallel()
	names := settingsTable.names()
	for word, want := range map[string]string{
		"pool_mod": "pool_mode", "Pool-Mode": "pool_mode", "pool_size": "default_pool_size", "logfiel": "logfile",
		"listen_adress": "listen_addr", "xyzzy": "", "": "", strings.Repeat("x", 10000): "",
	} {
		if got := nearest(word, names); got != want {
			t.Errorf("%.20q: got %q, want %q", word, got, want)
		}
	}
}

func TestINIHeaderAgainStartsOver(t *testing.T) {
	t.Parallel()
	rep := &report{}
	doc := readINI("f", []byte("[pgbouncer]\nlisten_port = 1\nverbose = 1\n[users]\n[pgbouncer]\nverbose = 2\n"), newFileSet(), rep)
	if len(doc.settings) != 1 || doc.settings[0].value.raw != "2" || len(rep.warnings) != 1 || rep.err() != nil {
		t.Errorf("got %+v, %v, %v", doc.settings, rep.warnings, rep.err())
	}
}

func TestINIIncludesAreBounded(t *testing.T) {
	t.Parallel()
	files := newFileSet()
	files.put("f", []byte(strings.Repeat("%include f\n", 50)))
	rep := &report{}
	readINI("f", []byte("[pgbouncer]\n%include f\n"), files, rep)
	if !slices.ContainsFunc(rep.problems, func(p Problem) bool { return strings.Contains(p.Message, "more than 1000 files are included") }) {
		t.Errorf("got %.200v", rep.err())
	}
	if text := rep.err().Error(); strings.Count(text, "\n") != mostProblems || !strings.HasSuffix(text, fmt.Sprintf("\nand %d more", len(rep.problems)-mostProblems)) {
		t.Errorf("%d problems are told as\n%s", len(rep.problems), text)
	}
}
