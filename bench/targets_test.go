package main

import (
	"regexp"
	"strings"
	"testing"
)

func TestParsePgBouncerVersion(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text         string
		major, minor int
		version      string
		bad          bool
	}{
		{text: "PgBouncer 1.18.0\nlibevent 2.1.12-stable\n", major: 1, minor: 18, version: "1.18.0"},
		{text: "PgBouncer 1.24.1", major: 1, minor: 24, version: "1.24.1"},
		{text: "pgbouncer version 1.9.0", major: 1, minor: 9, version: "1.9.0"},
		{text: "PgBouncer 2.0rc1", major: 2, minor: 0, version: "2.0rc1"},
		{text: "psql (PostgreSQL) 15.1", bad: true},
		{text: "PgBouncer 99999999999999999999.1", bad: true},
		{text: "", bad: true},
	} {
		major, minor, version, err := parsePgBouncerVersion(tt.text)
		if (err != nil) != tt.bad {
			t.Errorf("%q: error %v, want one: %v", tt.text, err, tt.bad)
		}
		if err == nil && (major != tt.major || minor != tt.minor || version != tt.version) {
			t.Errorf("%q: got %d, %d, %s", tt.text, major, minor, version)
		}
	}
}

// An old PgBouncer refuses a file with a key that it does not know.
func TestPoolerConfigLeavesOutWhatOldOnesDoNotKnow(t *testing.T) {
	t.Parallel()
	for _, prepared := range []bool{false, true} {
		text := poolerConfig(5432, 6432, authSCRAM, "/x/userlist.txt", prepared)
		if got := strings.Contains(text, "max_prepared_statements"); got != prepared {
			t.Errorf("prepared %v: got\n%s", prepared, text)
		}
		for _, line := range []string{
			"bench = host=127.0.0.1 port=5432 dbname=bench user=bench\n",
			"\nlisten_port = 6432\n", "\nauth_type = scram-sha-256\n", "\npool_mode = transaction\n",
		} {
			if !strings.Contains(text, line) {
				t.Errorf("%q is missing in\n%s", line, text)
			}
		}
	}
}

func TestScramSecret(t *testing.T) {
	t.Parallel()
	secret, err := scramSecret("x")
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^SCRAM-SHA-256\$4096:[A-Za-z0-9+/]{22}==\$[A-Za-z0-9+/]{43}=:[A-Za-z0-9+/]{43}=$`).MatchString(secret) {
		t.Errorf("got %s", secret)
	}
}

func TestSlug(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"connect, SELECT 1, disconnect; trust": "connect-select-1-disconnect-trust",
		"PgBouncer 1.18.0":                     "pgbouncer-1.18.0",
	} {
		if got := slug(in); got != want {
			t.Errorf("slug(%q): got %s, want %s", in, got, want)
		}
	}
}

func TestOnlyRuntimePackagesAreUnpacked(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]bool{
		"pgbouncer_1.24.1-1_amd64.deb":      true,
		"libevent-2.1-7t64_2.1_amd64.deb":   true,
		"libc6_2.41-12_amd64.deb":           true,
		"libperl5.40_5.40.1-6_amd64.deb":    false,
		"libjson-perl_4.1_all.deb":          false,
		"perl-modules-5.40_5.40.1_all.deb":  false,
		"postgresql-client-common_2_all.db": false,
	} {
		if got := isRuntimePackage(file); got != want {
			t.Errorf("%s: got %v, want %v", file, got, want)
		}
	}
}
